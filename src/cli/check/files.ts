/** The files of mutual TLS: readable, belonging together, valid today, in the right order, and fit for a client. */
import { X509Certificate } from "node:crypto";
import { ProviderError, toProviderError } from "../../errors.ts";
import { certificateBlocks } from "../../net/pem.ts";
import { checkTlsBytes, dateProblem, oneLine, readTlsFiles } from "../../net/tls.ts";
import type { TlsBytes, TlsFiles, TlsMaterial } from "../../net/tls.ts";
import { isVersion1, missingUsage } from "../../net/x509-usage.ts";
import { quotePath } from "../../text/quote.ts";
import { amount } from "../render.ts";
import { selinuxAdvice } from "../selinux.ts";
import { allSkipped, failed, ok, warning, type Finding } from "./finding.ts";

const dayMs = 86_400_000;
/** From here on a certificate's end is worth a warning, as in docs/alerts.yaml. */
const soonDays = 14;
/** Of a certificate's name. */
const maxNameLength = 120;

/** What came of checking the files. */
export interface FilesChecked {
  readonly findings: readonly Finding[];
  /** Undefined where no connection can be made with them. */
  readonly material?: TlsMaterial;
}

/** Checks the files, from their paths to their order. */
export async function checkFiles(files: TlsFiles): Promise<FilesChecked> {
  const findings: Finding[] = [];
  const bytes = await readTlsFiles(files).catch(toProviderError);
  if (bytes instanceof ProviderError) {
    const advice = "give --client-cert, --client-key and --ca the paths of files that serve's user may read";
    const more = bytes.message.includes("permission denied") ? selinuxAdvice() : "";
    findings.push(
      failed("files", bytes.message, `${advice}${more}`),
      ...allSkipped(["pair", "dates", "chain"], "files failed"),
    );
    return { findings };
  }
  const count = new Set(Object.values(files).filter((file) => file !== undefined)).size;
  const user = process.getuid?.() ?? "unknown";
  findings.push(ok("files", `${amount(count, "files")}, readable by uid ${user}`));
  const material = checkedMaterial(files, bytes);
  if (material instanceof ProviderError) {
    const advice =
      "each file must hold what its flag says; the private key must be the one that the certificate was issued for";
    findings.push(failed("pair", material.message, advice), ...allSkipped(["dates", "chain"], "pair failed"));
    return { findings };
  }
  findings.push(ok("pair", "the private key belongs to the certificate"));
  findings.push(checkDates(material), checkChain(files, material, bytes));
  findings.push(...checkUsage(files, material), ...checkPins(files, material));
  return { findings, material };
}

const renewAdvice = "have a new certificate issued; serve loads it without a restart";
const clockAdvice = "set the clock of this host, or wait until the certificate is valid";

function checkDates(material: TlsMaterial): Finding {
  const problem = dateProblem(material);
  if (problem.length > 0) {
    const isEarly = problem.every((one) => one.includes("not valid before"));
    return failed("dates", problem.join("; "), isEarly ? clockAdvice : renewAdvice);
  }
  const first = material.notAfter.toSorted((a, b) => a.notAfter.getTime() - b.notAfter.getTime())[0];
  if (first === undefined) return ok("dates", "no certificate that could expire");
  const days = Math.floor((first.notAfter.getTime() - Date.now()) / dayMs);
  const text = `${quotePath(first.file)} expires first, in ${days} days (${first.notAfter.toISOString()})`;
  if (days >= soonDays) return ok("dates", text);
  return warning("dates", text, renewAdvice);
}

/** Servers expect the leaf first, then each one's issuer (RFC 8446 section 4.4.2); most accept any order. */
function checkChain(files: TlsFiles, material: TlsMaterial, bytes: TlsBytes): Finding {
  const file = quotePath(files.cert);
  const certificates = certificatesIn(material.cert);
  const written = certificateBlocks(bytes.cert).length;
  if (written > certificates.length)
    return warning(
      "chain",
      `${file} holds a certificate twice: serve sends it once`,
      "remove the second copy from the file",
    );
  const wrong = certificates.findIndex((one, index) => {
    const next = certificates[index + 1];
    return next !== undefined && !one.checkIssued(next);
  });
  if (wrong !== -1)
    return warning(
      "chain",
      `${file}: certificate ${wrong + 2} is not the issuer of certificate ${wrong + 1}; some servers refuse that`,
      "put the client's own certificate first, and after each one that of its issuer",
    );
  const [leaf] = certificates;
  const issuer = leaf === undefined ? "" : `, issued by ${nameOf(leaf.issuer)}`;
  return ok("chain", `${certificates.length} in ${file}${issuer}`);
}

/** What servers expect of a client's certificate: reported only where it is missing. */
function checkUsage(files: TlsFiles, { cert }: TlsMaterial): Finding[] {
  const [leaf] = certificatesIn(cert);
  const missing = leaf === undefined ? [] : missingUsage(leaf);
  if (missing.length === 0) return [];
  return [
    warning(
      "usage of certificate",
      `${quotePath(files.cert)}: ${missing.join(", and ")}; some servers refuse it`,
      "have it issued with Extended Key Usage clientAuth and Key Usage digitalSignature",
    ),
  ];
}

/** What --ca trusts besides roots: an intermediate, or the server's own certificate. */
function checkPins({ ca: file }: TlsFiles, { ca }: TlsMaterial): Finding[] {
  if (file === undefined || ca === undefined) return [];
  const certificates = certificatesIn(ca);
  const pins = certificates.filter((one) => !one.ca && !(isVersion1(one) && one.checkIssued(one)));
  const issuers = certificates.filter((one) => one.ca && !one.checkIssued(one));
  const findings: Finding[] = [];
  if (issuers.length === certificates.length)
    findings.push(
      ok("ca", `${quotePath(file)} trusts ${subjectsOf(issuers)}, which is not a root, as it is`),
    );
  if (pins.length > 0)
    findings.push(
      warning(
        "ca",
        `${quotePath(file)} pins ${subjectsOf(pins)}: only a server with that very certificate is trusted`,
        "before the server's certificate is renewed, add the new one to the file, or give the CA that issues it",
      ),
    );
  return findings;
}

function certificatesIn(pem: Buffer): X509Certificate[] {
  return certificateBlocks(pem).map((block) => new X509Certificate(block));
}

function subjectsOf(certificates: readonly X509Certificate[]): string {
  return certificates.map(({ subject }) => nameOf(subject)).join("; ");
}

function nameOf(subject: string | undefined): string {
  return oneLine(subject).slice(0, maxNameLength);
}

function checkedMaterial(files: TlsFiles, bytes: TlsBytes): TlsMaterial | ProviderError {
  try {
    return checkTlsBytes(files, bytes);
  } catch (error) {
    return toProviderError(error);
  }
}
