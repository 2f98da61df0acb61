/**
 * How to reach the API server and as whom: kubeconfig files as kubectl reads them (contexts, client certificates,
 * tokens, token files, exec plugins, OIDC, proxies), or the service account of a Pod. Built on @kubernetes/client-node's
 * KubeConfig, imported from its own file: its index brings 5 MB of generated API classes that nothing here uses. What
 * KubeConfig leaves out of kubectl's rules is added here: `tokenFile`, KUBERNETES_EXEC_INFO, several files of which some
 * are missing or name the same things.
 */
import { existsSync, readFileSync, statSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import type { RequestContext } from "@kubernetes/client-node/dist/gen/index.js";
import { KubeConfig } from "@kubernetes/client-node/dist/config.js";
import type { User } from "@kubernetes/client-node/dist/config_types.js";
import { Agent, type Dispatcher } from "undici";
import { ProviderError } from "../errors.ts";
import { quote, redactPem } from "../text/quote.ts";
import { parseYaml } from "../text/yaml.ts";

/** Which kubeconfig, and which of its contexts. */
export interface AccessOptions {
  /** Default: the files of $KUBECONFIG, else ~/.kube/config, else the Pod's service account. */
  readonly kubeconfig?: string | undefined;
  /** Default: the current context. */
  readonly context?: string | undefined;
  readonly env: NodeJS.ProcessEnv;
}

/** Credentials for one request. */
export interface Credentials {
  readonly dispatcher: Dispatcher;
  readonly headers: Readonly<Record<string, string>>;
}

/** Longest time for which headers are used without asking again: a token's file may change, as client-go reads it. */
const freshMs = 30_000;

/** The way to one API server. */
export class Access {
  /** As `https://10.0.0.1:6443`, without a slash at its end. */
  readonly server: string;
  /** The context's name, or what stands in its place. */
  readonly context: string;
  readonly #options: AccessOptions;
  #config: KubeConfig;
  #current: Credentials | undefined;
  /** Under way: of many requests at once, one asks. */
  #pending: Promise<Credentials> | undefined;
  #takenAt = 0;

  /** Reads the kubeconfig. @throws ProviderError CONFIG where it cannot be read, or has no such context */
  constructor(options: AccessOptions) {
    this.#options = options;
    this.#config = loadConfig(options);
    this.context = this.#config.getCurrentContext();
    this.server = (this.#config.getCurrentCluster()?.server ?? "").replace(/\/+$/, "");
  }

  /** What to send a request with. @throws ProviderError CONFIG where a file or an exec plugin fails */
  async credentials(): Promise<Credentials> {
    const isFresh = performance.now() - this.#takenAt < freshMs;
    if (this.#current !== undefined && isFresh) return this.#current;
    this.#pending ??= this.#take(this.#current).finally(() => (this.#pending = undefined));
    return this.#pending;
  }

  /** Others in place of those that the API server has refused: everything is read, and exec plugins are asked, again. */
  async renewed(refused: Credentials): Promise<Credentials> {
    await this.#pending;
    if (this.#current === refused) {
      this.#config = loadConfig(this.#options);
      this.#current = undefined;
      // Waits for the requests that are under way on it.
      void refused.dispatcher.close();
    }
    return this.credentials();
  }

  /** Closes all connections. */
  async close(): Promise<void> {
    await this.#current?.dispatcher.destroy();
  }

  /** Connections are kept for as long as `old` is: a new client certificate comes by way of renewed(). */
  async #take(old: Credentials | undefined): Promise<Credentials> {
    const fresh = await authenticate(this.#config);
    this.#takenAt = performance.now();
    if (old !== undefined) await fresh.dispatcher.close();
    const isSame = old !== undefined && JSON.stringify(old.headers) === JSON.stringify(fresh.headers);
    this.#current = isSame
      ? old
      : { headers: fresh.headers, dispatcher: old?.dispatcher ?? fresh.dispatcher };
    return this.#current;
  }
}

async function authenticate(config: KubeConfig): Promise<Credentials> {
  const headers: Record<string, string> = {};
  let dispatcher: Dispatcher | undefined;
  const context = {
    setHeaderParam: (name: string, value: string) => void (headers[name.toLowerCase()] = value.trim()),
    setDispatcher: (given: Dispatcher) => void (dispatcher = given),
  };
  try {
    await config.applySecurityAuthentication(context as unknown as RequestContext);
  } catch (error) {
    throw wrong(`cannot authenticate as ${quote(config.getCurrentUser()?.name ?? "")}`, error);
  }
  return { headers, dispatcher: dispatcher ?? new Agent() };
}

function loadConfig({ kubeconfig, context, env }: AccessOptions): KubeConfig {
  const config = new KubeConfig();
  const files = kubeconfig === undefined ? defaultFiles(env) : [kubeconfig];
  const present = files.filter((file) => existsSync(file));
  if (kubeconfig !== undefined && present.length === 0)
    throw new ProviderError("CONFIG", `cannot read kubeconfig ${quote(kubeconfig)}: no such file`);
  if (present.length > 0) for (const file of present) merge(config, file);
  else if (env["KUBERNETES_SERVICE_HOST"] !== undefined) config.loadFromCluster();
  else
    throw new ProviderError(
      "CONFIG",
      `no kubeconfig at ${files.map((file) => quote(file)).join(", ")}, and this is no Pod: give --kubeconfig`,
    );
  if (context !== undefined) config.setCurrentContext(context);
  const found = config.getContextObject(config.getCurrentContext());
  if (found === null) throw new ProviderError("CONFIG", complaintOfContext(config, context));
  const server = config.getCluster(found.cluster)?.server ?? "";
  if (!URL.canParse(server))
    throw new ProviderError("CONFIG", `context ${quote(found.name)} names no cluster with a server`);
  return config;
}

function complaintOfContext(config: KubeConfig, wanted: string | undefined): string {
  const known = config.getContexts().map(({ name }) => name);
  const list = known.length === 0 ? "it has none" : `it has ${known.join(", ")}`;
  return wanted === undefined
    ? `the kubeconfig has no current context: give --context (${list})`
    : `the kubeconfig has no context ${quote(wanted)} (${list})`;
}

function defaultFiles(env: NodeJS.ProcessEnv): string[] {
  const listed = (env["KUBECONFIG"] ?? "").split(path.delimiter).filter((file) => file !== "");
  return listed.length > 0 ? listed : [path.join(env["HOME"] ?? os.homedir(), ".kube", "config")];
}

/** Takes from a file what is not there yet: of several that name the same thing, the first wins. */
function merge(config: KubeConfig, file: string): void {
  const own = new KubeConfig();
  try {
    // A pipe, or a device, may never end.
    if (!statSync(file).isFile()) throw new Error("it is not a file");
    const content = parseYaml(readFileSync(file, "utf8"));
    // As JSON, which is YAML: what the library's own parser says of a fault quotes the lines around it, tokens and all.
    own.loadFromString(JSON.stringify(content ?? {}));
    own.makePathsAbsolute(path.dirname(file));
    addTokenFiles(own.users, content as RawConfig, path.dirname(file));
  } catch (error) {
    throw wrong(`cannot read kubeconfig ${quote(file)}`, error);
  }
  for (const user of own.users) completeExec(user, path.dirname(file));
  addMissing(config.clusters, own.clusters);
  addMissing(config.users, own.users);
  addMissing(config.contexts, own.contexts);
  config.currentContext ??= own.currentContext;
}

function addMissing<T extends { readonly name: string }>(to: T[], from: readonly T[]): void {
  to.push(...from.filter(({ name }) => !to.some((one) => one.name === name)));
}

/** What KubeConfig drops of a kubeconfig. */
interface RawConfig {
  readonly users?: readonly { readonly name?: string; readonly user?: { readonly tokenFile?: string } }[];
}

/** `tokenFile` wins over `token`, as in client-go. */
function addTokenFiles(users: readonly User[], raw: RawConfig, folder: string): void {
  for (const user of users as Mutable<User>[]) {
    const file = raw.users?.find(({ name }) => name === user.name)?.user?.tokenFile;
    if (file === undefined) continue;
    delete user.token;
    user.authProvider = { name: "tokenFile", config: { tokenFile: path.resolve(folder, file) } };
  }
}

/** What client-go gives to an exec plugin: its command by the kubeconfig's folder, and KUBERNETES_EXEC_INFO. */
function completeExec(user: User, folder: string): void {
  const exec = user.exec as Exec | null | undefined;
  if (exec === undefined || exec === null) return;
  if (exec.command?.includes("/") === true) exec.command = path.resolve(folder, exec.command);
  const info = { apiVersion: exec.apiVersion, kind: "ExecCredential", spec: { interactive: false } };
  exec.env = [...(exec.env ?? []), { name: "KUBERNETES_EXEC_INFO", value: JSON.stringify(info) }];
}

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };
interface Exec {
  readonly apiVersion?: string;
  command?: string;
  env?: { readonly name: string; readonly value: string }[] | null;
}

/** What a library or an exec plugin says, on one line: it may hold a key that was in the wrong place. */
function wrong(what: string, error: unknown): ProviderError {
  // What JSON.parse says quotes the text, which may be the bare token of an exec plugin.
  if (error instanceof SyntaxError)
    return new ProviderError("CONFIG", `${what}: what the exec plugin printed is not JSON`);
  const said = redactPem(error instanceof Error ? error.message : String(error))
    .replaceAll(/[\s\p{Cc}]+/gu, " ")
    .trim();
  return new ProviderError("CONFIG", `${what}: ${said.slice(0, 400)}`, { cause: error });
}
