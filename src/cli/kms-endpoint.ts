/**
 * The plugin's socket as kube-apiserver writes it in an EncryptionConfiguration, and back: a URL, parsed with Go's
 * net/url there (k8s.io/kms, pkg/util ParseEndpoint), of which only the path counts.
 */
import { resolve } from "node:path";
import { plainSock } from "../config/config.ts";
import { toProviderError } from "../errors.ts";
import { checkPathLength } from "../server/socket/socket-path.ts";
import type { SettingsReader } from "../config/settings.ts";

/** What an endpoint names, or what is wrong with it. */
export type ParsedEndpoint = { readonly sock: string } | { readonly complaint: string };

/** `unix:///run/kms.sock`, or `unix:///@name` for an abstract socket. What a URL's path can't hold is escaped. */
export function endpointOf(sock: string): string {
  const path = sock.startsWith("@") ? `/${sock}` : sock;
  return `unix://${path.replaceAll(/[%?#\s]/g, encodeURIComponent)}`;
}

/** The path, or `@name`, that kube-apiserver would dial. */
export function parseEndpoint(endpoint: string): ParsedEndpoint {
  if (!endpoint.startsWith("unix:")) return { complaint: "it must begin with unix:///" };
  // Two slashes begin a host, never a path.
  const parts = /^unix:(?:\/\/([^/]*)|(?!\/\/))(\/[^?#]*)$/.exec(endpoint);
  if (parts === null) return { complaint: "it is not unix:// and an absolute path" };
  const [, host = "", path = ""] = parts;
  if (host !== "")
    return { complaint: `"${host}" is taken for the name of a host: three slashes must follow unix:` };
  try {
    const decoded = decodeURIComponent(path);
    return { sock: decoded.startsWith("/@") ? decoded.slice(1) : decoded };
  } catch {
    return { complaint: "a % in it is not followed by two hexadecimal digits: write %25" };
  }
}

/** The socket wherever it is asked from: an absolute path, or `@name`. */
export function absoluteSock(sock: string): string {
  const plain = plainSock(sock);
  return plain.startsWith("@") ? plain : resolve(plain);
}

/** Complains about a socket whose path no kernel takes: Node spins on connecting to one. */
export function checkSockLength(read: SettingsReader, sock: string): void {
  try {
    checkPathLength(sock);
  } catch (error) {
    read.complain(toProviderError(error).message);
  }
}
