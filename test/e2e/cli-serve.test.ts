/** The built program serving, as a process: the original's command lines, certificates, signals. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { cpSync, existsSync, rmSync } from "node:fs";
import { copyFile, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { after, before, test } from "node:test";
import { Health } from "../../gen/grpc/health/v1/health_pb.ts";
import { KeyManagementService } from "../../gen/kms/v2/api_pb.ts";
import { writeClientFiles } from "../devkms/certificates.ts";
import { startDevKms } from "../devkms/devkms.ts";
import type { DevKms } from "../devkms/devkms.ts";
import { resetFaults } from "../devkms/faults.ts";
import { grpcClient, temporaryFolder } from "../server/harness.ts";
import { programs, startProgram } from "./program.ts";
import { flagList, flagsOf, kmipFlagsOf, roundTrip, serving } from "./serving.ts";

const { status, encrypt } = KeyManagementService.method;
let kms: DevKms;
let keyId: string;

before(async () => {
  kms = await startDevKms();
  keyId = kms.keys.create({ name: "etcd" }).id;
});
after(() => kms.close());

function kmipFlags(): Record<string, string> {
  return kmipFlagsOf(kms);
}

const commandLines: readonly (readonly [
  what: string,
  build: () => { args: string[]; env?: Record<string, string> },
])[] = [
  ["kmip, a label, two dashes and spaces", () => ({ args: flagList(kmipFlags()) })],
  [
    "kmip, single dashes and =",
    () => ({ args: flagList(kmipFlags(), (name, text) => [`-${name}=${text}`]) }),
  ],
  [
    "kmip by key id, after the word serve",
    () => {
      const { "encryption-key-label": _label, ...flags } = kmipFlags();
      return { args: ["serve", ...flagList({ ...flags, "encryption-key-id": keyId })] };
    },
  ],
  [
    "kmip from the environment alone",
    () => ({
      args: ["serve"],
      env: {
        OKMS_PROTOCOL: "kmip",
        OKMS_SERV_ADDR: kms.kmipAddress,
        OKMS_KEY_LABEL: "etcd",
        OKMS_KEY_ID: "",
        OKMS_CLIENT_CERT: kms.clientFiles.cert,
        OKMS_CLIENT_KEY: kms.clientFiles.key,
        OKMS_CA_CERT: kms.clientFiles.ca,
        OKMS_DEBUG: "T",
      },
    }),
  ],
  [
    "a flag that wins over its variable",
    () => ({ args: flagList(kmipFlags()), env: { OKMS_SERV_ADDR: "127.0.0.1:1", OKMS_PROTOCOL: "rest" } }),
  ],
  [
    "rest",
    () => ({
      args: flagList(flagsOf("rest", kms)),
    }),
  ],
  [
    "rest by key id, single dashes and =",
    () => {
      const { "encryption-key-label": _label, ...flags } = flagsOf("rest", kms);
      const byId = { ...flags, "encryption-key-id": keyId };
      return { args: flagList(byId, (name, text) => [`-${name}=${text}`]) };
    },
  ],
];
for (const [what, build] of commandLines)
  test(`serves with the original's command line: ${what}; SIGTERM ends it with 0, the socket gone`, async (t) => {
    const { args, env = {} } = build();
    const served = await serving(t, args, { env });
    const state = await roundTrip(served);
    assert.deepEqual([state.version, state.healthz, state.keyId], ["v2", "ok", keyId]);
    served.program.kill("SIGTERM");
    const { code, signal } = await served.program.ended;
    assert.deepEqual([code, signal], [0, null]);
    assert.ok(!existsSync(served.sock));
  });

test("the source serves as the built file does, and SIGINT ends it as SIGTERM does", async (t) => {
  const served = await serving(t, flagList(kmipFlags()), { program: "source" });
  await roundTrip(served);
  served.program.kill("SIGINT");
  assert.equal((await served.program.ended).code, 0);
});

test("a quoted ~/ is the home folder", async (t) => {
  const { cert, key, ca } = kms.clientFiles;
  const home = path.dirname(path.dirname(cert));
  const tilde = (file: string): string => `~/${path.relative(home, file)}`;
  const flags = { ...kmipFlags(), "client-cert": tilde(cert), "client-key": tilde(key), ca: tilde(ca) };
  await roundTrip(await serving(t, flagList(flags), { env: { HOME: home } }));
});

test("a bad certificate at the start: it listens, says why, and serves once the files are good", async (t) => {
  const folder = temporaryFolder(t);
  const files = { cert: path.join(folder, "cert.pem"), key: path.join(folder, "key.pem") };
  await writeFile(files.cert, "rubbish");
  await writeFile(files.key, "more of it");
  const flags = { ...kmipFlags(), "client-cert": files.cert, "client-key": files.key };
  const served = await serving(t, flagList(flags));
  const line = await served.program.untilLogged(/^cannot load the certificate files: /);
  assert.equal(line.level, "error");
  assert.match(line.msg, /cert\.pem: is not PEM: .*; .*key\.pem: is not PEM: .*; waiting for valid files$/);
  const refused = await served.client.call(status, {}, { deadline: Date.now() + 5_000 });
  assert.ok("error" in refused);
  assert.match(refused.error.details, /TLS_FILES/);
  await copyFile(kms.clientFiles.key, files.key);
  await copyFile(kms.clientFiles.cert, files.cert);
  served.program.kill("SIGHUP");
  await served.program.untilLogged("the key is healthy");
  await roundTrip(served);
});

test("a new certificate is taken up on SIGHUP; a bad one is refused, and the old one goes on", async (t) => {
  const folder = temporaryFolder(t);
  const { cert, key, ca } = await writeClientFiles(folder, kms.authority);
  const served = await serving(t, flagList({ ...kmipFlags(), "client-cert": cert, "client-key": key, ca }));
  await roundTrip(served);
  await writeFile(key, "rubbish");
  served.program.kill("SIGHUP");
  const refused = await served.program.untilLogged(/^cannot load the certificate files: /);
  assert.match(refused.msg, /key\.pem: is not PEM.*; the current ones stay in use$/);
  await roundTrip(served);
  await writeClientFiles(folder, kms.authority);
  served.program.kill("SIGHUP");
  await served.program.untilLogged("new certificate loaded");
  await roundTrip(served);
});

test("an expired certificate is named as such, with its file", async (t) => {
  const folder = temporaryFolder(t);
  const notBefore = new Date(Date.now() - 2 * 86_400_000);
  const notAfter = new Date(Date.now() - 86_400_000);
  const { cert, key } = await writeClientFiles(folder, kms.authority, { notBefore, notAfter });
  const { program } = await serving(t, flagList({ ...kmipFlags(), "client-cert": cert, "client-key": key }));
  const line = await program.untilLogged(
    "a certificate in use has expired: the KMS probably refuses new connections",
  );
  assert.equal(line["file"], cert);
  const problem = await program.untilLogged("the KMS can't be reached");
  assert.match(String(problem["reason"]), /refused the client certificate/);
});

test("a socket that cannot be had ends it with 1 and one line that says why", async (t) => {
  const folder = temporaryFolder(t);
  const file = path.join(folder, "file.sock");
  await writeFile(file, "not a socket");
  const { code, stdout, stderr } = await startProgram(t, [...flagList(kmipFlags()), "--sock", file]).ended;
  assert.deepEqual([code, stdout], [1, ""]);
  const errors = stderr.split("\n").filter((line) => line.includes('"level":"error"'));
  assert.equal(errors.length, 1);
  assert.match(errors[0] ?? "", /"msg":"cannot listen on the socket".*"code":"SOCKET"/);
  assert.equal(await readFile(file, "utf8"), "not a socket");
});

test("a socket that another process listens on is refused, and taken over with --replace", async (t) => {
  const first = await serving(t, flagList(kmipFlags()));
  const args = [...flagList(kmipFlags()), "--sock", first.sock];
  assert.equal((await startProgram(t, args).ended).code, 1);
  const second = startProgram(t, [...args, "--replace"]);
  await second.untilLogged("the key is healthy");
  first.program.kill("SIGTERM");
  assert.equal((await first.program.ended).code, 0);
  await roundTrip({ client: grpcClient(t, `unix:${first.sock}`) });
});

test("SIGTERM ends it, whatever else is still under way in the process", async (t) => {
  const env = { NODE_OPTIONS: "--import=data:text/javascript,setInterval(Boolean,1e6)" };
  const { program } = await serving(t, flagList(kmipFlags()), { program: "source", env });
  program.kill("SIGTERM");
  const { code, stderr } = await program.ended;
  assert.equal(code, 0);
  assert.match(stderr, /"ended"/);
});

test("SIGTERM ends it, though files that it reads hang", async (t) => {
  // Whoever opens a named pipe to read waits for one who writes, in a thread of its own.
  const pipe = path.join(temporaryFolder(t), "pipe");
  execFileSync("mkfifo", [pipe]);
  const code = `import fs from "node:fs"; for (let i = 0; i < 3; i += 1) fs.promises.open("${pipe}")`;
  const env = { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(code)}` };
  const { program, client } = await serving(t, flagList(kmipFlags()), { env });
  await roundTrip({ client });
  program.kill("SIGTERM");
  const { signal, stderr } = await program.ended;
  assert.equal(signal, "SIGKILL");
  assert.match(stderr, /"ended"/);
});

test("on SIGTERM the call in flight finishes; a second signal does not wait for it", async (t) => {
  t.after(() => {
    resetFaults(kms.faults);
  });
  const patient = await serving(t, flagList(kmipFlags()));
  await roundTrip(patient);
  kms.faults.delayMs = 700;
  const arrived = oneMore("Encrypt");
  const call = patient.client.call(encrypt, { plaintext: randomBytes(32), uid: "slow" });
  await arrived();
  patient.program.kill("SIGTERM");
  assert.ok("reply" in (await call));
  assert.equal((await patient.program.ended).code, 0);
  resetFaults(kms.faults);

  const hurried = await serving(t, flagList(kmipFlags()));
  await roundTrip(hurried);
  kms.faults.silent = true;
  const gone = oneMore("Encrypt");
  const lost = hurried.client.call(encrypt, { plaintext: randomBytes(32), uid: "lost" });
  await gone();
  hurried.program.kill("SIGTERM");
  await hurried.program.untilLogged("ending");
  hurried.program.kill("SIGTERM");
  assert.equal((await hurried.program.ended).code, 1);
  assert.ok("error" in (await lost));
});

/** Gives what resolves when the KMS has had one more request for this operation than now. */
function oneMore(operation: string): () => Promise<void> {
  const had = kms.kmipRequests()[operation] ?? 0;
  return async () => {
    while ((kms.kmipRequests()[operation] ?? 0) === had)
      await new Promise((resolve) => {
        setImmediate(resolve);
      });
  };
}

test("--http-addr serves health and metrics, and tells where", async (t) => {
  const { program } = await serving(t, [...flagList(kmipFlags()), "--http-addr", "127.0.0.1:0"]);
  const { address } = await program.untilLogged("the HTTP endpoint listens");
  await program.untilLogged("the key is healthy");
  for (const page of ["livez", "readyz", "metrics"]) {
    const reply = await fetch(`http://${String(address)}/${page}`);
    assert.equal(reply.status, 200, page);
    await reply.text();
  }
});

for (const [args, warning] of [
  [["--okms-id", "c1b2a3d4-0000-4000-8000-00000000abcd"], "--okms-id has no effect with --protocol kmip"],
  [
    ["--sock-mode", "0666"],
    "--sock-mode lets every user of this host decrypt: leave out the last digit's write bit",
  ],
] as const)
  test(`${args.join(" ")} is odd, and warned of`, async (t) => {
    const { program } = await serving(t, [...flagList(kmipFlags()), ...args]);
    assert.equal((await program.untilLogged(warning)).level, "warn");
  });

test("a process whose files are replaced goes on serving, and refuses only what it has not loaded", async (t) => {
  const folder = temporaryFolder(t);
  cpSync(path.dirname(programs.built), folder, { recursive: true });
  const file = path.join(folder, path.basename(programs.built));
  const { program, client } = await serving(t, flagList(kmipFlags()), { file });
  await program.untilLogged("the key is healthy");
  rmSync(folder, { recursive: true });
  assert.equal((await roundTrip({ client })).healthz, "ok");
  assert.equal((await client.call(Health.method.check, {})).error?.code, 14);
  await program.untilLogged(/^cannot load what answers this call/);
  assert.equal((await roundTrip({ client })).healthz, "ok");
});
