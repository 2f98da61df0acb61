/**
 * Who decrypts DEK sources: the KMS itself, by the flags of serve, or a plugin that runs, by its socket. Transient
 * failures are retried; one that remains ends the command, for it says nothing about the data.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { randomUUID } from "node:crypto";
import { Code, ConnectError } from "@connectrpc/connect";
import { type Config, tlsFilesOf } from "../../config/config.ts";
import { createEncryptor } from "../../encryptors/index.ts";
import { contextFor, encryptorConfigOf } from "../encryptor.ts";
import { errorKinds, NetworkError, ProviderError, toProviderError, type ErrorCode } from "../../errors.ts";
import type { Unwrap } from "../../etcd/opener.ts";
import { loadTlsMaterial } from "../../net/tls.ts";
import { quoteReply } from "../../text/quote.ts";
import { createPluginClient, type PluginClient } from "../probe/client.ts";
import { failureText } from "../render.ts";
import type { KmsSettings } from "./kms.ts";

/** A way to decrypt DEK sources. */
export interface Kms {
  readonly unwrap: Unwrap;
  close(): Promise<void>;
}

const attempts = 4;
const firstPauseMs = 250;

/** Makes ready to decrypt. @throws TLS_FILES */
export async function openKms(settings: KmsSettings): Promise<Kms> {
  return settings.by === "socket"
    ? openSocket(settings.sock, settings.timeoutMs)
    : openDirect(settings.config);
}

/**
 * Does a command's work, with the KMS that it names.
 * @returns its exit code; 1 where it fails, with the reason on `stderr`
 * @throws CONFIG
 */
export async function withKms(
  settings: KmsSettings | undefined,
  stderr: NodeJS.WritableStream,
  work: (kms: Kms | undefined) => Promise<number>,
): Promise<number> {
  let kms: Kms | undefined;
  try {
    kms = settings === undefined ? undefined : await openKms(settings);
    return await work(kms);
  } catch (error) {
    const known = toProviderError(error);
    if (known.code === "CONFIG") throw error;
    stderr.write(`✖ ${failureText(known)}\n`);
    return 1;
  } finally {
    await kms?.close();
  }
}

async function openDirect(config: Config): Promise<Kms> {
  const material = await loadTlsMaterial(tlsFilesOf(config));
  const encryptor = await createEncryptor(
    encryptorConfigOf(config, () => material),
    () => undefined,
  );
  encryptor.setTlsMaterial(material);
  const unwrap: Unwrap = (source) => encryptor.decrypt(source, contextFor(config));
  return {
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
        if (!known.retryable || attempt === attempts) throw known;
        await sleep(firstPauseMs * 2 ** attempt);
      }
  };
}
