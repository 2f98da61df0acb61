/**
 * A client of the plugin's socket that calls as kube-apiserver does: gRPC over cleartext HTTP/2, one connection,
 * a deadline on each call. Says in the operator's words why a call failed.
 */
import { connect } from "node:net";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { KeyManagementService } from "../../../gen/kms/v2/api_pb.ts";
import type { DecryptResponse, EncryptResponse, StatusResponse } from "../../../gen/kms/v2/api_pb.ts";
import { plainSock } from "../../config/config.ts";
import { parseEndpoint } from "../kms-endpoint.ts";
import { lookAt } from "../../server/socket/socket-path.ts";
import { quote, quoteReply } from "../../text/quote.ts";
import { selinuxAdvice } from "../selinux.ts";

/** Characters that are shown of what the plugin says: the person on call has nothing else to go by. */
export const mostSaid = 1024;

/** What a Decrypt takes from the Encrypt before it. */
export type Stored = Pick<EncryptResponse, "ciphertext" | "keyId" | "annotations">;

/** The three calls of KMS v2. Each throws ConnectError. */
export interface PluginClient {
  /** Connects, so that no call's time holds the connecting. A failure shows at the first call. */
  connect(): Promise<void>;
  status(): Promise<StatusResponse>;
  encrypt(plaintext: Uint8Array, uid: string): Promise<EncryptResponse>;
  decrypt(stored: Stored, uid: string): Promise<DecryptResponse>;
  /** Why a call of a method (`Status`) failed, and what to do about it, in one line each. */
  explain(error: unknown, method: string): Promise<Explanation>;
  close(): void;
}

/** A failure for the operator. */
export interface Explanation {
  readonly message: string;
  /** What to do. */
  readonly advice: string;
}

/**
 * Makes a client; it connects with its first call, or earlier with `connect`.
 * @param sock a path, `@name`, or an endpoint as kube-apiserver has it (`unix:///path`, `unix:///@name`)
 */
export function createPluginClient(sock: string, timeoutMs: number): PluginClient {
  const path = socketPath(sock);
  const baseUrl = "http://localhost";
  const sessionManager = new Http2SessionManager(baseUrl, undefined, {
    createConnection: () => connect({ path }),
  });
  const client = createClient(KeyManagementService, createGrpcTransport({ baseUrl, sessionManager }));
  const options = { timeoutMs };
  return {
    async connect() {
      await sessionManager.connect();
    },
    status: () => client.status({}, options),
    encrypt: (plaintext, uid) => client.encrypt({ plaintext, uid }, options),
    decrypt: ({ ciphertext, keyId, annotations }, uid) =>
      client.decrypt({ ciphertext, keyId, annotations, uid }, options),
    async explain(error, method) {
      return (await explainSocket(path, sock)) ?? explainCall(error, method, timeoutMs);
    },
    close() {
      sessionManager.abort();
    },
  };
}

/** An abstract socket's name begins with a NUL for the kernel, with `@` for people. */
function socketPath(sock: string): string {
  const parsed = parseEndpoint(sock);
  const name = "sock" in parsed ? parsed.sock : plainSock(sock);
  return name.startsWith("@") ? `\0${name.slice(1)}` : name;
}

const socketTroubles: Readonly<Record<string, Explanation>> = {
  ENOENT: {
    message: "there is no socket",
    advice: "start the plugin, and compare --sock of both",
  },
  ECONNREFUSED: {
    message: "no process listens on the socket: the one that created it has ended",
    advice: "start the plugin, and read the end of its log",
  },
  EACCES: {
    message: "this user may not connect to the socket",
    advice: "run as root or as a member of the socket's group, or see --sock-mode and --sock-group of serve",
  },
  ENOTSOCK: { message: "the file is not a socket", advice: "compare --sock with the plugin's" },
  ENOTDIR: { message: "a part of the path is not a folder", advice: "compare --sock with the plugin's" },
};

/** A call that failed may have failed because there is no socket: connects once more to see. */
function explainSocket(path: string, sock: string): Promise<Explanation | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    socket.once("connect", () => {
      socket.destroy();
      resolve(undefined);
    });
    socket.once("error", async (error: NodeJS.ErrnoException) => {
      const known = socketTroubles[(await isNoSocket(path)) ? "ENOTSOCK" : (error.code ?? "")];
      const { message, advice } = known ?? { message: error.message, advice: "see the plugin's log" };
      const more = error.code === "EACCES" ? selinuxAdvice() : "";
      resolve({ message: `${message} (${quote(sock)})`, advice: `${advice}${more}` });
    });
  });
}

/** Connecting says of a file only that no process listens there. */
async function isNoSocket(path: string): Promise<boolean> {
  const { kind } = await lookAt(path).catch(() => ({ kind: "nothing" }) as const);
  return kind === "other" || kind === "folder";
}

function explainCall(error: unknown, method: string, timeoutMs: number): Explanation {
  const { code, rawMessage } = ConnectError.from(error);
  const said = `${Code[code]}: ${quoteReply(rawMessage, mostSaid)}`;
  switch (code) {
    case Code.DeadlineExceeded:
      return {
        message: `no answer within ${timeoutMs} ms (${said})`,
        // Status waits for no KMS, but for the end of the first probe of it.
        advice:
          method === "Status"
            ? "a plugin that runs for some seconds answers this at once: it hangs, or something else listens there"
            : "the KMS is slow or out of reach: see the plugin's log, or run `check`",
      };
    case Code.Unimplemented:
      return { message: said, advice: "something that is not a KMS v2 plugin listens on the socket" };
    case Code.ResourceExhausted:
      return {
        message: said,
        advice: "the plugin is overloaded: see --max-inflight, or lower --concurrency",
      };
    case Code.Internal:
    case Code.Unknown:
      return {
        message: said,
        advice: "read the plugin's log; if it is silent, something else listens there",
      };
    default:
      return { message: said, advice: "see the plugin's log for the detail, or run `check` with its flags" };
  }
}
