/**
 * What the tests of server/ share: a server with a local encryptor on a socket in a temporary folder, a log and
 * metrics that remember, and clients that this project did not write.
 */
import { connect } from "node:net";
import path from "node:path";
import type { TestContext } from "node:test";
import { proveEncrypts } from "../../src/encryptors/prove-encrypts.ts";
import type { DescMethodUnary, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import type { Client as ConnectClient } from "@connectrpc/connect";
import { createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import type { CallOptions, ServiceError } from "@grpc/grpc-js";
import { Client, credentials, Metadata } from "@grpc/grpc-js";
import { KeyManagementService } from "../../gen/kms/v2/api_pb.ts";
import type { LogLevel } from "../../src/log/levels.ts";
import type { LogFields, Logger } from "../../src/log/log.ts";
import type { Metrics } from "../../src/metrics.ts";
import { createMetrics } from "../../src/metrics.ts";
import { createStatusReporter } from "../../src/server/key/key-log.ts";
import type { KeyStatus, KeyStatusOptions } from "../../src/server/key/key-status.ts";
import { createKeyStatus } from "../../src/server/key/key-status.ts";
import type { KmsServer, KmsServerOptions } from "../../src/server/rpc/server.ts";
import { createKmsServer } from "../../src/server/rpc/server.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";
import type { LocalEncryptor } from "./local-encryptor.ts";
import { createLocalEncryptor } from "./local-encryptor.ts";

export { temporaryFolder } from "../support/temporary-folder.ts";

export interface LogLine {
  readonly level: LogLevel;
  readonly message: string;
  readonly fields: LogFields;
  readonly error: unknown;
}

/** A logger that keeps its lines, and lets a test wait for one. */
export interface MemoryLogger extends Logger {
  readonly lines: LogLine[];
  /** The first line, of those written and those to come, for which `matches` is true. */
  waitFor(matches: (line: LogLine) => boolean): Promise<LogLine>;
}

export function createMemoryLogger(): MemoryLogger {
  const lines: LogLine[] = [];
  const waiting = new Set<(line: LogLine) => void>();
  const write =
    (level: LogLevel) =>
    (message: string, fields: LogFields = {}, error?: unknown): void => {
      const line = { level, message, fields, error };
      lines.push(line);
      for (const tell of waiting) tell(line);
    };
  return {
    lines,
    enabled: () => true,
    settle: () => {},
    flush: () => {},
    error: write("error"),
    warn: write("warn"),
    info: write("info"),
    debug: write("debug"),
    trace: write("trace"),
    waitFor(matches) {
      const found = lines.find((line) => matches(line));
      if (found !== undefined) return Promise.resolve(found);
      return new Promise((resolve) => {
        const tell = (line: LogLine): void => {
          if (!matches(line)) return;
          waiting.delete(tell);
          resolve(line);
        };
        waiting.add(tell);
      });
    },
  };
}

export interface Harness {
  readonly encryptor: LocalEncryptor;
  readonly status: KeyStatus;
  readonly server: KmsServer;
  readonly logger: MemoryLogger;
  readonly metrics: Metrics;
  readonly socketPath: string;
}

/** Starts a server whose first probe is under way; the test's end closes it. */
export async function startServer(
  t: TestContext,
  change: Partial<Omit<KmsServerOptions, "socket">> &
    Partial<
      Pick<KeyStatusOptions, "key" | "probeIntervalMs" | "deepProbeIntervalMs" | "graceMs" | "stateDir">
    > & {
      readonly socket?: Partial<KmsServerOptions["socket"]>;
      readonly prepare?: (encryptor: LocalEncryptor) => void;
    } = {},
): Promise<Harness> {
  const encryptor = createLocalEncryptor();
  change.prepare?.(encryptor);
  const logger = createMemoryLogger();
  const metrics = createMetrics({ version: "test", protocol: "kmip" });
  const timeoutMs = change.timeoutMs ?? 5000;
  const status = createKeyStatus({
    encryptor: proveEncrypts(encryptor),
    key: change.key ?? { id: "key-1" },
    probeIntervalMs: change.probeIntervalMs ?? 15_000,
    deepProbeIntervalMs: change.deepProbeIntervalMs ?? 300_000,
    graceMs: change.graceMs ?? 120_000,
    stateDir: change.stateDir,
    timeoutMs,
    onEvent: createStatusReporter(logger, metrics),
  });
  const socketPath = change.socket?.path ?? path.join(temporaryFolder(t), "kms.sock");
  const server = createKmsServer({
    backend: Promise.resolve({ encryptor, status }),
    logger,
    metrics,
    timeoutMs,
    maxInflight: change.maxInflight ?? 512,
    ...(change.maxConnections === undefined ? {} : { maxConnections: change.maxConnections }),
    socket: { mode: 0o660, replace: false, ...change.socket, path: socketPath },
  });
  t.after(async () => {
    await status.stop();
    await server.close();
  });
  await server.listen();
  status.start();
  return { encryptor, status, server, logger, metrics, socketPath };
}

/** Connect's own client, over gRPC or over the Connect protocol. */
export function connectClient(
  t: TestContext,
  socketPath: string,
  protocol: "grpc" | "connect" = "grpc",
): ConnectClient<typeof KeyManagementService> {
  const baseUrl = "http://localhost";
  const sessionManager = new Http2SessionManager(baseUrl, undefined, {
    createConnection: () => connect({ path: socketPath }),
  });
  t.after(() => {
    sessionManager.abort();
  });
  const transport =
    protocol === "grpc"
      ? createGrpcTransport({ baseUrl, sessionManager })
      : createConnectTransport({ baseUrl, httpVersion: "2", sessionManager });
  return createClient(KeyManagementService, transport);
}

/** What a call of @grpc/grpc-js ended with. */
export type GrpcResult<T> =
  | { readonly reply: T; readonly error?: never }
  | { readonly reply?: never; readonly error: ServiceError };

/** @grpc/grpc-js: a gRPC client that this project did not write, called as kube-apiserver calls. */
export interface GrpcClient {
  call<M extends DescMethodUnary>(
    method: M,
    request: MessageInitShape<M["input"]>,
    options?: CallOptions & { readonly headers?: Record<string, string> },
  ): Promise<GrpcResult<MessageShape<M["output"]>>>;
  readonly client: Client;
}

export function grpcClient(t: TestContext, address: string, options: object = {}): GrpcClient {
  const client = new Client(address, credentials.createInsecure(), options);
  t.after(() => {
    client.close();
  });
  return {
    client,
    call: <M extends DescMethodUnary>(
      method: M,
      request: MessageInitShape<M["input"]>,
      { headers = {}, ...callOptions }: CallOptions & { readonly headers?: Record<string, string> } = {},
    ) =>
      new Promise<GrpcResult<MessageShape<M["output"]>>>((resolve) => {
        const metadata = new Metadata({ waitForReady: true });
        for (const [name, value] of Object.entries(headers)) metadata.set(name, value);
        client.makeUnaryRequest(
          `/${method.parent.typeName}/${method.name}`,
          (message: MessageInitShape<M["input"]>) =>
            Buffer.from(toBinary(method.input, create(method.input, message))),
          (bytes) => fromBinary<M["output"]>(method.output, bytes),
          request,
          metadata,
          callOptions,
          (error, reply) => {
            if (error !== null) resolve({ error });
            else if (reply !== undefined) resolve({ reply });
          },
        );
      }),
  };
}
