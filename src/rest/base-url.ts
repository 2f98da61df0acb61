/**
 * The base URL of an OKMS REST server: checked once, split into what a connection needs and what a path needs.
 * May carry a path and a trailing slash. `http://` is for tests: loopback only, and only where allowed.
 */
import { ProviderError } from "../errors.ts";

/** A checked base URL. */
export interface BaseUrl {
  /** `https://host:port`, for the connection. */
  readonly origin: string;
  /** Path before `/api`, without a slash at its end; often empty. */
  readonly pathPrefix: string;
  /** `host:port`, for logs and metrics. */
  readonly endpoint: string;
}

/** URL writes an IPv4 address in one way only. */
const loopback = /^(?:localhost|127\.\d+\.\d+\.\d+|\[::1\])$/;

/**
 * Checks a base URL.
 * @throws CONFIG where it isn't one, or is not https.
 */
export function parseBaseUrl(text: string, options: { readonly insecureHttp: boolean }): BaseUrl {
  const url = URL.parse(text);
  if (url === null) throw refused(text, "is not a URL, as https://host");
  if (url.username !== "" || url.password !== "")
    throw refused(url.host, "carries a user name or a password: the client certificate authenticates");
  if (url.search !== "" || url.hash !== "") throw refused(text, "carries a query or a fragment");
  checkProtocol(url, options.insecureHttp);
  return {
    origin: url.origin,
    pathPrefix: url.pathname.replace(/\/+$/, ""),
    endpoint: `${url.hostname}:${url.port === "" ? defaultPort(url) : url.port}`,
  };
}

function checkProtocol(url: URL, insecureHttp: boolean): void {
  if (url.protocol === "https:") return;
  if (url.protocol !== "http:") throw refused(url.href, "must begin with https://");
  if (!loopback.test(url.hostname)) throw refused(url.href, "must begin with https://");
  if (!insecureHttp) throw refused(url.href, "must begin with https:// (--insecure-http is for tests)");
}

function defaultPort(url: URL): string {
  return url.protocol === "https:" ? "443" : "80";
}

function refused(what: string, why: string): ProviderError {
  return new ProviderError("CONFIG", `--serv-addr: ${what} ${why}`);
}
