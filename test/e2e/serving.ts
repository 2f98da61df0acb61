/** The program serving before the embedded KMS, and a client that this project did not write. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import path from "node:path";
import type { TestContext } from "node:test";
import { KeyManagementService } from "../../gen/kms/v2/api_pb.ts";
import type { EncryptResponse, StatusResponse } from "../../gen/kms/v2/api_pb.ts";
import type { DevKms } from "../devkms/devkms.ts";
import { grpcClient, temporaryFolder } from "../server/harness.ts";
import type { GrpcClient } from "../server/harness.ts";
import { startProgram } from "./program.ts";
import type { Program, ProgramOptions } from "./program.ts";

const { status, encrypt, decrypt } = KeyManagementService.method;

/** The flags of `serve` for the key `etcd` of the KMIP face of `kms`, by name. */
export function kmipFlagsOf(kms: DevKms): Record<string, string> {
  const { cert, key, ca } = kms.clientFiles;
  return {
    protocol: "kmip",
    "serv-addr": kms.kmipAddress,
    "encryption-key-label": "etcd",
    "client-cert": cert,
    "client-key": key,
    ca,
  };
}

/** Flags as arguments: `--name text`, or as `form` has it. */
export function flagList(
  flags: Readonly<Record<string, string>>,
  form = (name: string, text: string) => [`--${name}`, text],
) {
  return Object.entries(flags).flatMap(([name, text]) => form(name, text));
}

/** A program that listens, and a client of its socket. */
export interface Serving {
  readonly program: Program;
  readonly sock: string;
  readonly client: GrpcClient;
}

/** Starts the program on a socket of its own, and waits until it listens. */
export async function serving(
  t: TestContext,
  args: readonly string[],
  options?: ProgramOptions,
): Promise<Serving> {
  const sock = path.join(temporaryFolder(t), "kms.sock");
  const program = startProgram(t, [...args, "--sock", sock], options);
  await program.untilLogged("listening");
  return { program, sock, client: grpcClient(t, `unix:${sock}`) };
}

/** Status, Encrypt and Decrypt as kube-apiserver does them; gives what Status said. */
export async function roundTrip(
  { client }: Pick<Serving, "client">,
  plaintext = randomBytes(32),
): Promise<StatusResponse> {
  const state = await client.call(status, {}, inTime());
  assert.ok("reply" in state, String("error" in state && state.error));
  assert.deepEqual(await unwrap(client, await wrap(client, plaintext)), plaintext);
  return state.reply;
}

/** What the program can speak to a KMS. */
export type Protocol = "kmip" | "rest";

/** The flags of `serve` for the key `etcd` of `kms` over one of its faces, by name. */
export function flagsOf(protocol: Protocol, kms: DevKms): Record<string, string> {
  if (protocol === "kmip") return kmipFlagsOf(kms);
  const own = { protocol, "serv-addr": kms.restUrl, "okms-id": kms.okmsId };
  return { ...kmipFlagsOf(kms), ...own };
}

/** A deadline for a call. */
export const inTime = (ms = 10_000): { deadline: number } => ({ deadline: Date.now() + ms });

/** An Encrypt that has to succeed. */
export async function wrap(client: GrpcClient, plaintext: Uint8Array, ms?: number): Promise<EncryptResponse> {
  const result = await client.call(encrypt, { plaintext, uid: "e2e" }, inTime(ms));
  assert.ok("reply" in result, String("error" in result && result.error));
  return result.reply;
}

/** A Decrypt that has to succeed. */
export async function unwrap(client: GrpcClient, wrapped: EncryptResponse, ms?: number): Promise<Buffer> {
  const { ciphertext, keyId, annotations } = wrapped;
  const result = await client.call(decrypt, { ciphertext, keyId, annotations, uid: "e2e" }, inTime(ms));
  assert.ok("reply" in result, String("error" in result && result.error));
  return Buffer.from(result.reply.plaintext);
}

/** Callers under way. */
export interface Load {
  /** Encrypts with their Decrypts so far. */
  calls(): number;
  /** Lets each caller finish what it does; rejects where a call failed. */
  end(): Promise<void>;
}

/** Encrypts and decrypts without pause; no call may fail. */
export function startLoad(client: GrpcClient, callers: number): Load {
  let calls = 0;
  const ending = new AbortController();
  const caller = async (): Promise<void> => {
    while (!ending.signal.aborted) {
      const plaintext = randomBytes(32);
      assert.deepEqual(await unwrap(client, await wrap(client, plaintext)), plaintext);
      calls += 1;
    }
  };
  const all = Promise.all(Array.from({ length: callers }, caller));
  // Told by `end`: until then it is nobody's.
  all.catch(() => undefined);
  return {
    calls: () => calls,
    end: async () => {
      ending.abort();
      await all;
    },
  };
}
