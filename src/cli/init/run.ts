/** What `init` does, one line for each step: the files, the key, its tests, the rights that are not needed. */
import { type Config, tlsFilesOf } from "../../config/config.ts";
import { createKmipKeyMaker, type KmipKeyMaker } from "../../encryptors/index.ts";
import { toProviderError } from "../../errors.ts";
import type { TlsMaterial } from "../../net/tls.ts";
import { quote } from "../../text/quote.ts";
import { checkFiles } from "../check/files.ts";
import { failed, hasPassed, ok, renderFinding, renderTotal, skipped, warning } from "../check/finding.ts";
import type { Finding } from "../check/finding.ts";
import { checkKey } from "../check/key.ts";
import { contextFor, encryptorConfigOf, whyUnresolved } from "../encryptor.ts";

/** What `init` is run with. */
export interface InitOptions {
  readonly config: Config;
  /** Whether to create no key. */
  readonly isProofOnly: boolean;
}

/** Does it, and prints each step as soon as it is known. @returns the exit code: 0 where nothing is wrong, else 1 */
export async function runInit(options: InitOptions, stdout: NodeJS.WritableStream): Promise<number> {
  const findings: Finding[] = [];
  for await (const finding of steps(options)) {
    findings.push(finding);
    stdout.write(renderFinding(finding, nameWidth));
  }
  stdout.write(renderTotal(findings));
  stdout.write(`\n${leastRights[options.config.protocol]}\n`);
  return hasPassed(findings) ? 0 : 1;
}

const nameWidth = "round trip".length;

async function* steps({ config, isProofOnly }: InitOptions): AsyncGenerator<Finding> {
  const { findings, material } = await checkFiles(tlsFilesOf(config));
  yield* findings;
  if (material === undefined) return;
  const settings = encryptorConfigOf(config, () => material);
  const maker = config.protocol === "kmip" ? await createKmipKeyMaker(settings, material) : undefined;
  try {
    const made = await keyStep(config, material, isProofOnly ? undefined : maker);
    yield made;
    if (made.status === "failed") return;
    const server = config.servers[0]?.name ?? "";
    yield* (await checkKey(config, material, server)).findings;
    yield maker === undefined
      ? skipped("excess", "REST has no call to create a key")
      : await excessRights(maker, config);
  } finally {
    await maker?.close();
  }
}

/** Finds the key, or creates it. */
async function keyStep(
  config: Config,
  material: TlsMaterial,
  maker: KmipKeyMaker | undefined,
): Promise<Finding> {
  const missing = await whyUnresolved(config, material);
  if (missing === undefined) return ok("create", "the key exists, and is not changed");
  if (missing.code !== "KEY_NOT_FOUND")
    return failed("create", missing.message, "see `check` for what to do");
  const label = "label" in config.key ? config.key.label : undefined;
  if (maker === undefined || label === undefined)
    return failed("create", missing.message, byHand[config.protocol]);
  try {
    const { keyId, staysInside } = await maker.create(label, contextFor(config));
    await maker.activate(keyId, contextFor(config));
    const protection = staysInside ? ", Sensitive, not Extractable" : "";
    const what = `${quote(label)} is ${keyId}: AES, 256 bits, for Encrypt and Decrypt only${protection}, active`;
    if (staysInside) return ok("create", what);
    return warning("create", what, "the KMS speaks an older KMIP: forbid the export of the key in the KMS");
  } catch (error) {
    return failed("create", toProviderError(error).message, byHand.kmip);
  }
}

/** Whether the certificate may create and destroy keys, which serve never does. */
async function excessRights(maker: KmipKeyMaker, config: Config): Promise<Finding> {
  let keyId: string;
  try {
    ({ keyId } = await maker.create(undefined, contextFor(config)));
  } catch (error) {
    const { code, message } = toProviderError(error);
    if (code === "KMIP_RESULT") return ok("excess", "this certificate may not create keys");
    return failed("excess", message, "run it again");
  }
  const advice = "give serve another certificate, with only the rights below";
  try {
    await maker.destroy(keyId, contextFor(config));
    return warning(
      "excess",
      "this certificate may create and destroy keys, which serve does not need",
      advice,
    );
  } catch (error) {
    const why = toProviderError(error).message;
    return warning(
      "excess",
      `this certificate may create keys, which serve does not need; the test key cannot be destroyed: ${keyId} (${why})`,
      `${advice}, and destroy ${keyId}`,
    );
  }
}

const byHand = {
  kmip: "create the key in the KMS: AES, 256 bits, for Encrypt and Decrypt only, not extractable, with this name, active",
  rest: "create the key in the console of the KMS: a service key of type oct, 256 bits, for encrypt and decrypt, with this name",
} as const;

const leastRights = {
  kmip: `The rights that serve needs, for this key only, as KMIP operations:
  Locate, Get Attributes, Encrypt, Decrypt
and, for no key, Discover Versions. Not: Query, Create, Get, Export, Revoke, Destroy, nor any right to change attributes.
On an OVHcloud KMS: a policy for the identity of the certificate with these KMIP operations, limited to this key.`,
  rest: `The rights that serve needs, for this key only: read its description, encrypt, decrypt.
With --encryption-key-label it also lists the service keys of the domain. Not: create, activate, deactivate, delete or export keys.
On an OVHcloud KMS: a policy for the identity of the certificate with these actions, limited to this key.`,
} as const;
