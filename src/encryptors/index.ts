/**
 * The encryptors by name: what `--protocol` chooses between. The one place that knows every driver. A driver, with the
 * stack below it, is loaded when it is asked for.
 */
import { ProviderError } from "../errors.ts";
import { isRestAddress, type ServerAddress } from "../net/address.ts";
import type { TlsMaterial } from "../net/tls.ts";
import type { Encryptor, KeySelector, KmsObserver } from "./encryptor.ts";
import type { KmipCredential } from "./kmip-credential.ts";
import type { KmipKeyMaker, KmipKeyMakerOptions } from "./kmip-key-maker.ts";
import { proveEncrypts } from "./prove-encrypts.ts";
import { shareDecrypts } from "./share-decrypts.ts";

export type { KmipKeyMaker } from "./kmip-key-maker.ts";

/** What an encryptor is made from; the program's configuration has all of it. */
export interface EncryptorConfig {
  readonly protocol: Encryptor["protocol"];
  /** In order of preference, at least one; with rest each is a RestAddress. */
  readonly servers: readonly ServerAddress[];
  readonly key: KeySelector;
  /** OKMS domain; rest only. */
  readonly okmsId: string | undefined;
  readonly kmipConnections: number;
  /** User name and password, if the KMS requires them besides the client certificate; kmip only. */
  readonly kmipCredential?: KmipCredential | undefined;
}

const factories: Readonly<
  Record<EncryptorConfig["protocol"], (config: EncryptorConfig, onEvent: KmsObserver) => Promise<Encryptor>>
> = {
  async kmip({ servers, key, kmipConnections, kmipCredential: credential }, onEvent) {
    const { createKmipEncryptor } = await import("./kmip.ts");
    return createKmipEncryptor({ servers, key, credential, maxConnections: kmipConnections, onEvent });
  },
  async rest({ servers, key, okmsId }, onEvent) {
    if (okmsId === undefined) throw new ProviderError("CONFIG", "Missing required flag --okms-id");
    const { createRestEncryptor } = await import("./rest.ts");
    return createRestEncryptor({ servers: servers.filter(isRestAddress), key, okmsId, onEvent });
  },
};

/**
 * Makes the encryptor that the configuration names, identical Decrypts in flight shared, each Encrypt proved. It connects at its first
 * call, and can only after its first `setTlsMaterial`.
 * @throws CONFIG where the configuration can't be right.
 */
export async function createEncryptor(config: EncryptorConfig, onEvent: KmsObserver): Promise<Encryptor> {
  return shareDecrypts(proveEncrypts(await factories[config.protocol](config, onEvent)));
}

/** Makes what makes keys in a KMIP server. It connects at its first call. */
export async function createKmipKeyMaker(
  options: KmipKeyMakerOptions,
  material: TlsMaterial,
): Promise<KmipKeyMaker> {
  const maker = await import("./kmip-key-maker.ts");
  return maker.createKmipKeyMaker(options, material);
}
