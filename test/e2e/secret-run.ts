/** What the tests of secrets.test.ts share: the program at trace, and everything that comes out of it, kept. */
import assert from "node:assert/strict";
import { createPrivateKey, randomBytes, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import path from "node:path";
import type { TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { inspect } from "node:util";
import type { DescMethodUnary, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { KeyManagementService } from "../../gen/kms/v2/api_pb.ts";
import { type CertificateFiles, writeClientFiles } from "../devkms/certificates.ts";
import type { DevKms } from "../devkms/devkms.ts";
import { type GrpcClient, grpcClient, temporaryFolder } from "../server/harness.ts";
import { findSecrets, type Secret } from "../support/secret-search.ts";
import { type Program, runProgram, startProgram } from "./program.ts";
import { flagList, flagsOf, inTime, type Protocol } from "./serving.ts";

export const binarySeed = randomBytes(32);
/** What prints a plaintext as text would show this one as it is. */
export const textSeed = Buffer.from(randomBytes(16).toString("hex"));
const seeds: readonly Secret[] = [
  { name: "the binary seed", bytes: binarySeed },
  { name: "the text seed", bytes: textSeed },
];

/** The program under way, what came out of it beside its log, and what must not be in either. */
export interface Run {
  readonly protocol: Protocol;
  readonly files: CertificateFiles;
  /** Of serve, and so of check. */
  readonly flags: Readonly<Record<string, string>>;
  readonly program: Program;
  readonly sock: string;
  readonly client: GrpcClient;
  readonly output: string[];
  readonly secrets: Secret[];
}

/** Starts the program with certificates of its own. @param change flags that differ from the usual */
export async function startRun(
  t: TestContext,
  kms: DevKms,
  protocol: Protocol,
  change: Readonly<Record<string, string>>,
): Promise<Run> {
  const files = await writeClientFiles(temporaryFolder(t), kms.authority);
  const sock = path.join(temporaryFolder(t), "kms.sock");
  const own = { "client-cert": files.cert, "client-key": files.key, ca: files.ca, timeout: "500ms", sock };
  const flags = { ...flagsOf(protocol, kms), ...own, ...change };
  const observed = { "log-level": "trace", "probe-interval": "300ms", "http-addr": "127.0.0.1:0" };
  const program = startProgram(t, [...flagList({ ...flags, ...observed }), "--debug"]);
  const client = grpcClient(t, `unix:${sock}`);
  return {
    protocol,
    files,
    flags,
    program,
    sock,
    client,
    output: [],
    secrets: [...seeds, ...secretsIn(files)],
  };
}

function secretsIn({ cert, key }: CertificateFiles): Secret[] {
  const { d = "" } = createPrivateKey(readFileSync(key)).export({ format: "jwk" });
  return [
    { name: "the client's private key", bytes: Buffer.from(d, "base64url") },
    { name: "the client's certificate", bytes: new X509Certificate(readFileSync(cert)).raw.subarray(-32) },
    { name: "a private key's PEM", bytes: Buffer.from("ATE KEY--") },
    { name: "a certificate's PEM", bytes: Buffer.from("CATE-----") },
  ];
}

/** A call; its failure, with all that a client can see of it, becomes part of the output. */
export async function call<M extends DescMethodUnary>(
  { client, output }: Run,
  method: M,
  request: MessageInitShape<M["input"]>,
): Promise<MessageShape<M["output"]> | undefined> {
  const result = await client.call(method, request, inTime(3000));
  if (result.error === undefined) return result.reply;
  output.push(inspect(result.error, { depth: 10 }), inspect(result.error.metadata.toJSON(), { depth: 10 }));
  return undefined;
}

const same = (raw: Buffer): Buffer => raw;

/** A call with bytes that need not be a message of its method. */
export async function callRaw({ client, output }: Run, method: string, bytes: Buffer): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<unknown>();
  const stream = client.client.makeBidiStreamRequest(method, same, same, inTime(3000));
  stream.on("data", (raw: Buffer) => output.push(raw.toString("latin1")));
  stream.on("error", (error) => output.push(inspect(error, { depth: 10 })));
  stream.on("close", resolve);
  stream.on("status", resolve);
  stream.end(bytes);
  await promise;
}

/** An Encrypt, and the Decrypt to follow. Its ciphertext and its IV are secrets from then on. */
export async function seal(run: Run, plaintext: Uint8Array) {
  let wrapped: MessageShape<typeof KeyManagementService.method.encrypt.output> | undefined;
  // The program has 500 ms for a call: too little on a machine that is loaded while it starts.
  for (let tries = 0; wrapped === undefined && tries < 20; tries += 1) {
    if (tries > 0) await sleep(200);
    wrapped = await call(run, KeyManagementService.method.encrypt, { plaintext, uid: "seal" });
  }
  assert.ok(wrapped, run.output.slice(-2).join("\n"));
  const { ciphertext, annotations, keyId } = wrapped;
  // The head of a JWE is the same in all of them.
  const bytes = run.protocol === "kmip" ? ciphertext : ciphertext.subarray(-40);
  run.secrets.push({ name: "a ciphertext", bytes });
  const iv = annotations["iv.okms.ovh.com"];
  if (iv !== undefined) run.secrets.push({ name: "an IV", bytes: iv });
  return { ciphertext, annotations, keyId, uid: "open" };
}

/** Waits until the log has this text, or something that matches; gives it. */
export async function untilPrinted({ program }: Run, wanted: RegExp): Promise<string> {
  const until = performance.now() + 15_000;
  for (;;) {
    const found = wanted.exec(program.stderr());
    if (found !== null) return found[1] ?? found[0];
    assert.ok(performance.now() < until, `${String(wanted)} was not logged`);
    await sleep(20);
  }
}

/** Gets a page of the HTTP endpoint, which becomes part of the output. */
export async function getPage(run: Run, page: string, method = "GET"): Promise<string> {
  const address = await untilPrinted(run, /the HTTP endpoint listens.*?(127\.0\.0\.1:\d+)/);
  const reply = await fetch(`http://${address}/${page}`, { method });
  const text = await reply.text();
  run.output.push(JSON.stringify([...reply.headers]), text);
  return text;
}

/** Runs another command of the program; what it prints becomes part of the output. */
export async function runCommand(t: TestContext, { output }: Run, args: readonly string[]): Promise<void> {
  const { stdout, stderr } = await runProgram(t, args);
  assert.ok(stdout + stderr !== "");
  output.push(stdout, stderr);
}

/** Ends the program; gives all that came out of it. */
export async function endRun({ program, output }: Run): Promise<string> {
  program.kill("SIGTERM");
  const { code, stdout, stderr } = await program.ended;
  assert.equal(code, 0);
  return [stdout, stderr, ...output].join("\n");
}

/** Fails where a secret is in what came out of a run: its own, and the keys of the KMS. */
export function assertClean(output: string, { secrets }: Run, kms: DevKms): void {
  const keys = kms.keys.list().map(({ id, material }) => ({ name: `key ${id}`, bytes: material }));
  const all = [...secrets, ...keys];
  assert.deepEqual(findSecrets(output, all), []);
  // And each would have been found.
  const planted = all.map(({ bytes }) => Buffer.from(bytes).toString("base64")).join(" ");
  const found = findSecrets(`${output} ${planted}`, all);
  assert.deepEqual(
    all.filter(({ name }) => !found.includes(`${name} in base64`)),
    [],
  );
}
