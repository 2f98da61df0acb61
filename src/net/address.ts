/**
 * The one grammar for network addresses on the command line: lists of KMIP servers (`host:port`), lists of REST base
 * URLs, a name for --serv-name, and the address of the HTTP endpoint. An address is parsed here once and carried as a
 * value. Complaints say how it is written right. Host names are resolved at each dial, never here.
 */
import { isIP, isIPv4, isIPv6 } from "node:net";
import { ProviderError } from "../errors.ts";
import { looksLikeKey, quote } from "../text/quote.ts";

/** A server of the KMS. */
export interface ServerAddress {
  /** `host:port`, brackets kept around IPv6: for log, metrics and errors. A name is in lower case. */
  readonly name: string;
  /** What to connect to: no brackets; a final dot and an IPv6 zone id are kept, for the resolver and the kernel. */
  readonly host: string;
  readonly port: number;
  /**
   * Name or IP address that the server's certificate must be for, and SNI where it is a name: --serv-name, else the
   * host without a final dot and without a zone id.
   */
  readonly serverName: string;
}

/** A server of the REST API. */
export interface RestAddress extends ServerAddress {
  /**
   * `https://host:port` with {@link ServerAddress.serverName} as its host: what the Host header is made from. To
   * connect, use `host` and `port`.
   */
  readonly origin: string;
  /** Path before `/api`, without a slash at its end; usually empty. */
  readonly pathPrefix: string;
  /** Connect through this proxy; undefined: directly. */
  readonly proxy?: Proxy | undefined;
}

/** An HTTP proxy: see proxy.ts. */
export interface Proxy {
  /** `http://host:port`, without user name and password: for log and errors. */
  readonly name: string;
  readonly isTls: boolean;
  readonly host: string;
  readonly port: number;
  /** Value of the Proxy-Authorization header; undefined: none. Not enumerable, so that it is not printed. */
  readonly authorization?: string | undefined;
}

/** Where the HTTP endpoint listens. */
export interface ListenAddress {
  /** `host:port`, brackets kept around IPv6. */
  readonly name: string;
  /** No brackets. */
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
}

/** A value, or what is wrong with the text in words that show how it is written right. */
export type Parsed<T> = { readonly value: T } | { readonly complaint: string };

/** How server addresses are parsed. */
export interface AddressOptions {
  /** --serv-name; undefined: the certificate is for the host itself. */
  readonly serverName?: string | undefined;
  /** Allow `http://` to loopback; for tests. Default: false. */
  readonly insecureHttp?: boolean | undefined;
}

/** The port that IANA assigned to KMIP. */
export const kmipPort = 5696;

/** Whether an address is that of a REST server. */
export function isRestAddress(address: ServerAddress): address is RestAddress {
  return "origin" in address;
}

/** Parses a list of KMIP servers, separated by commas; the port is {@link kmipPort} where none is given. */
export function parseKmipAddresses(list: string, options: AddressOptions = {}): Parsed<ServerAddress[]> {
  return parseList(list, (text) => parseKmip(text, options));
}

/** Parses a list of REST base URLs, separated by commas: `https`, no query; a path may follow. */
export function parseRestAddresses(list: string, options: AddressOptions = {}): Parsed<RestAddress[]> {
  return parseList(list, (text) => parseRest(text, options));
}

/** Parses the address of one KMIP server. @throws CONFIG */
export function parseKmipAddress(text: string, options: AddressOptions = {}): ServerAddress {
  return valueOf(parseKmip(text, options));
}

/** Parses the base URL of one REST server. @throws CONFIG */
export function parseRestAddress(text: string, options: AddressOptions = {}): RestAddress {
  return valueOf(parseRest(text, options));
}

/** Parses --serv-name: a host name or an IP address, without a port. */
export function parseServerName(text: string): Parsed<string> {
  const parts = isIPv6(text) ? parseHostPort(`[${text}]`) : parseHostPort(text);
  if (parts === undefined || parts.port !== undefined)
    return {
      complaint: `${shown(text)} is not the name in a server's certificate: write kms.example.net, or an IP address, without a port`,
    };
  return { value: certificateName(parts.host) };
}

/** Parses the address of the HTTP endpoint: `host:port`; for `:port` and a port alone the host is 127.0.0.1. */
export function parseListenAddress(text: string): Parsed<ListenAddress> {
  const parts = parseHostPort(/^:?\d+$/.test(text) ? `127.0.0.1:${text.replace(":", "")}` : text);
  if (parts?.port === undefined) return { complaint: `${shown(text)} is not host:port, as 127.0.0.1:8088` };
  const { host, port } = parts;
  return { value: { name: nameOf(host, port), host, port } };
}

/** Whether a host name or address, brackets or not, can only mean this machine. */
export function isLoopback(host: string): boolean {
  const bare = host.replace(/^\[(.*)\]$/, "$1");
  return bare === "localhost" || bare === "::1" || (isIPv4(bare) && bare.startsWith("127."));
}

function parseKmip(text: string, { serverName }: AddressOptions): Parsed<ServerAddress> {
  if (/^[a-z]+:\/\//i.test(text))
    return { complaint: `${shown(text)} is a URL: kmip takes host:${kmipPort}` };
  const parts = parseHostPort(text);
  if (parts === undefined)
    return {
      complaint: `${shown(text)} is not host:port (an IPv6 address is written [::1]:${kmipPort})`,
    };
  const { host, port = kmipPort } = parts;
  if (port === 0) return { complaint: `${shown(text)} has port 0, which cannot be dialled` };
  return { value: addressOf(host, port, serverName) };
}

function parseRest(text: string, options: AddressOptions): Parsed<RestAddress> {
  if (!text.includes("://")) return { complaint: `${shown(text)} is not a URL: rest takes https://host` };
  if (/^\w+:\/\/\[[^\]]*%/.test(text))
    return { complaint: `${shown(text)} has an IPv6 zone id, which a URL cannot have: give a host name` };
  const url = URL.parse(text);
  if (url === null || url.hostname === "") return { complaint: `${shown(text)} is not a URL` };
  // Neither may be printed: they would be sent, and logged, with every call.
  if (url.username !== "" || url.password !== "")
    return {
      complaint: "the URL holds a user name or a password: the client certificate authenticates this host",
    };
  const isHttp = url.protocol === "http:" && options.insecureHttp === true && isLoopback(url.hostname);
  if (url.protocol !== "https:" && !isHttp)
    return { complaint: `${shown(text)} is not https: the KMS authenticates this host by mutual TLS` };
  if (url.search !== "" || url.hash !== "")
    return { complaint: `${shown(text)} has a part after ? or #: only scheme, host, port and path` };
  const parts = parseHostPort(url.hostname);
  if (parts === undefined) return { complaint: `${shown(text)} has a host that cannot be one` };
  const port = url.port === "" ? (isHttp ? 80 : 443) : Number(url.port);
  if (port === 0) return { complaint: `${shown(text)} has port 0, which cannot be dialled` };
  const address = addressOf(parts.host, port, options.serverName);
  const origin = new URL(`${url.protocol}//${nameOf(address.serverName, port)}`).origin;
  return { value: { ...address, origin, pathPrefix: url.pathname.replace(/\/+$/, "") } };
}

function addressOf(host: string, port: number, serverName = certificateName(host)): ServerAddress {
  return { name: nameOf(host, port), host, port, serverName };
}

/** A certificate holds neither the final dot of an absolute name nor the zone id of an address (RFC 6066, RFC 6874). */
function certificateName(host: string): string {
  return isIP(host) === 0 ? host.replace(/\.$/, "") : host.replace(/%.*$/, "");
}

function nameOf(host: string, port: number): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

function valueOf<T>(parsed: Parsed<T>): T {
  if ("value" in parsed) return parsed.value;
  throw new ProviderError("CONFIG", parsed.complaint);
}

/** An address as a complaint may show it: what stands before an @ could be a password. */
function shown(text: string): string {
  return quote(text.replaceAll(/[^/,@]*@/g, "…@"));
}

/** Each address once, in its order; or the complaint about the first that is wrong. */
function parseList<T extends ServerAddress>(
  list: string,
  parseOne: (text: string) => Parsed<T>,
): Parsed<T[]> {
  const addresses = new Map<string, T>();
  for (const text of list.split(",").map((part) => part.trim())) {
    const one = text === "" ? { complaint: `${shown(list)} has an empty part` } : parseOne(text);
    if ("complaint" in one) return one;
    addresses.set(JSON.stringify(one.value), one.value);
  }
  return { value: [...addresses.values()] };
}

const bracketed = /^\[([^[\]]+)\](?::(\d{1,5}))?$/;
const plain = /^([a-z0-9](?:[a-z0-9._-]*[a-z0-9.])?)(?::(\d{1,5}))?$/i;
/** Of a name of DNS, in its text form. */
const maxHostLength = 254;

/**
 * Labels of 1 to 63 characters, the last of which is no number: a port alone, or `127.1`, would be taken for an IPv4 address.
 * A single one that may be a key, given in the wrong place, is not asked of DNS.
 */
function isHostName(host: string): boolean {
  const labels = host.replace(/\.$/, "").split(".");
  if (isIPv4(host)) return true;
  if (/^(?:\d+|0x[\da-f]*)$/.test(labels.at(-1) ?? "")) return false;
  return (
    labels.every((label) => label !== "" && label.length <= 63) && (labels.length > 1 || !looksLikeKey(host))
  );
}

/** The host without brackets, a name in lower case. Undefined: not an address. */
function parseHostPort(text: string): { host: string; port: number | undefined } | undefined {
  const match = bracketed.exec(text) ?? plain.exec(text);
  // A zone id is the name of an interface, in the case that it has.
  const host = text.startsWith("[") ? match?.[1] : match?.[1]?.toLowerCase();
  if (host === undefined || host.length > maxHostLength) return undefined;
  if (text.startsWith("[") ? !isIPv6(host) : !isHostName(host)) return undefined;
  const port = match?.[2] === undefined ? undefined : Number(match[2]);
  return port !== undefined && port > 65_535 ? undefined : { host, port };
}
