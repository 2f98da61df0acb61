/**
 * An HTTPS server that speaks as much of the Kubernetes API as `reencrypt` asks for: discovery, lists by pages with tokens
 * that expire, the PATCH that changes nothing, access reviews, StorageVersionMigrations. An object has a revision, and is
 * stale until it is written. Whatever is asked for in full would hold a secret: no client may ask for that.
 */
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import type { TestContext } from "node:test";
import type { TLSSocket } from "node:tls";
import { type CertificateFiles, createAuthority, writeClientFiles } from "../devkms/certificates.ts";

/** The data of every object, and what an API server says of it where an object is invalid. */
export const secretData = "correct-horse-battery-staple";

/** A stored object. */
export interface StoredObject {
  readonly namespace: string;
  readonly name: string;
  revision: number;
  /** Stored as it would not be stored now. */
  isStale: boolean;
}

/** A request as it came. */
export interface Seen {
  readonly method: string;
  readonly url: string;
  readonly authorization: string | undefined;
  /** Common name of the client certificate. */
  readonly clientName: string | undefined;
  readonly headers: IncomingMessage["headers"];
}

/** An answer in place of the right one. */
export interface Fault {
  readonly method: string;
  readonly url: RegExp;
  /** How often. Default: once. */
  times?: number;
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: object;
  /** In place of a body. */
  readonly text?: string;
  /** Cuts the connection in place of an answer. */
  readonly isCut?: boolean;
}

/** How StorageVersionMigrations behave; "none": not served. */
export type Controller = "none" | "absent" | "succeeds" | "fails" | "runs";

/** See the file's head. */
export class TestApiServer {
  readonly folder = mkdtempSync(path.join(tmpdir(), "okms-kubernetes-"));
  readonly secrets = new Map<string, StoredObject>();
  readonly seen: Seen[] = [];
  readonly faults: Fault[] = [];
  /** Bearer tokens that are taken; empty: a client certificate is asked for. */
  readonly tokens = new Set(["right"]);
  /** Rights that are refused, as `patch secrets`; an administrator has all, and `* on *` is refused where one is. */
  readonly denied = new Set<string>();
  readonly migrations = new Map<string, { readonly spec: object; reads: number }>();
  controller: Controller = "none";
  /** Called before each PATCH is answered. */
  onPatch: ((count: number) => Promise<void> | void) | undefined;
  patches = 0;
  files: CertificateFiles | undefined;
  #revision = 100;
  #port = 0;
  #expiredBelow = 0;
  #lists = 0;
  #server: ReturnType<typeof createServer> | undefined;

  /** Starts it; closed with the test. */
  static async start(t: Pick<TestContext, "after">, count = 0): Promise<TestApiServer> {
    const api = new TestApiServer();
    const authority = await createAuthority();
    api.files = await writeClientFiles(path.join(api.folder, "client"), authority, { commonName: "jane" });
    const issued = await authority.issue({
      commonName: "kube-apiserver",
      server: true,
      ipAddresses: ["127.0.0.1"],
    });
    const tls = { cert: issued.cert, key: issued.key, ca: authority.caPem };
    api.#server = createServer(
      { ...tls, requestCert: true, rejectUnauthorized: false },
      (request, response) => {
        void api.#take(request, response);
      },
    ).listen(0, "127.0.0.1");
    await once(api.#server, "listening");
    api.#port = (api.#server.address() as AddressInfo).port;
    t.after(() => api.#close());
    for (let index = 0; index < count; index += 1) api.add(`secret-${String(index).padStart(5, "0")}`);
    return api;
  }

  get url(): string {
    return `https://127.0.0.1:${this.#port}`;
  }

  /** Stores a stale Secret. */
  add(name: string, namespace = "default"): StoredObject {
    const object = { namespace, name, revision: (this.#revision += 1), isStale: true };
    this.secrets.set(`${namespace}/${name}`, object);
    return object;
  }

  /** As somebody else would: the object is current then. */
  write(object: StoredObject): void {
    object.revision = this.#revision += 1;
    object.isStale = false;
  }

  /** From now on the tokens that were given out are expired. */
  expireTokens(): void {
    this.#expiredBelow = this.#lists + 1;
  }

  get staleCount(): number {
    return [...this.secrets.values()].filter(({ isStale }) => isStale).length;
  }

  /** How many requests fit. */
  count(method: string, url: RegExp): number {
    return this.seen.filter((one) => one.method === method && url.test(one.url)).length;
  }

  /** Writes a kubeconfig; `user` is the kubeconfig's. @returns its path */
  kubeconfig(user: object = { token: "right" }, more: object = {}): string {
    const file = path.join(this.folder, `kubeconfig-${Math.random().toString(36).slice(2)}`);
    const content = {
      apiVersion: "v1",
      kind: "Config",
      "current-context": "test",
      clusters: [
        { name: "test", cluster: { server: this.url, "certificate-authority": this.files?.ca ?? "" } },
      ],
      users: [{ name: "jane", user }],
      contexts: [{ name: "test", context: { cluster: "test", user: "jane" } }],
      ...more,
    };
    writeFileSync(file, JSON.stringify(content), { mode: 0o600 });
    return file;
  }

  async #close(): Promise<void> {
    this.#server?.closeAllConnections();
    this.#server?.close();
    await once(this.#server ?? process, "close");
    rmSync(this.folder, { recursive: true });
  }

  async #take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = "", url = "", headers } = request;
    const peer = (request.socket as TLSSocket).getPeerCertificate();
    const clientName = peer.subject?.CN as string | undefined;
    this.seen.push({ method, url, authorization: headers.authorization, clientName, headers });
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString();
    const fault = this.faults.find(
      (one) => one.method === method && one.url.test(url) && (one.times ?? 1) > 0,
    );
    if (fault !== undefined) fault.times = (fault.times ?? 1) - 1;
    if (fault?.isCut === true) return void request.socket.destroy();
    const answer = fault === undefined ? await this.#answer(request, text) : faultAnswer(fault);
    response.writeHead(answer.status, { "content-type": "application/json", ...answer.headers });
    response.end(fault?.text ?? JSON.stringify(answer.body));
  }

  async #answer(request: IncomingMessage, text: string): Promise<Answer> {
    const { method = "", url = "", headers } = request;
    const token = /^Bearer (.*)$/.exec(headers.authorization ?? "")?.[1];
    const isKnown =
      (request.socket as TLSSocket).authorized || (token !== undefined && this.tokens.has(token));
    if (!isKnown) return status(401, "Unauthorized", "Unauthorized");
    const body = text === "" ? {} : (JSON.parse(text) as Body);
    const { pathname, searchParams } = new URL(url, this.url);
    if (pathname === "/api")
      return discovery([
        [
          "",
          "v1",
          [
            ["secrets", true],
            ["nodes", false],
          ],
        ],
      ]);
    if (pathname === "/apis") return discovery(this.#groups());
    if (pathname.endsWith("/selfsubjectaccessreviews")) return this.#review(body);
    if (pathname.startsWith("/apis/storagemigration.k8s.io/v1/"))
      return this.#migration(method, pathname, body);
    const [, namespace, name] =
      /^\/api\/v1(?:\/namespaces\/([^/]+))?\/secrets(?:\/([^/]+))?$/.exec(pathname) ?? [];
    if (/^\/api\/v1\/nodes$|^\/apis\/example\.com\/v1\/widgets$/.test(pathname))
      return { status: 200, body: { kind: "PartialObjectMetadataList", metadata: {}, items: [] } };
    if (!/as=PartialObjectMetadata(List)?;/.test(headers.accept ?? ""))
      return { status: 200, body: { kind: "SecretList", data: secretData } };
    if (method === "GET") return this.#list(namespace, searchParams);
    if (method === "PATCH") return this.#patch(`${namespace}/${name}`, headers["content-type"], body);
    return status(404, "NotFound", "not found");
  }

  #groups(): Group[] {
    const groups: Group[] = [
      ["authorization.k8s.io", "v1", []],
      ["example.com", "v1", [["widgets", true]]],
    ];
    if (this.controller !== "none")
      groups.push(["storagemigration.k8s.io", "v1", [["storageversionmigrations", false]]]);
    return groups;
  }

  #review({ spec }: Body): Answer {
    const { verb = "", group = "", resource = "" } = spec?.resourceAttributes ?? {};
    const right = `${verb} ${resource}`;
    const isWildcard = group === "*" && this.denied.size > 0;
    return { status: 201, body: { status: { allowed: !isWildcard && !this.denied.has(right) } } };
  }

  #list(namespace: string | undefined, query: URLSearchParams): Answer {
    const limit = Number(query.get("limit"));
    const [list = "0", after = ""] = Buffer.from(query.get("continue") ?? "", "base64url")
      .toString()
      .split(" ");
    if (query.has("continue") && Number(list) < this.#expiredBelow && list !== "-1") {
      const token = Buffer.from(`-1 ${after}`).toString("base64url");
      return status(410, "Expired", "The provided continue parameter is too old", { continue: token });
    }
    this.#lists += 1;
    const keys = [...this.secrets.keys()]
      .filter((key) => (namespace === undefined || key.startsWith(`${namespace}/`)) && key > after)
      .toSorted();
    const page = keys.slice(0, limit);
    const remaining = keys.length - page.length;
    const token = Buffer.from(`${this.#lists} ${page.at(-1)}`).toString("base64url");
    const metadata = remaining > 0 ? { continue: token, remainingItemCount: remaining } : {};
    const items = page.map((key) => ({ metadata: metadataOf(this.secrets.get(key)) }));
    return { status: 200, body: { kind: "PartialObjectMetadataList", metadata, items } };
  }

  async #patch(key: string, contentType: string | undefined, body: Body): Promise<Answer> {
    this.patches += 1;
    await this.onPatch?.(this.patches);
    const object = this.secrets.get(key);
    if (object === undefined) return status(404, "NotFound", `secrets "${key}" not found`);
    const isOnlyRevision =
      JSON.stringify(Object.keys(body)) === '["metadata"]' &&
      JSON.stringify(Object.keys(body.metadata ?? {})) === '["resourceVersion"]';
    if (contentType !== "application/merge-patch+json" || !isOnlyRevision)
      return status(400, "BadRequest", "not the patch that changes nothing");
    if (body.metadata?.resourceVersion !== String(object.revision))
      return status(409, "Conflict", "the object has been modified");
    if (object.isStale) this.write(object);
    return { status: 200, body: { kind: "PartialObjectMetadata", metadata: metadataOf(object) } };
  }

  #migration(method: string, pathname: string, { metadata, spec }: Body): Answer {
    const name = metadata?.name ?? pathname.split("/").at(-1) ?? "";
    const found = this.migrations.get(name);
    if (method === "POST") {
      if (found !== undefined) return status(409, "AlreadyExists", "already exists");
      this.migrations.set(name, { spec: spec ?? {}, reads: 0 });
      return { status: 201, body: { metadata: { name } } };
    }
    if (found === undefined) return status(404, "NotFound", "not found");
    if (method === "DELETE") {
      this.migrations.delete(name);
      return status(200, "", "");
    }
    found.reads += 1;
    return { status: 200, body: { metadata: { name }, ...this.#migrationStatus(found.reads) } };
  }

  #migrationStatus(reads: number): object {
    if (this.controller === "absent" || reads === 1) return {};
    if (reads === 2) return { status: { resourceVersion: "7" } };
    if (this.controller === "runs" || reads === 3)
      return { status: { resourceVersion: "7", conditions: [condition("Running")] } };
    if (this.controller === "fails")
      return {
        status: { conditions: [condition("Failed", `it broke: spec: Invalid value: "${secretData}"`)] },
      };
    for (const object of this.secrets.values()) this.write(object);
    return { status: { conditions: [condition("Running"), condition("Succeeded")] } };
  }
}

function condition(type: string, message = ""): object {
  return { type, status: "True", message };
}

interface Body {
  readonly metadata?: { readonly name?: string; readonly resourceVersion?: string };
  readonly spec?: { readonly resourceAttributes?: Readonly<Record<string, string>> };
}

interface Answer {
  readonly status: number;
  readonly body: object;
  readonly headers?: Readonly<Record<string, string>>;
}

type Group = readonly [name: string, version: string, resources: readonly (readonly [string, boolean])[]];

function discovery(groups: readonly Group[]): Answer {
  const items = groups.map(([name, version, resources]) => ({
    metadata: { name },
    versions: [
      {
        version,
        resources: resources.map(([resource, isNamespaced]) => ({
          resource,
          scope: isNamespaced ? "Namespaced" : "Cluster",
          verbs: ["get", "list", "patch"],
        })),
      },
    ],
  }));
  return { status: 200, body: { kind: "APIGroupDiscoveryList", items } };
}

function metadataOf(object: StoredObject | undefined): object {
  const { namespace, name, revision } = object ?? { namespace: "", name: "", revision: 0 };
  return { namespace, name, resourceVersion: String(revision) };
}

function status(code: number, reason: string, message: string, metadata: object = {}): Answer {
  return { status: code, body: { kind: "Status", metadata, status: "Failure", message, reason, code } };
}

function faultAnswer({ status: code, headers = {}, body }: Fault): Answer {
  return {
    ...status(code, "Fault", `a fault of the test`),
    headers,
    ...(body === undefined ? {} : { body }),
  };
}
