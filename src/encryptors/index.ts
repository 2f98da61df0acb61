/**
 * The encryptors by name: what `--protocol` chooses between. The one place that knows every driver.
 */
import { ProviderError } from "../errors.ts";
import { isRestAddress, type ServerAddress } from "../net/address.ts";
import type { Encryptor, KeySelector, KmsObserver } from "./encryptor.ts";
import { createKmipEncryptor } from "./kmip.ts";
import type { KmipCredential } from "./kmip-credential.ts";
import { proveEncrypts } from "./prove-encrypts.ts";
import { createRestEncryptor } from "./rest.ts";
import { shareDecrypts } from "./share-decrypts.ts";

export { createKmipKeyMaker, type KmipKeyMaker } from "./kmip-key-maker.ts";

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
  Record<EncryptorConfig["protocol"], (config: EncryptorConfig, onEvent: KmsObserver) => Encryptor>
> = {
  kmip: ({ servers, key, kmipConnections, kmipCredential: credential }, onEvent) =>
    createKmipEncryptor({ servers, key, credential, maxConnections: kmipConnections, onEvent }),
  rest: ({ servers, key, okmsId }, onEvent) => {
    if (okmsId === undefined) throw new ProviderError("CONFIG", "Missing required flag --okms-id");
    return createRestEncryptor({ servers: servers.filter(isRestAddress), key, okmsId, onEvent });
  },
};

/**
 * Makes the encryptor that the configuration names, identical Decrypts in flight shared, each Encrypt proved. It connects at its first
 * call, and can only after its first `setTlsMaterial`.
 * @throws CONFIG where the configuration can't be right.
 */
export function createEncryptor(config: EncryptorConfig, onEvent: KmsObserver): Encryptor {
  return shareDecrypts(proveEncrypts(factories[config.protocol](config, onEvent)));
}
