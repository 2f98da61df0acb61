/**
 * Every way in which TLS with the KMS goes wrong, on the built program: its own message, naming the file or the host,
 * in the log; a plain error to the caller; and service as soon as the problem is solved, without a restart.
 */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { after, afterEach, before, describe, test, type TestContext } from "node:test";
import { KeyManagementService } from "../../gen/kms/v2/api_pb.ts";
import {
  type Authority,
  type CertificateFiles,
  createAuthority,
  writeCertificateFiles,
  writeClientFiles,
} from "../devkms/certificates.ts";
import { type DevKms, startDevKms } from "../devkms/devkms.ts";
import { temporaryFolder } from "../server/harness.ts";
import { startOpensslServer, withoutOpenssl } from "../support/openssl.ts";
import { startProgram } from "./program.ts";
import { flagList, roundTrip, type Serving, serving } from "./serving.ts";

const { status } = KeyManagementService.method;
const dayMs = 86_400_000;
const past = { notBefore: new Date(Date.now() - 3 * dayMs), notAfter: new Date(Date.now() - dayMs) };

/** What a problem is made from. */
interface Scene {
  readonly kms: DevKms;
  /** The files that the program is given: its own, and all in order. */
  readonly files: CertificateFiles;
  /** One that the KMS knows nothing of. */
  readonly stranger: Authority;
  /** `127.0.0.1:PORT`. */
  readonly host: string;
}

interface Problem {
  readonly name: string;
  make(scene: Scene): Promise<unknown>;
  mend(scene: Scene): Promise<unknown>;
  /** What the log says. */
  says(scene: Scene): string;
  /** What stands on the same line. Default: nothing more. */
  readonly alsoSays?: (scene: Scene) => string;
  /** What the caller's error has in brackets. Default: TLS. */
  readonly code?: "TLS_FILES" | "CLOSED";
}

const mendFiles = async ({ kms, files }: Scene): Promise<unknown> =>
  writeClientFiles(folderOf(files), kms.authority);
const mendServer = async ({ kms }: Scene): Promise<unknown> => kms.setServerCertificate();

async function refusedClient({ kms, files, stranger }: Scene): Promise<unknown> {
  const issued = await stranger.issue({ commonName: "stranger", client: true });
  return writeCertificateFiles(folderOf(files), issued, kms.authority.caPem);
}

const problems: readonly Problem[] = [
  {
    name: "the wrong CA",
    make: ({ files, stranger }) => writeFile(files.ca, stranger.caPem),
    mend: mendFiles,
    says: ({ host }) =>
      `the certificate of ${host} does not chain to a trusted authority: give the right CA bundle with --ca`,
  },
  {
    name: "a server's certificate that has expired",
    make: ({ kms }) => kms.setServerCertificate(past),
    mend: mendServer,
    says: ({ host }) => `the certificate of ${host} has expired`,
  },
  {
    name: "a server's certificate for another host",
    make: ({ kms }) => kms.setServerCertificate({ dnsNames: ["elsewhere.example"], ipAddresses: [] }),
    mend: mendServer,
    says: ({ host }) => `the certificate of ${host} is for elsewhere.example, not for this host`,
  },
  {
    // Node's own servers hang up without an alert: why is not to be known.
    name: "a client certificate that the server refuses without a word",
    make: refusedClient,
    mend: mendFiles,
    says: () => "it may have refused the client certificate",
    alsoSays: ({ host }) => `${host} `,
    code: "CLOSED",
  },
  {
    name: "a key that does not belong to the certificate",
    async make({ kms, files }) {
      await writeFile(files.key, (await kms.authority.issue({ commonName: "another" })).key);
    },
    mend: mendFiles,
    says: ({ files }) => `${files.key}: is not the private key of the certificate in ${files.cert}`,
    code: "TLS_FILES",
  },
  {
    name: "a CA file without a CA",
    make: ({ files }) => writeFile(files.ca, "not a certificate"),
    mend: mendFiles,
    says: ({ files }) => `${files.ca}: is not PEM`,
    code: "TLS_FILES",
  },
];

function folderOf({ cert }: CertificateFiles): string {
  return path.dirname(cert);
}

/** The problem has ended; the next probe has yet to find out. */
async function untilWell(served: Serving): Promise<void> {
  await served.program.untilLogged("the key is healthy");
  await roundTrip(served);
}

function flagsOf(
  protocol: string,
  server: Readonly<Record<string, string>>,
  { cert, key, ca }: CertificateFiles,
): string[] {
  const files = { "client-cert": cert, "client-key": key, ca };
  return flagList({ protocol, ...server, ...files, "encryption-key-label": "etcd", timeout: "2s" });
}

for (const protocol of ["kmip", "rest"] as const)
  describe(protocol, () => {
    let kms: DevKms;
    let stranger: Authority;
    const server = (): Record<string, string> =>
      protocol === "kmip"
        ? { "serv-addr": kms.kmipAddress }
        : { "serv-addr": kms.restUrl, "okms-id": kms.okmsId };

    before(async () => {
      kms = await startDevKms(protocol === "kmip" ? { rest: false } : { kmip: false });
      kms.keys.create({ name: "etcd" });
      stranger = await createAuthority({ name: "stranger" });
    });
    afterEach(() => kms.setServerCertificate());
    after(() => kms.close());

    for (const problem of problems)
      test(`${problem.name} is named in the log, told the caller as a class, and gone once it is solved`, async (t) => {
        const files = await writeClientFiles(temporaryFolder(t), kms.authority);
        const host = protocol === "kmip" ? kms.kmipAddress : new URL(kms.restUrl).host;
        const scene = { kms, files, stranger, host };
        await problem.make(scene);
        const served = await serving(t, flagsOf(protocol, server(), files));

        const result = await served.client.call(status, {}, { deadline: Date.now() + 10_000 });
        assert.ok("error" in result);
        assert.match(result.error.details, new RegExp(`\\[${problem.code ?? "TLS"}\\]$`));
        assert.ok(!result.error.details.includes(host) && !result.error.details.includes(files.cert));
        await served.program.untilLogged(/^(the KMS can't be reached|cannot load the certificate files: )/);
        const said = served.program.log().map((line) => `${line.msg} ${String(line["reason"])}`);
        assert.ok(
          said.some(
            (line) => line.includes(problem.says(scene)) && line.includes(problem.alsoSays?.(scene) ?? ""),
          ),
          said.join("\n"),
        );
        const others = problems.filter((other) => other !== problem);
        for (const other of others)
          assert.ok(!said.some((line) => line.includes(other.says(scene))), `also: ${other.says(scene)}`);

        await problem.mend(scene);
        served.program.kill("SIGHUP");
        await untilWell(served);
      });
  });

for (const protocol of ["kmip", "rest"] as const)
  test(`${protocol}: no variable of Node's makes serve or check trust an impostor`, async (t) => {
    const kms = await startDevKms(protocol === "kmip" ? { rest: false } : { kmip: false });
    t.after(() => kms.close());
    kms.keys.create({ name: "etcd" });
    const files = await writeClientFiles(temporaryFolder(t), kms.authority);
    await writeFile(files.ca, (await createAuthority({ name: "another" })).caPem);
    const server =
      protocol === "kmip"
        ? { "serv-addr": kms.kmipAddress }
        : { "serv-addr": kms.restUrl, "okms-id": kms.okmsId };
    const env = { NODE_TLS_REJECT_UNAUTHORIZED: "0" };
    const { client } = await serving(t, flagsOf(protocol, server, files), { env });
    const result = await client.call(status, {}, { deadline: Date.now() + 10_000 });
    assert.ok("error" in result);
    assert.match(result.error.details, /\[TLS\]$/);
    const sock = path.join(temporaryFolder(t), "kms.sock");
    const checking = startProgram(t, ["check", ...flagsOf(protocol, server, files), "--sock", sock], { env });
    const { code, stdout } = await checking.ended;
    assert.equal(code, 1);
    assert.match(stdout, /does not chain to a trusted authority/);
  });

/** A TLS server that this project did not write, and which says by an alert why it refuses. */
async function startOpenssl(t: TestContext, authority: Authority): Promise<string> {
  const issued = await authority.issue({ commonName: "alerts", ipAddresses: ["127.0.0.1"], server: true });
  const { cert, key, ca } = await writeCertificateFiles(temporaryFolder(t), issued, authority.caPem);
  const files = ["-cert", cert, "-key", key, "-CAfile", ca];
  const verify = ["-Verify", "1", "-verify_return_error"];
  return startOpensslServer(t, ".", ...files, ...verify);
}

for (const protocol of ["kmip", "rest"] as const)
  for (const [why, dates, isStranger] of [
    ["it has expired", past, false],
    ["it does not trust its authority", {}, true],
  ] as const)
    test(
      `${protocol}: a server that refuses the client certificate because ${why} is quoted, and the call fails at once`,
      { skip: withoutOpenssl },
      async (t) => {
        const authority = await createAuthority();
        const issuer = isStranger ? await createAuthority({ name: "stranger" }) : authority;
        const issued = await issuer.issue({ commonName: "client", client: true, ...dates });
        const files = await writeCertificateFiles(temporaryFolder(t), issued, authority.caPem);
        const address = await startOpenssl(t, authority);
        const own =
          protocol === "kmip"
            ? { "serv-addr": address }
            : { "serv-addr": `https://${address}`, "okms-id": randomUUID() };
        const { program, client } = await serving(t, flagsOf(protocol, own, files));
        const result = await client.call(status, {}, { deadline: Date.now() + 10_000 });
        assert.ok("error" in result);
        assert.match(result.error.details, /\[TLS\]$/);
        const line = await program.untilLogged("the KMS can't be reached");
        assert.equal(line["reason"], `${address} refused the client certificate (--client-cert): ${why}`);
      },
    );
