/**
 * Addresses as people write them on a command line: lists of KMIP servers, lists of REST base URLs, the HTTP
 * endpoint's own. What is wrong is said in words that show how it is written right.
 */
import { isIPv4, isIPv6 } from "node:net";
import { quote } from "../text/quote.ts";

/** What a list of addresses came to; `complaint` tells what is wrong with the first bad one. */
export type Addresses = { readonly servers: readonly string[] } | { readonly complaint: string };

/** Port of KMIP, as IANA has it. */
const kmipPort = 5696;

/**
 * `host:port` of each KMIP server in a list with commas; brackets kept around IPv6, the port 5696 where none
 * is given.
 */
export function parseKmipAddresses(list: string): Addresses {
  return parseList(list, (text) => {
    if (/^[a-z]+:\/\//i.test(text))
      return { complaint: `${shown(text)} is a URL: kmip takes host:${kmipPort}` };
    const hostPort = parseHostPort(text);
    if (hostPort === undefined)
      return { complaint: `${shown(text)} is not host:port (an IPv6 address is written [::1]:${kmipPort})` };
    if (hostPort.port === 0) return { complaint: `${shown(text)} has no port that can be dialled` };
    return { server: `${hostPort.host}:${hostPort.port ?? kmipPort}` };
  });
}

/**
 * Base URL of each REST server in a list with commas: `https`, no query; a path may follow, a slash at its
 * end is taken off.
 * @param allowHttp allow `http` to loopback, for tests
 */
export function parseRestUrls(list: string, allowHttp: boolean): Addresses {
  return parseList(list, (text) => {
    if (!text.includes("://")) return { complaint: `${shown(text)} is not a URL: rest takes https://host` };
    const url = URL.canParse(text) ? new URL(text) : undefined;
    if (url === undefined || url.hostname === "") return { complaint: `${shown(text)} is not a URL` };
    const isAllowed =
      url.protocol === "https:" || (url.protocol === "http:" && allowHttp && isLoopback(url.hostname));
    if (!isAllowed)
      return { complaint: `${shown(text)} is not https: mutual TLS is how the KMS knows this host` };
    // What a URL carries besides would be sent, and printed, with every call.
    if (url.username !== "" || url.password !== "")
      return { complaint: "the URL holds a user name or password: the KMS asks for a certificate only" };
    if (url.search !== "" || url.hash !== "")
      return { complaint: `${shown(text)} has a part after ? or #: only scheme, host, port and path` };
    return { server: `${url.origin}${url.pathname.replace(/\/+$/, "")}` };
  });
}

/**
 * Where the HTTP endpoint listens: `host:port`, with 127.0.0.1 for `:port` and for a port alone.
 * @returns undefined where `text` is no such address
 */
export function parseListenAddress(
  text: string,
): { readonly host: string; readonly port: number } | undefined {
  const hostPort = parseHostPort(/^:?\d+$/.test(text) ? `127.0.0.1:${text.replace(":", "")}` : text);
  return hostPort?.port === undefined ? undefined : { host: hostPort.host, port: hostPort.port };
}

/** Whether a host name or address, brackets or not, can only mean this machine. */
export function isLoopback(host: string): boolean {
  const bare = host.replace(/^\[(.*)\]$/, "$1");
  return bare === "localhost" || bare === "::1" || (isIPv4(bare) && bare.startsWith("127."));
}

/** Takes `host:port` apart that was read before; an IPv6 address without its brackets. */
export function splitAddress(address: string): { readonly host: string; readonly port: number } {
  const at = address.lastIndexOf(":");
  return { host: address.slice(0, at).replaceAll(/[[\]]/g, ""), port: Number(address.slice(at + 1)) };
}

/** An address as a complaint may show it: what stands before an @ could be a password. */
function shown(text: string): string {
  return quote(text.replaceAll(/[^/,@]*@/g, "…@"));
}

type One = { readonly server: string } | { readonly complaint: string };

function parseList(list: string, parseOne: (text: string) => One): Addresses {
  const servers = new Set<string>();
  for (const text of list.split(",").map((part) => part.trim())) {
    const one = text === "" ? { complaint: `${shown(list)} has an empty part` } : parseOne(text);
    if ("complaint" in one) return one;
    servers.add(one.server);
  }
  return { servers: [...servers] };
}

const bracketed = /^(\[[^[\]]+\])(?::(\d{1,5}))?$/;
const plain = /^([a-z0-9](?:[a-z0-9._-]*[a-z0-9.])?)(?::(\d{1,5}))?$/i;

function parseHostPort(text: string): { host: string; port: number | undefined } | undefined {
  const match = bracketed.exec(text) ?? plain.exec(text);
  const host = match?.[1];
  if (host === undefined || host.length > 255) return undefined;
  if (host.startsWith("[") && !isIPv6(host.slice(1, -1))) return undefined;
  const port = match?.[2] === undefined ? undefined : Number(match[2]);
  return port !== undefined && port > 65_535 ? undefined : { host, port };
}
