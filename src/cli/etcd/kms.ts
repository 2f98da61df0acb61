/**
 * Who decrypts DEK sources: the KMS itself, by the flags of serve, or a plugin that runs, by its socket. Passing trouble
 * is tried again; what is left of it ends the command, for it says nothing about the data.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { randomUUID } from "node:crypto";
import { Code, ConnectError } from "@connectrpc/connect";
import { parseServeConfig, plainSock } from "../../config/config.ts";
import type { Config } from "../../config/config.ts";
import type { SettingsReader } from "../../config/settings.ts";
import { createEncryptor } from "../../encryptors/index.ts";
import { errorKinds, NetworkError, ProviderError, toProviderError } from "../../errors.ts";
import type { ErrorCode } from "../../errors.ts";
import type { Unwrap } from "../../etcd/opener.ts";
import { loadTlsMaterial } from "../../net/tls.ts";
import { quote, quoteReply } from "../../text/quote.ts";
import { checkSockLength, parseEndpoint } from "../kms-endpoint.ts";
import { createPluginClient, type PluginClient } from "../probe/client.ts";

/** Who is asked. */
export type KmsSettings =
  | { readonly by: "socket"; readonly sock: string; readonly timeoutMs: number }
  | { readonly by: "kms"; readonly config: Config };

/** A way to decrypt DEK sources. */
export interface Kms {
  /** For messages. */
  readonly name: string;
  readonly unwrap: Unwrap;
  close(): Promise<void>;
}

const tries = 4;
const firstPauseMs = 250;

/**
 * Reads the flags of `kmsFlags`. What the command line names wins over the environment, and the KMS's flags over a
 * socket there. A key needs not be named: each value names its own.
 * @returns undefined where there is none
 */
export function parseKms(read: SettingsReader): KmsSettings | undefined {
  const [sock, direct] = [read.given("sock"), read.given("protocol") ?? read.given("serv-addr")];
  const isOnLine = (given: typeof sock): boolean => given?.source.startsWith("--") === true;
  if (isOnLine(sock) && isOnLine(direct))
    read.complain("Flag conflict: use --sock of a running plugin or the flags of a KMS, not both");
  if (direct !== undefined && !(isOnLine(sock) && !isOnLine(direct)))
    return { by: "kms", config: parseConfig(read) };
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

function parseConfig(read: SettingsReader): Config {
  const isNamed = (["encryption-key-id", "encryption-key-label"] as const).some(
    (flag) => read.given(flag) !== undefined,
  );
  const unnamed: SettingsReader = {
    ...read,
    given: (flag) =>
      flag === "encryption-key-label" ? { text: "none", source: "--encryption-key-label" } : read.given(flag),
  };
  return parseServeConfig(isNamed ? read : unnamed, false).config;
}

/** Makes ready to decrypt. @throws TLS_FILES */
export async function openKms(settings: KmsSettings): Promise<Kms> {
  return settings.by === "socket"
    ? openSocket(settings.sock, settings.timeoutMs)
    : openDirect(settings.config);
}

async function openDirect(config: Config): Promise<Kms> {
  const { protocol, servers, clientCert: cert, clientKey: key, ca, timeoutMs } = config;
  const encryptor = createEncryptor(config, () => undefined);
  encryptor.setTlsMaterial(await loadTlsMaterial({ cert, key, ca }));
  const unwrap: Unwrap = (source) =>
    encryptor.decrypt(source, {
      signal: AbortSignal.timeout(timeoutMs),
      deadline: performance.now() + timeoutMs,
    });
  return {
    name: `${protocol} ${servers.join(",")}`,
    unwrap: withRetries(unwrap),
    close: () => encryptor.close(),
  };
}

async function openSocket(sock: string, timeoutMs: number): Promise<Kms> {
  const client = createPluginClient(sock, timeoutMs);
  await client.connect();
  const unwrap: Unwrap = async (source) => {
    try {
      return (await client.decrypt(source, randomUUID())).plaintext;
    } catch (error) {
      throw await toErrorOfPlugin(client, error, sock);
    }
  };
  return {
    name: `the plugin at ${sock}`,
    unwrap: withRetries(unwrap),
    close() {
      client.close();
      return Promise.resolve();
    },
  };
}

/** This program's plugin ends its texts with its own code; of others the gRPC code has to do. */
async function toErrorOfPlugin(client: PluginClient, error: unknown, sock: string): Promise<ProviderError> {
  const { code, rawMessage } = ConnectError.from(error);
  const own = /\[([A-Z_]+)\]$/.exec(rawMessage)?.[1];
  const said = quoteReply(rawMessage, 300);
  if (own !== undefined && own in errorKinds) {
    const known = own as ErrorCode;
    const retryable = ["network", "timeout", "overload"].includes(errorKinds[known]);
    return new ProviderError(known, `the plugin says ${said}`, { retryable, cause: error });
  }
  switch (code) {
    case Code.Unavailable:
    case Code.DeadlineExceeded:
    case Code.ResourceExhausted:
    case Code.Canceled:
    case Code.Aborted:
    case Code.Unimplemented: {
      const { message, advice } = await client.explain(error, "Decrypt");
      return new NetworkError("CONNECT", `${message}: ${advice}`, {
        endpoint: sock,
        sent: false,
        cause: error,
      });
    }
    case Code.NotFound:
      return new ProviderError("KEY_NOT_FOUND", `the plugin says ${said}`, { cause: error });
    default:
      return new ProviderError("KMIP_RESULT", `the plugin says ${Code[code]}: ${said}`, { cause: error });
  }
}

/** A KMS that is overloaded or restarted in the midst of 100 000 objects should not end the work. */
function withRetries(unwrap: Unwrap): Unwrap {
  return async (source) => {
    for (let attempt = 1; ; attempt += 1)
      try {
        return await unwrap(source);
      } catch (error) {
        const known = toProviderError(error);
        if (!known.retryable || attempt === tries) throw known;
        await sleep(firstPauseMs * 2 ** attempt);
      }
  };
}
