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
  const deadline = Date.now() + 10_000;
  const state = await client.call(status, {}, { deadline });
  assert.ok("reply" in state, String("error" in state && state.error));
  const wrapped = await client.call(encrypt, { plaintext, uid: "e2e" }, { deadline });
  assert.ok("reply" in wrapped, String("error" in wrapped && wrapped.error));
  const { ciphertext, keyId: usedKey, annotations } = wrapped.reply as EncryptResponse;
  const unwrapped = await client.call(
    decrypt,
    { ciphertext, keyId: usedKey, annotations, uid: "e2e" },
    { deadline },
  );
  assert.ok("reply" in unwrapped, String("error" in unwrapped && unwrapped.error));
  assert.deepEqual(Buffer.from(unwrapped.reply.plaintext), plaintext);
  return state.reply;
}
