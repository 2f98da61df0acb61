/** The PEM files of mutual TLS: there and readable, belonging together, valid today, in the right order. */
import { X509Certificate } from "node:crypto";
import { toProviderError } from "../../errors.ts";
import { certificateBlocks } from "../../net/pem.ts";
import { checkTlsBytes, dateTrouble, oneLine, readTlsFiles } from "../../net/tls.ts";
import type { TlsBytes, TlsFiles, TlsMaterial } from "../../net/tls.ts";
import { selinuxAdvice } from "../selinux.ts";
import { failed, ok, skipped, warning } from "./finding.ts";
import type { Finding } from "./finding.ts";

const dayMs = 86_400_000;
/** From here on a certificate's end is worth a word, as in docs/alerts.yaml. */
const soonDays = 14;

/** What the files are good for. */
export interface FilesChecked {
  readonly findings: readonly Finding[];
  /** Undefined where no connection can be made with them. */
  readonly material?: TlsMaterial;
}

/** Checks the files, from their paths to their order. */
export async function checkFiles(files: TlsFiles, now = new Date()): Promise<FilesChecked> {
  const findings: Finding[] = [];
  const bytes = await attempt(() => readTlsFiles(files));
  if ("failure" in bytes) {
    const advice = "give --client-cert, --client-key and --ca the paths of files that serve's user may read";
    const more = bytes.failure.includes("permission denied") ? selinuxAdvice() : "";
    findings.push(
      failed("files", bytes.failure, `${advice}${more}`),
      ...skip(["pair", "dates", "chain"], "files"),
    );
    return { findings };
  }
  const count = files.ca === undefined ? 2 : 3;
  findings.push(ok("files", `${count} files, readable by uid ${process.getuid?.() ?? "unknown"}`));
  const material = await attempt(() => checkTlsBytes(files, bytes.value));
  if ("failure" in material) {
    const advice = "the file named must hold what its flag says, in PEM; key and certificate of one issue";
    findings.push(failed("pair", material.failure, advice), ...skip(["dates", "chain"], "pair"));
    return { findings };
  }
  findings.push(ok("pair", "the private key belongs to the certificate"));
  findings.push(checkDates(material.value, now), checkChain(files, bytes.value));
  return { findings, material: material.value };
}

function skip(names: readonly string[], because: string): Finding[] {
  return names.map((name) => skipped(name, `${because} failed`));
}

function checkDates(material: TlsMaterial, now: Date): Finding {
  const trouble = dateTrouble(material, now);
  if (trouble.length > 0)
    return failed(
      "dates",
      trouble.join("; "),
      "have a new certificate issued; serve takes it without a restart",
    );
  const first = material.notAfter.toSorted((a, b) => a.notAfter.getTime() - b.notAfter.getTime())[0];
  if (first === undefined) return ok("dates", "no certificate that could end");
  const days = Math.floor((first.notAfter.getTime() - now.getTime()) / dayMs);
  const text = `${first.file} ends first, in ${days} days (${first.notAfter.toISOString()})`;
  if (days >= soonDays) return ok("dates", text);
  return warning("dates", text, "have a new certificate issued; serve takes it without a restart");
}

/** Servers ask for the leaf first, then each one's issuer (RFC 8446 section 4.4.2). */
function checkChain(files: TlsFiles, { cert }: TlsBytes): Finding {
  const certificates = certificateBlocks(cert).map((block) => new X509Certificate(block));
  for (const [index, one] of certificates.entries()) {
    const issuer = certificates[index + 1];
    if (issuer === undefined || one.checkIssued(issuer)) continue;
    return failed(
      "chain",
      `${files.cert}: certificate ${index + 2} is not the issuer of certificate ${index + 1}`,
      "put the client's own certificate first, and after each one that of its issuer",
    );
  }
  const [leaf] = certificates;
  const issuer = leaf === undefined ? "" : `, issued by ${oneLine(leaf.issuer).slice(0, 120)}`;
  return ok("chain", `${certificates.length} in ${files.cert}${issuer}`);
}

type Attempt<T> = { readonly value: T } | { readonly failure: string };

async function attempt<T>(step: () => T | Promise<T>): Promise<Attempt<T>> {
  try {
    return { value: await step() };
  } catch (error) {
    return { failure: toProviderError(error).message };
  }
}
