/** The encryptor of a configuration, for the commands: what it is made from, how long its calls take, and one for a while. */
import type { Config } from "../config/config.ts";
import type { CallContext, Encryptor, KmsObserver } from "../encryptors/encryptor.ts";
import { createEncryptor, type EncryptorConfig } from "../encryptors/index.ts";
import { type ProviderError, toProviderError } from "../errors.ts";
import type { TlsMaterial } from "../net/tls.ts";

/**
 * What the encryptor is made from.
 * @param material the files in use, asked for at each use of the password: it changes with its file
 */
export function encryptorConfigOf(config: Config, material: () => TlsMaterial | undefined): EncryptorConfig {
  const { kmipUsername: username } = config;
  if (username === undefined) return config;
  const kmipCredential = {
    username,
    get password() {
      return material()?.kmipPassword ?? "";
    },
  };
  return { ...config, kmipCredential };
}

/** The bounds of a call that begins now. @param timeoutMs its longest time, in ms */
export function contextFor({ timeoutMs }: Pick<Config, "timeoutMs">): CallContext {
  return { signal: AbortSignal.timeout(timeoutMs), deadline: performance.now() + timeoutMs };
}

/** Works with an encryptor that is closed at the end. @throws TLS_FILES; what `work` throws */
export async function withEncryptor<T>(
  config: Config,
  material: TlsMaterial,
  work: (encryptor: Encryptor) => Promise<T>,
  onEvent: KmsObserver = () => undefined,
): Promise<T> {
  const encryptor = await createEncryptor(
    encryptorConfigOf(config, () => material),
    onEvent,
  );
  try {
    encryptor.setTlsMaterial(material);
    return await work(encryptor);
  } finally {
    await encryptor.close();
  }
}

/**
 * Why the key cannot be resolved with these certificates; undefined where it can.
 * @param withinMs default: --timeout
 */
export async function whyUnresolved(
  config: Config,
  material: TlsMaterial,
  withinMs = config.timeoutMs,
): Promise<ProviderError | undefined> {
  try {
    await withEncryptor(config, material, (encryptor) =>
      encryptor.resolveKey(contextFor({ timeoutMs: withinMs })),
    );
    return undefined;
  } catch (error) {
    return toProviderError(error);
  }
}
