/** From flags to who decrypts DEK sources: the KMS itself, or a plugin that runs. open-kms.ts makes it ready. */
import { parseServeConfig, plainSock, type Config } from "../../config/config.ts";
import type { SettingsReader } from "../../config/settings.ts";
import { quote } from "../../text/quote.ts";
import { checkSockLength, parseEndpoint } from "../kms-endpoint.ts";

/** Who is asked. */
export type KmsSettings =
  | { readonly by: "socket"; readonly sock: string; readonly timeoutMs: number }
  | { readonly by: "kms"; readonly config: Config };

/**
 * Reads the flags of `kmsFlags`. What the command line names wins over the environment, and the KMS's flags over a
 * socket there. A key needs not be named: each value names its own.
 * @param env where the variables of proxies are read
 * @returns undefined where there is none
 */
export function parseKms(read: SettingsReader, env: NodeJS.ProcessEnv): KmsSettings | undefined {
  const [sock, direct] = [read.given("sock"), read.given("protocol") ?? read.given("serv-addr")];
  const isOnLine = (given: typeof sock): boolean => given?.source.startsWith("--") === true;
  if (isOnLine(sock) && isOnLine(direct))
    read.complain("Flag conflict: use --sock of a running plugin or the flags of a KMS, not both");
  if (direct !== undefined && !(isOnLine(sock) && !isOnLine(direct)))
    return { by: "kms", config: parseConfig(read, env) };
  if (sock === undefined) return undefined;
  const parsed = /^[a-z]+:\/\//.test(sock.text)
    ? parseEndpoint(sock.text)
    : { sock: read.path("sock") ?? "" };
  if ("complaint" in parsed)
    read.complain(`Invalid value for ${sock.source}: ${quote(sock.text)}: ${parsed.complaint}`);
  else checkSockLength(read, parsed.sock);
  const timeoutMs = read.durationMs("timeout", { min: 1, max: 600_000 });
  return { by: "socket", sock: "sock" in parsed ? plainSock(parsed.sock) : "", timeoutMs };
}

function parseConfig(read: SettingsReader, env: NodeJS.ProcessEnv): Config {
  const isNamed = (["encryption-key-id", "encryption-key-label"] as const).some(
    (flag) => read.given(flag) !== undefined,
  );
  const unnamed: SettingsReader = {
    ...read,
    given: (flag) =>
      flag === "encryption-key-label" ? { text: "none", source: "--encryption-key-label" } : read.given(flag),
  };
  return parseServeConfig(isNamed ? read : unnamed, false, env).config;
}
