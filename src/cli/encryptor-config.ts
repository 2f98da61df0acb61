/** The configuration of an encryptor, with the secret that comes from a file. */
import type { Config } from "../config/config.ts";
import type { EncryptorConfig } from "../encryptors/index.ts";
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
