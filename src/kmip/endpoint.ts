/**
 * Where a KMIP server is: `host`, `host:port`, `192.0.2.7:5696` or `[2001:db8::7]:5696`. KMIP's own port is
 * 5696 (KMIP Profiles 1.4, section 3.2). The name is looked up at each dial, never here.
 */
import { isIPv6 } from "node:net";
import { ProviderError } from "../errors.ts";

/** The port that IANA gave to KMIP. */
export const kmipPort = 5696;

/** One KMIP server. */
export interface Endpoint {
  /** Host name or IP address, an IPv6 address without its brackets. */
  readonly host: string;
  readonly port: number;
  /** `host:port`, brackets included: how log, metrics and errors call it. */
  readonly name: string;
}

const bracketed = /^\[([^\]]+)\](?::(\d+))?$/;
const plain = /^([^:\s/@[\]]+)(?::(\d+))?$/;

/**
 * Reads an address; the port is {@link kmipPort} where none is given.
 * @throws CONFIG, with the form of an address.
 */
export function parseEndpoint(address: string): Endpoint {
  const match = bracketed.exec(address) ?? plain.exec(address);
  const host = match?.[1] ?? "";
  const port = match?.[2] === undefined ? kmipPort : Number(match[2]);
  const isBracketed = address.startsWith("[");
  if (host === "" || port < 1 || port > 65_535 || (isBracketed && !isIPv6(host)))
    throw new ProviderError(
      "CONFIG",
      `"${address}" is not the address of a KMIP server: write host:port, or [IPv6 address]:port`,
    );
  return { host, port, name: isBracketed ? `[${host}]:${port}` : `${host}:${port}` };
}
