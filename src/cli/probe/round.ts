/**
 * One round of the probe: Status, Encrypt of random bytes, Decrypt of what came out, each held to what
 * kube-apiserver itself demands of a KMS v2 plugin (k8s.io/apiserver, envelope/kmsv2).
 */
import { randomBytes, randomUUID } from "node:crypto";
import type { EncryptResponse, StatusResponse } from "../../../gen/kms/v2/api_pb.ts";
import { maxKeyIdBytes } from "../../encryptors/limits.ts";
import { ProviderError } from "../../errors.ts";
import { checkUnwrapRequest } from "../../server/rpc/limits.ts";
import { quoteReply } from "../../text/quote.ts";
import { amount } from "../render.ts";
import { type Explanation, mostSaid, type PluginClient } from "./client.ts";

/** The calls of a round, in their order. */
export const steps = ["Status", "Encrypt", "Decrypt"] as const;
/** One of {@link steps}. */
export type Step = (typeof steps)[number];

/** What a round found. */
export interface Round {
  /** Time of each call that was answered, in ms. */
  readonly ms: Readonly<Partial<Record<Step, number>>>;
  /** What was seen, in a few words a step, of the steps that succeeded. */
  readonly seen: Readonly<Partial<Record<Step, string>>>;
  /** The key that Status named. */
  readonly keyId?: string;
  /** Why the round ended early. */
  readonly failure?: Explanation & { readonly step: Step };
}

/** Length of a DEK seed: what kube-apiserver has wrapped. */
const seedBytes = 32;

/** Runs one round. Never throws: what fails is in the result. */
export async function runRound(client: PluginClient): Promise<Round> {
  const ms: Partial<Record<Step, number>> = {};
  const seen: Partial<Record<Step, string>> = {};
  let step: Step = "Status";
  let keyId: string | undefined;

  async function timed<T>(name: Step, call: () => Promise<T>): Promise<T> {
    step = name;
    const start = performance.now();
    const reply = await call();
    ms[name] = performance.now() - start;
    return reply;
  }

  try {
    const status = await timed("Status", () => client.status());
    seen.Status = checkStatus(status);
    keyId = status.keyId;
    const seed = randomBytes(seedBytes);
    const stored = await timed("Encrypt", () => client.encrypt(seed, randomUUID()));
    keyId = await checkSameKey(client, status.keyId, stored.keyId);
    seen.Encrypt = checkEncrypted(stored, seed);
    const opened = await timed("Decrypt", () => client.decrypt(stored, randomUUID()));
    if (!seed.equals(opened.plaintext)) throw new Unfit("gave back other bytes than were encrypted");
    seen.Decrypt = `the same ${seedBytes} bytes`;
    return { ms, seen, keyId };
  } catch (error) {
    const why = error instanceof Unfit ? error : await client.explain(error, step);
    const failure = { step, message: why.message, advice: why.advice };
    return { ms, seen, ...(keyId !== undefined && { keyId }), failure };
  }
}

/** An answer that kube-apiserver would not accept. */
class Unfit extends Error {
  readonly advice: string;

  constructor(
    message: string,
    advice = "this plugin is not fit for use: report it with its version and its log",
  ) {
    super(message);
    this.advice = advice;
  }
}

function checkStatus({ version, healthz, keyId }: StatusResponse): string {
  if (version !== "v2") throw new Unfit(`version is ${quoteReply(version)}, not "v2"`);
  if (healthz !== "ok")
    throw new Unfit(
      `healthz is ${quoteReply(healthz, mostSaid)}`,
      "see docs/troubleshooting.md for this text, and the plugin's log",
    );
  const length = Buffer.byteLength(keyId);
  if (length === 0 || length > maxKeyIdBytes)
    throw new Unfit(`key_id has ${length} bytes, 1 to ${maxKeyIdBytes} are allowed`);
  return `v2, healthz ok, key_id ${quoteReply(keyId)}`;
}

/**
 * kube-apiserver drops what was encrypted under another key than Status names.
 * @returns the key that both name: a rotation may have come between the two calls, so that Status is asked again
 */
async function checkSameKey(client: PluginClient, before: string, used: string): Promise<string> {
  if (used === before) return used;
  const after = checkKeyOf(await client.status());
  if (used === after) return used;
  throw new Unfit(`key_id is ${quoteReply(used)}, but Status says ${quoteReply(after)}`);
}

function checkKeyOf(status: StatusResponse): string {
  checkStatus(status);
  return status.keyId;
}

function checkEncrypted(stored: EncryptResponse, seed: Buffer): string {
  try {
    checkUnwrapRequest(stored);
  } catch (error) {
    if (error instanceof ProviderError) throw new Unfit(error.message);
    throw error;
  }
  const { ciphertext, annotations } = stored;
  if (Buffer.from(ciphertext).includes(seed)) throw new Unfit("the ciphertext holds the plaintext");
  const count = Object.keys(annotations).length;
  return `${seedBytes} bytes to ${ciphertext.length}, under the key that Status names, ${amount(count, "annotations")}`;
}
