/** A protocol, as the scenarios see it: how a server of it is started, and how a client of it calls. */
import type { EndpointLimits } from "../../../src/upstream/endpoint.ts";
import type { CallContext } from "../../../src/upstream/context.ts";
import type { ConnectionCounts, KmsEvent } from "../../../src/upstream/events.ts";
import { authority } from "../../kmip/echo-server.ts";
import type { TestServer } from "./server.ts";

/** A client, with the events so far. */
export interface TestClient extends AsyncDisposable {
  readonly events: readonly KmsEvent[];
  call(context: CallContext): Promise<void>;
  counts(): ConnectionCounts;
  close(): Promise<void>;
}

/** How a client's connections are made. Default: at most four to a server. */
export type ClientOptions = Partial<EndpointLimits> & { readonly checkMs?: number };

/** One protocol. */
export interface Subject {
  readonly name: string;
  /** With how many callers an overloaded server is tried. */
  readonly overloads: readonly number[];
  /** @param port default: a free one */
  startServer(port?: number): Promise<TestServer>;
  /** The address of a server at `host:port`, as `connect` takes it. */
  addressOf(hostPort: string): string;
  connect(addresses: readonly string[], options?: ClientOptions): Promise<TestClient>;
}

/** A certificate for a server on loopback. */
export async function serverCertificate(): Promise<{ readonly cert: string; readonly key: string }> {
  return authority.issue({ commonName: "server", ipAddresses: ["127.0.0.1"], server: true });
}

/** A caller with so much time. */
export function within(ms: number): CallContext {
  const controller = new AbortController();
  setTimeout(() => controller.abort(new DOMException("timed out", "TimeoutError")), ms).unref();
  return { signal: controller.signal, deadline: performance.now() + ms };
}
