/**
 * A running etcd, over its gRPC API v3: pages of a range at one revision. A page that fails at one endpoint is asked
 * for at the next, at the same revision, so that a member or a leader that goes away changes nothing in the result.
 */
import type { SecureContext } from "node:tls";
import { setTimeout as sleep } from "node:timers/promises";
import { type Client, Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { KV, Maintenance, type RangeResponse, type ResponseHeader } from "../../gen/etcd/rpc_pb.ts";
import { NetworkError, ProviderError } from "../errors.ts";
import { serverVerification } from "../net/tls.ts";
import { quoteReply } from "../text/quote.ts";
import { type Entry, keyRange, type ReadObserver, type Source, type SourceFacts } from "./source.ts";

/** How an etcd is read. */
export interface LiveOptions {
  /** Base URLs, at least one: `https://10.0.0.1:2379`. */
  readonly endpoints: readonly string[];
  /** For https; undefined: Node's defaults. */
  readonly secureContext: SecureContext | undefined;
  /** kube-apiserver's --etcd-prefix. */
  readonly prefix: string;
  /** Of each request, in ms. Default 10 000. */
  readonly timeoutMs?: number;
  /** For how long a page is tried at all endpoints in turn, once etcd has answered, in ms. Default 60 000. */
  readonly retryMs?: number;
}

const defaultTimeoutMs = 10_000;
const defaultRetryMs = 60_000;
/** Pages grow towards it. The first ones are small, for a value may have 1.5 MB. */
const pageBytes = 1024 * 1024;
const firstLimit = 16;
const mostLimit = 5000;
const mostReplyBytes = 1024 * 1024 * 1024;
const pauseMs = { first: 100, most: 2000 } as const;

/** An etcd as a source. It connects when it is read. */
export function createLiveSource(options: LiveOptions): Source {
  let facts: SourceFacts = {};
  return {
    kind: "live",
    name: `etcd ${options.endpoints.join(",")}`,
    facts: () => facts,
    async *read(observer = {}) {
      const cluster = new Cluster(options, observer);
      try {
        for await (const { page, revision } of pages(cluster, options.prefix, observer)) {
          facts = { revision, ...(cluster.version !== undefined && { etcdVersion: cluster.version }) };
          for (const { key, value, modRevision } of page.kvs)
            yield {
              key: textOf(key),
              value,
              revision: Number(modRevision),
              state: "current",
            } satisfies Entry;
        }
      } finally {
        cluster.close();
      }
    },
  };
}

function textOf(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.length).toString("utf8");
}

/** Every page of the range; the next is asked for while one is worked on. */
async function* pages(
  cluster: Cluster,
  prefix: string,
  { onProgress, onNote }: ReadObserver,
): AsyncGenerator<{ readonly page: RangeResponse; readonly revision: number }> {
  const { start, end } = keyRange(prefix);
  const rangeEnd = Buffer.from(end);
  let limit = firstLimit;
  let done = 0;
  let revision = 0n;
  let key = Buffer.from(start);
  let coming: Promise<RangeResponse> | undefined = cluster.range({ key, rangeEnd, limit, revision });
  while (coming !== undefined) {
    let page: RangeResponse;
    try {
      page = await coming;
    } catch (error) {
      if (!isCompacted(error) || revision === 0n) throw error;
      onNote?.(
        `etcd has compacted revision ${revision} during the read: it goes on at a newer revision, and what was created meanwhile may be missing`,
      );
      revision = 0n;
      coming = cluster.range({ key, rangeEnd, limit, revision });
      continue;
    }
    if (revision === 0n) revision = page.header?.revision ?? 0n;
    done += page.kvs.length;
    const last = page.kvs.at(-1);
    if (page.more) {
      // Whatever answers there: each page has to bring the read forward.
      if (last === undefined || Buffer.compare(last.key, key) < 0)
        throw new ProviderError(
          "ETCD_DATA",
          "etcd's reply is not valid: a page does not follow the one before",
        );
      limit = nextLimit(limit, page);
      key = Buffer.concat([last.key, Buffer.of(0)]);
      coming = cluster.range({ key, rangeEnd, limit, revision });
      // It is awaited in the next turn, unless the reader leaves before.
      coming.catch(() => undefined);
    } else coming = undefined;
    // The count of a page is that of its own range, which begins at its first key.
    onProgress?.({ done, total: done + Math.max(0, Number(page.count) - page.kvs.length), unit: "objects" });
    yield { page, revision: Number(revision) };
  }
}

function nextLimit(limit: number, { kvs }: RangeResponse): number {
  const bytes = kvs.reduce((sum, { key, value }) => sum + key.length + value.length, 0);
  const fitting = Math.floor((pageBytes * kvs.length) / Math.max(1, bytes));
  return Math.max(1, Math.min(fitting, limit * 2, mostLimit));
}

function isCompacted(error: unknown): boolean {
  const cause = error instanceof ProviderError ? error.cause : undefined;
  return (
    cause instanceof ConnectError && cause.code === Code.OutOfRange && /compacted/.test(cause.rawMessage)
  );
}

interface Endpoint {
  readonly url: string;
  readonly kv: Client<typeof KV>;
  readonly maintenance: Client<typeof Maintenance>;
  readonly session: Http2SessionManager;
}

interface RangeQuery {
  readonly key: Uint8Array;
  readonly rangeEnd: Uint8Array;
  readonly limit: number;
  readonly revision: bigint;
}

/** The endpoints, and which of them is in use. */
class Cluster {
  readonly #endpoints: readonly Endpoint[];
  readonly #timeoutMs: number;
  readonly #retryMs: number;
  readonly #onNote: ReadObserver["onNote"];
  readonly #checked = new Set<Endpoint>();
  #active = 0;
  #version: string | undefined;
  #clusterId: bigint | undefined;

  constructor(options: LiveOptions, { onNote }: ReadObserver) {
    this.#endpoints = options.endpoints.map((url) => createEndpoint(url, options.secureContext));
    this.#timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
    this.#retryMs = options.retryMs ?? defaultRetryMs;
    this.#onNote = onNote;
  }

  /** Of the member that answered first; undefined where it does not say. */
  get version(): string | undefined {
    return this.#version;
  }

  async range({ key, rangeEnd, limit, revision }: RangeQuery): Promise<RangeResponse> {
    const query = { key, rangeEnd, limit: BigInt(limit), revision };
    return this.#call(({ kv }, options) => kv.range(query, options));
  }

  close(): void {
    for (const { session } of this.#endpoints) session.abort();
  }

  /** Asks the endpoint in use, and the others in turn where it fails; round after round, once any has answered. */
  async #call<T extends { readonly header?: ResponseHeader | undefined }>(
    request: (endpoint: Endpoint, options: { readonly timeoutMs: number }) => Promise<T>,
  ): Promise<T> {
    const begun = performance.now();
    const failures = new Map<string, string>();
    let pause: number = pauseMs.first;
    for (let attempt = 1; ; attempt += 1) {
      const endpoint = this.#endpoints[this.#active % this.#endpoints.length] as Endpoint;
      try {
        await this.#checkEndpoint(endpoint);
        const reply = await request(endpoint, { timeoutMs: this.#timeoutMs });
        this.#checkCluster(endpoint, reply.header);
        if (failures.size > 0)
          this.#onNote?.(`${[...failures.values()].join("; ")}: continued at ${endpoint.url}`);
        return reply;
      } catch (error) {
        if (error instanceof ProviderError) throw error;
        const failure = ConnectError.from(error);
        const said = `${endpoint.url}: ${Code[failure.code]}: ${quoteReply(failure.rawMessage, 300)}`;
        if (!isTransient(failure))
          throw new ProviderError("ETCD_REFUSED", `etcd refuses the request: ${said}`, { cause: failure });
        failures.set(endpoint.url, said);
        this.#active += 1;
        if (attempt % this.#endpoints.length !== 0) continue;
        // Nothing is known of the cluster where none has answered: most likely the flags are wrong.
        const retryMs = this.#clusterId === undefined ? 0 : this.#retryMs;
        if (performance.now() - begun >= retryMs) throw unreachable(failures, endpoint, failure);
        await sleep(pause);
        pause = Math.min(pause * 2, pauseMs.most);
      }
    }
  }

  /** Asks an endpoint which cluster it is of, before the first page: another one may not have the revision at all. */
  async #checkEndpoint(endpoint: Endpoint): Promise<void> {
    if (this.#checked.has(endpoint)) return;
    try {
      const { header, version } = await endpoint.maintenance.status({}, { timeoutMs: this.#timeoutMs });
      this.#checkCluster(endpoint, header);
      this.#version ??= version;
    } catch (error) {
      // A proxy, or a user without the rights: the pages will show.
      if (error instanceof ProviderError || isTransient(ConnectError.from(error))) throw error;
    }
    this.#checked.add(endpoint);
  }

  #checkCluster({ url }: Endpoint, header: ResponseHeader | undefined): void {
    const id = header?.clusterId ?? 0n;
    this.#clusterId ??= id;
    if (id === this.#clusterId) return;
    throw new ProviderError(
      "ETCD_DATA",
      `the endpoints are not of one cluster: ${url} belongs to another one`,
    );
  }
}

function createEndpoint(url: string, secureContext: SecureContext | undefined): Endpoint {
  const tls = secureContext === undefined ? {} : { secureContext };
  const serverName = new URL(url).hostname.replaceAll(/[[\]]/g, "").replace(/\.$/, "");
  const session = new Http2SessionManager(
    url,
    undefined,
    url.startsWith("https:") ? { ...tls, ...serverVerification({ serverName }) } : undefined,
  );
  const transport = createGrpcTransport({
    baseUrl: url,
    sessionManager: session,
    readMaxBytes: mostReplyBytes,
  });
  return { url, session, kv: createClient(KV, transport), maintenance: createClient(Maintenance, transport) };
}

/** Another member, or the same one later, may answer. The others would say the same. */
function isTransient({ code }: ConnectError): boolean {
  switch (code) {
    case Code.Unauthenticated:
    case Code.PermissionDenied:
    case Code.InvalidArgument:
    case Code.OutOfRange:
    case Code.FailedPrecondition:
    case Code.Unimplemented:
    case Code.NotFound:
      return false;
    default:
      return true;
  }
}

function unreachable(
  failures: ReadonlyMap<string, string>,
  { url }: Endpoint,
  cause: ConnectError,
): ProviderError {
  const message = `no etcd endpoint answers: ${[...failures.values()].join("; ")}`;
  return new NetworkError("CONNECT", message, { endpoint: url, sent: false, cause });
}
