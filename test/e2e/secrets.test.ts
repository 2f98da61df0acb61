/**
 * Nothing secret is printed: the built program at trace, as text and as JSON, over both protocols, through good calls
 * and every kind of bad one, and all that comes out of it: log, gRPC errors, HTTP endpoint, reflection, check, probe.
 */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { after, afterEach, before, test, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { KeyManagementService } from "../../gen/kms/v2/api_pb.ts";
import { type DevKms, startDevKms } from "../devkms/devkms.ts";
import { type Faults, resetFaults } from "../devkms/faults.ts";
import {
  assertClean,
  binarySeed,
  call,
  callRaw,
  endRun,
  getPage,
  type Run,
  runCommand,
  seal,
  startRun,
  textSeed,
  untilPrinted,
} from "./secret-run.ts";
import { flagList } from "./serving.ts";

const { status, encrypt, decrypt } = KeyManagementService.method;
let kms: DevKms;

before(async () => {
  kms = await startDevKms();
  kms.keys.create({ name: "etcd" });
});
afterEach(() => resetFaults(kms.faults));
after(() => kms.close());

for (const protocol of ["kmip", "rest"] as const)
  for (const format of ["text", "json"] as const)
    test(`${protocol}, ${format}: through everything that can happen, nothing secret comes out`, async (t) => {
      const run = await startRun(t, kms, protocol, { "log-format": format });
      await goodCalls(run);
      await badRequests(run);
      await faultsOfKms(run);
      await keyTroubles(run);
      await certificateTroubles(run);
      await sideDoors(t, run);
      const output = await endRun(run);
      for (const line of ["message sent", "exchange with the KMS", "call failed", "the key has changed"])
        assert.ok(output.includes(line), `not logged: ${line}`);
      assertClean(output, run, kms);
    });

async function goodCalls(run: Run): Promise<void> {
  await call(run, status, {});
  for (const seed of [binarySeed, textSeed]) {
    const opened = await call(run, decrypt, await seal(run, seed));
    assert.deepEqual(Buffer.from(opened?.plaintext ?? []), seed);
  }
}

/** Requests that are wrong, with secrets where a client in confusion would put them. */
async function badRequests(run: Run): Promise<void> {
  const good = await seal(run, binarySeed);
  const { ciphertext, annotations } = good;
  const flipped = Uint8Array.from(ciphertext, (byte, at) => (at === ciphertext.length - 2 ? byte ^ 1 : byte));
  for (const change of [
    { ciphertext: flipped },
    { ciphertext: ciphertext.subarray(0, 15) },
    { ciphertext: new Uint8Array() },
    { ciphertext: Buffer.concat([textSeed, randomBytes(1025)]) },
    { ciphertext: binarySeed },
    { annotations: {} },
    { annotations: { ...annotations, "iv.okms.ovh.com": binarySeed } },
    { annotations: { ...annotations, "alg.okms.ovh.com": textSeed } },
    { annotations: { ...annotations, "other.okms.ovh.com": textSeed } },
    { keyId: "no-such-key" },
  ])
    await call(run, decrypt, { ...good, ...change });
  for (const plaintext of [new Uint8Array(), Buffer.alloc(3000, textSeed), Buffer.alloc(70_000, textSeed)])
    await call(run, encrypt, { plaintext, uid: "a\nforged=line" });
  for (const bytes of [Buffer.concat([Buffer.of(0x0a, 0x7f), binarySeed]), textSeed])
    await callRaw(run, "/v2.KeyManagementService/Encrypt", bytes);
}

function refusalThatQuotes(seed: Buffer, form: "hex" | "base64"): Partial<Faults> {
  return { refuse: { reason: "GeneralFailure", message: `no key for "${seed.toString(form)}" here` } };
}

/** Each switch of the embedded KMS, over an Encrypt and a Decrypt. */
async function faultsOfKms(run: Run): Promise<void> {
  const good = await seal(run, textSeed);
  const statuses = [400, 401, 403, 404, 429, 500, 503].map((code) => ({ rest: { status: code } }));
  const table: readonly Partial<Faults>[] = [
    ...[binarySeed, textSeed].flatMap((seed) => [
      refusalThatQuotes(seed, "hex"),
      refusalThatQuotes(seed, "base64"),
    ]),
    { refuse: { reason: "PermissionDenied" } },
    { refuse: { reason: "CryptographicFailure" } },
    { silent: true },
    { closeAfterRequest: true },
    { halfFrame: true },
    { garbage: true },
    ...(run.protocol === "rest" ? statuses : []),
    ...(run.protocol === "rest" ? [{ rest: { brokenBody: true } }, { rest: { hugeBody: true } }] : []),
  ];
  for (const fault of table) {
    Object.assign(kms.faults, fault);
    const sealing = call(run, encrypt, { plaintext: binarySeed, uid: "fault" });
    await Promise.all([sealing, call(run, decrypt, good)]);
    resetFaults(kms.faults);
  }
  await untilWell(run);
}

/** A key that is disabled and back, a label that moves. */
async function keyTroubles(run: Run): Promise<void> {
  const old = kms.keys.byName("etcd").at(-1);
  assert.ok(old);
  kms.keys.update(old.id, { state: "Deactivated" });
  await untilPrinted(run, new RegExp(`the key must not be used.*${old.id}`));
  await call(run, encrypt, { plaintext: binarySeed, uid: "disabled" });
  kms.keys.update(old.id, { state: "Active", names: [] });
  const next = kms.keys.create({ name: "etcd" });
  await untilPrinted(run, new RegExp(`the key has changed.*${next.id}`));
  await goodCalls(run);
}

/** Files that hold a key where none should be, or what is left of one. */
async function certificateTroubles(run: Run): Promise<void> {
  const { files, program } = run;
  const [cert, key] = [readFileSync(files.cert, "utf8"), readFileSync(files.key, "utf8")];
  for (const [newCert, newKey] of [
    [key, key],
    [cert, key.slice(0, -40)],
    [cert, key.replaceAll(/-----.*-----/g, "")],
    [cert, cert],
  ] as const) {
    const soFar = await refusedSets(run);
    await writeFile(files.cert, newCert);
    await writeFile(files.key, newKey);
    program.kill("SIGHUP");
    while ((await refusedSets(run)) === soFar) await sleep(20);
  }
  await writeFile(files.cert, cert);
  await writeFile(files.key, key);
  program.kill("SIGHUP");
  await untilWell(run);
}

async function refusedSets(run: Run): Promise<number> {
  const metrics = await getPage(run, "metrics");
  return Number(/^okms_\w*reload_total\{outcome="refused"\} (\d+)$/m.exec(metrics)?.[1] ?? 0);
}

async function untilWell(run: Run): Promise<void> {
  while ((await call(run, status, {}))?.healthz !== "ok") await sleep(50);
}

/** Every other way out: HTTP, reflection, health, and the operator's commands. */
async function sideDoors(t: TestContext, run: Run): Promise<void> {
  for (const page of ["livez", "readyz?verbose", "metrics", "nothing"]) await getPage(run, page);
  await getPage(run, "metrics", "POST");
  const listServices = Buffer.of(0x3a, 0x00);
  const symbol = Buffer.from("v2.KeyManagementService");
  for (const version of ["v1", "v1alpha"])
    for (const question of [listServices, Buffer.concat([Buffer.of(0x22, symbol.length), symbol])])
      await callRaw(run, `/grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`, question);
  await callRaw(run, "/grpc.health.v1.Health/Check", Buffer.alloc(0));
  const pem = readFileSync(run.files.key, "utf8");
  for (const args of [
    ["check", ...flagList({ ...run.flags, sock: `${run.sock}-other` })],
    ["check", "--json", ...flagList({ ...run.flags, "client-cert": run.files.key })],
    ["check", ...flagList({ ...run.flags, "client-key": pem })],
    ["config", "systemd", ...flagList({ ...run.flags, "client-key": pem })],
    flagList({ ...run.flags, "client-key": pem, [pem]: pem }),
    ["probe", "--sock", run.sock, "--json"],
  ])
    await runCommand(t, run, args);
}
