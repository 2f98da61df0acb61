/**
 * HTTP proxies, as Go's programs find them (golang.org/x/net/http/httpproxy): HTTPS_PROXY and NO_PROXY in either case,
 * none for loopback. A connection goes through one as a tunnel (CONNECT, RFC 9110 section 9.3.6), so that the proxy
 * sees the name of the KMS and nothing else. Leaves out SOCKS.
 */
import { request as httpRequest, type IncomingMessage } from "node:http";
import { request as httpsRequest } from "node:https";
import { BlockList, isIP, type Socket } from "node:net";
import { NetworkError } from "../errors.ts";
import { isLoopback, type Parsed, type Proxy, type ServerAddress } from "./address.ts";

/** The environment, of which only the variables named above are read. */
export type ProxyEnvironment = Readonly<Record<string, string | undefined>>;

/**
 * The proxy to a server; `value` is undefined where there is none.
 * @returns a complaint where HTTPS_PROXY is to be used and cannot be
 */
export function proxyFor(
  { host, port }: Pick<ServerAddress, "host" | "port">,
  env: ProxyEnvironment,
): Parsed<Proxy | undefined> {
  const [name, text] = variable(env, "HTTPS_PROXY");
  const [, noProxy] = variable(env, "NO_PROXY");
  if (text === "" || isLoopback(host) || isExempt(host.replace(/\.$/, ""), port, noProxy))
    return { value: undefined };
  const proxy = parseProxy(text);
  // The value may hold a password.
  return proxy === undefined
    ? {
        complaint: `Invalid value for ${name}: not the URL of an HTTP proxy, as http://proxy.example.net:3128 (SOCKS is not supported)`,
      }
    : { value: proxy };
}

function variable(env: ProxyEnvironment, name: string): [name: string, text: string] {
  const used = [name, name.toLowerCase()].find((one) => (env[one] ?? "").trim() !== "") ?? name;
  return [used, (env[used] ?? "").trim()];
}

function parseProxy(text: string): Proxy | undefined {
  const url = URL.parse(text.includes("://") ? text : `http://${text}`);
  if (url === null || url.hostname === "" || (url.protocol !== "http:" && url.protocol !== "https:"))
    return undefined;
  const isTls = url.protocol === "https:";
  const port = url.port === "" ? (isTls ? 443 : 80) : Number(url.port);
  const host = url.hostname.replaceAll(/[[\]]/g, "");
  const proxy = { name: `${url.protocol}//${url.hostname}:${port}`, isTls, host, port };
  const credentials = credentialsOf(url);
  if (credentials === undefined) return undefined;
  const value = credentials === "" ? undefined : `Basic ${Buffer.from(credentials).toString("base64")}`;
  return Object.defineProperty(proxy, "authorization", { value, enumerable: false });
}

/** `user:password`; empty: none; undefined where the escapes in it are wrong. */
function credentialsOf({ username, password }: URL): string | undefined {
  if (username === "" && password === "") return "";
  try {
    return `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  } catch {
    return undefined;
  }
}

/** Whether NO_PROXY names a host: `*`, an address, a network, `example.com` (and below it), `.example.com` (below it only). */
function isExempt(host: string, port: number, noProxy: string): boolean {
  return noProxy
    .split(",")
    .map((entry) => entry.trim().toLowerCase())
    .some((entry) => entry === "*" || isInNetwork(host, entry) || isNamed(host, port, entry));
}

function isNamed(host: string, port: number, entry: string): boolean {
  if (isIP(entry) !== 0) return host === entry;
  const [, bracketed = "", onlyPort] = /^(.*?)(?::(\d+))?$/.exec(entry) ?? [];
  const name = bracketed.replace(/^\[(.*)\]$/, "$1").replace(/^\*\./, ".");
  if (name === "" || (onlyPort !== undefined && Number(onlyPort) !== port)) return false;
  if (name.startsWith(".")) return host.endsWith(name);
  return host === name || (isIP(host) === 0 && host.endsWith(`.${name}`));
}

function isInNetwork(host: string, entry: string): boolean {
  const [, network = "", bits = ""] = /^(.+)\/(\d{1,3})$/.exec(entry) ?? [];
  const version = isIP(network);
  if (version === 0 || isIP(host) !== version || Number(bits) > (version === 4 ? 32 : 128)) return false;
  const family = version === 4 ? "ipv4" : "ipv6";
  const list = new BlockList();
  list.addSubnet(network, Number(bits), family);
  return list.check(host.replace(/%.*$/, ""), family);
}

/** Time for a proxy to make a tunnel, in ms: as long as a dial has. */
const tunnelTimeoutMs = 5_000;

/**
 * Makes a tunnel through a proxy. The socket that comes back speaks to the server in the clear: TLS is the caller's.
 * @throws CONNECT
 */
export function openTunnel(
  proxy: Proxy,
  { host, port, name }: Pick<ServerAddress, "host" | "port" | "name">,
): Promise<Socket> {
  const authority = `${host.includes(":") ? `[${host}]` : host.replace(/\.$/, "")}:${port}`;
  const { promise, resolve, reject } = Promise.withResolvers<Socket>();
  const fail = (why: string, cause?: unknown): void => {
    const text = `cannot connect to ${name} through the proxy ${proxy.name}: ${why}`;
    reject(new NetworkError("CONNECT", text, { endpoint: name, sent: false, cause }));
  };
  const request = (proxy.isTls ? httpsRequest : httpRequest)({
    host: proxy.host,
    port: proxy.port,
    method: "CONNECT",
    path: authority,
    headers: {
      host: authority,
      ...(proxy.authorization !== undefined && { "proxy-authorization": proxy.authorization }),
    },
    agent: false,
    timeout: tunnelTimeoutMs,
  });
  request.once("connect", (response: IncomingMessage, socket: Socket, head: Buffer) => {
    if (response.statusCode !== 200) {
      socket.destroy();
      return fail(refusal(response, proxy));
    }
    // What came with the reply is the server's.
    if (head.length > 0) socket.unshift(head);
    return resolve(socket);
  });
  request.once("response", (response: IncomingMessage) => {
    response.destroy();
    fail(refusal(response, proxy));
  });
  request.once("timeout", () => request.destroy(new Error("it does not answer")));
  request.on("error", (error) => fail(reasonOf(error), error));
  request.end();
  return promise;
}

function refusal({ statusCode: status, headers }: IncomingMessage, { authorization }: Proxy): string {
  if (status === 403) return "it does not allow connections to that server (status 403)";
  if (status !== undefined && status >= 500) return `it cannot reach that server (status ${status})`;
  if (status !== 407) return `it answered with status ${status ?? "unknown"}`;
  const schemes = /^[\w-]+/.exec(headers["proxy-authenticate"] ?? "Basic")?.[0] ?? "Basic";
  if (schemes.toLowerCase() !== "basic")
    return `it requires authentication by ${schemes}, and only Basic is supported (status 407)`;
  return authorization === undefined
    ? "it requires a user name and a password (status 407)"
    : "it does not accept the user name and the password of HTTPS_PROXY (status 407)";
}

/** Node's words for what its parser of HTTP does not read say nothing about proxies. */
function reasonOf(error: NodeJS.ErrnoException): string {
  const isNoHttp = error.code?.startsWith("HPE_") === true;
  if (isNoHttp) return "it does not speak HTTP (compare the port, and http:// with https://)";
  return error.code === "ECONNRESET" ? "it closed the connection without an answer" : error.message;
}
