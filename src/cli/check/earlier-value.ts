/** Whether the key still opens what an earlier deep probe of serve wrapped, from the file of --state-dir. */
import type { CallContext, Encryptor } from "../../encryptors/encryptor.ts";
import { toProviderError } from "../../errors.ts";
import { createSampleFile } from "../../server/key/sample-file.ts";
import { isOpened, type Sample } from "../../server/key/samples.ts";
import { failed, type Finding, ok, warning } from "./finding.ts";

/**
 * Unwraps what a deep probe wrapped under the key `keyId`, as serve does.
 * @returns undefined without --state-dir
 */
export async function checkEarlierValue(
  encryptor: Encryptor,
  keyId: string,
  stateDir: string | undefined,
  context: CallContext,
): Promise<Finding | undefined> {
  if (stateDir === undefined) return undefined;
  const name = "earlier value";
  const file = createSampleFile(stateDir);
  let samples: readonly Sample[];
  try {
    // Root checks what the plugin's own user wrote.
    samples = await file.read({ isOwnerTrusted: true });
  } catch (error) {
    const why = `cannot read ${file.path}: ${error instanceof Error ? error.message : String(error)}`;
    return warning(name, why, "give the folder of --state-dir to the plugin's user, mode 0700");
  }
  const sample = samples.find((one) => one.protocol === encryptor.protocol && one.keyId === keyId);
  if (sample === undefined) return ok(name, "none of this key yet: serve keeps one at its first deep probe");
  const about = `what serve wrapped at ${sample.wrappedAt.toISOString()}`;
  try {
    if (isOpened(sample, await encryptor.decrypt(sample, context))) return ok(name, `${about} still opens`);
    return failed(name, `${about} decrypts to other bytes`, advice);
  } catch (error) {
    return failed(name, `${about} does not open: ${toProviderError(error).message}`, advice);
  }
}

const advice =
  "if Encrypt and Decrypt work otherwise, the bytes of the key were exchanged under its identifier: have the former key restored in the KMS";
