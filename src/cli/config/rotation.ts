/**
 * A rotation by key id: the plugin of the next key beside the one that runs, with a name, a provider and a socket of
 * its own. The names carry letters of the key's identifier; those of the key before are taken off, so that they do
 * not grow with each rotation.
 */
import { checkKeyId } from "../../config/config.ts";
import type { ListenAddress } from "../../net/address.ts";
import type { SettingsReader } from "../../config/settings.ts";
import { quote } from "../../text/quote.ts";
import type { Invocation } from "../command.ts";
import { absoluteSock, checkSockLength } from "../kms-endpoint.ts";
import { defaults, type Kind } from "./kinds.ts";
import { defaultHttpAddr, instanceOf, type InstanceOptions } from "./output.ts";
import { readName } from "./words.ts";

/** What the flags of a rotation say. */
export interface Rotation {
  readonly keyId: string;
  readonly providerName: string | undefined;
  readonly sock: string | undefined;
  /** Whether the next key is only read with, until every API server can. */
  readonly isReadOnly: boolean;
}

/** Reads the flags of a rotation; undefined where none is asked for. */
export function readRotation(read: SettingsReader): Rotation | undefined {
  const keyId = read.text("rotate-to");
  const others = ["rotate-name", "rotate-sock", "rotate-step"].filter(
    (flag) => read.given(flag) !== undefined,
  );
  if (keyId === undefined) {
    for (const flag of others) read.complain(`--${flag} needs --rotate-to: the identifier of the next key`);
    return undefined;
  }
  if (read.given("encryption-key-label") !== undefined)
    read.complain(
      "--rotate-to is for --encryption-key-id: a label rotates when its name is given to another key",
    );
  if (read.text("encryption-key-id") === keyId)
    read.complain("--rotate-to names the key that is already in use");
  const given = read.given("rotate-to");
  if (given !== undefined) checkKeyId(read, given, read.text("protocol") === "rest" ? "rest" : undefined);
  const isReadOnly = read.oneOf("rotate-step", ["read", "write"]) === "read";
  return {
    keyId,
    providerName: readName(read, "rotate-name"),
    sock: read.path("rotate-sock"),
    isReadOnly,
  };
}

/** Two plugins on one host share nothing that has a name. */
export function checkNext(read: SettingsReader, current: InstanceOptions, next: InstanceOptions): void {
  checkSockLength(read, next.sock);
  if (next.sock === current.sock)
    read.complain(`Both keys would have the socket ${next.sock}: give the next one's with --rotate-sock`);
  if (next.providerName === current.providerName)
    read.complain(
      `Both keys would have the provider ${quote(next.providerName)}: give the next one's with --rotate-name`,
    );
}

/** The instance of the next key. */
export function nextInstance(
  invocation: Pick<Invocation, "settings">,
  kind: Kind,
  current: InstanceOptions,
  rotation: Rotation,
): InstanceOptions {
  const { keyId } = rotation;
  const suffix = suffixOf(keyId, current);
  const instance = {
    config: current.config,
    name: `${defaults.name}-${suffix}`,
    providerName: rotation.providerName ?? `${withoutSuffix(current.providerName)}-${suffix}`,
    sock: absoluteSock(rotation.sock ?? nextSock(current.sock, suffix)),
  };
  return instanceOf(invocation, kind, instance, {
    "encryption-key-id": keyId,
    httpAddr: nextHttpAddr(current.config?.httpAddr ?? defaultHttpAddr(kind)),
  });
}

function nextSock(sock: string, suffix: string): string {
  const [stem = sock, extension = ""] = sock.endsWith(".sock") ? [sock.slice(0, -5), ".sock"] : [sock];
  return `${withoutSuffix(stem)}-${suffix}${extension}`;
}

const suffixLength = 8;

/** What an earlier rotation by a UUID has put to the end. */
function withoutSuffix(name: string): string {
  return name.replace(/-[0-9a-f]{8}$/, "");
}

/** Tells the next key's names from this one's. Identifiers that grow with time begin alike, and end otherwise. */
function suffixOf(keyId: string, { name, providerName, sock }: InstanceOptions): string {
  const letters = keyId.toLowerCase().replaceAll(/[^a-z0-9]/g, "");
  const [first, last] = [letters.slice(0, suffixLength), letters.slice(-suffixLength)];
  const isTaken = [name, providerName, sock.replace(/\.sock$/, "")].some((one) => one.endsWith(`-${first}`));
  const suffix = isTaken ? last : first;
  return suffix === "" ? "next" : suffix;
}

/** Two plugins on one host cannot share a port; 0 is any that is free. */
function nextHttpAddr(address: ListenAddress | undefined): ListenAddress | undefined {
  if (address === undefined || address.port === 0) return address;
  const port = address.port === 65_535 ? address.port - 1 : address.port + 1;
  return { ...address, port, name: address.name.replace(/\d+$/, String(port)) };
}
