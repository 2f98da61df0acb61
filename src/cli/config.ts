/**
 * `config`: prints what has to be installed for the flags given. The flags are read and checked here; the
 * generators are in config/, loaded only when they are asked for.
 */
import path from "node:path";
import type { Config } from "../config/config.ts";
import { checkKeyId, parseServeConfig } from "../config/config.ts";
import type { ListenAddress } from "../net/address.ts";
import { quote } from "../text/quote.ts";
import type { SettingsReader } from "../config/settings.ts";
import { checkResources } from "./check/encryption-config-resources.ts";
import { defineCliCommand } from "./command.ts";
import type { FlagSet, Invocation } from "./command.ts";
import { materialFiles, serveArguments } from "./config/output.ts";
import type { ConfigOptions, InstanceOptions, Kind } from "./config/run.ts";
import { programName } from "./help.ts";
import { absoluteSock, checkSockLength } from "./kms-endpoint.ts";
import { serveFlags } from "./serve-flags.ts";

const defaults = {
  providerName: "okms-encryption-provider",
  exec: `/usr/local/bin/${programName}`,
  /** Of a static Pod, whose liveness the kubelet asks for over HTTP. */
  httpAddr: { name: "127.0.0.1:8088", host: "127.0.0.1", port: 8088 },
} as const;

const kinds: readonly Kind[] = ["encryption-configuration", "systemd", "static-pod"];

const ownFlags = {
  "provider-name": {
    group: "CONFIG",
    type: "string",
    valueHint: "NAME",
    default: defaults.providerName,
    description:
      "name of the provider in the EncryptionConfiguration; part of what is stored, never to change",
  },
  "api-timeout": {
    group: "CONFIG",
    type: "string",
    valueHint: "DURATION",
    default: "3s",
    description: "how long kube-apiserver waits for an answer",
  },
  resources: {
    group: "CONFIG",
    type: "string",
    valueHint: "LIST",
    default: "secrets",
    description: "what kube-apiserver encrypts, with commas: secrets,configmaps",
  },
  instance: {
    group: "CONFIG",
    type: "string",
    valueHint: "NAME",
    default: programName,
    description:
      "systemd, static-pod: name of the units or of the Pod; after a rotation by id, the new one's",
  },
  exec: {
    group: "CONFIG",
    type: "string",
    valueHint: "PATH",
    default: defaults.exec,
    description: "systemd: where the program is installed",
  },
  user: {
    group: "CONFIG",
    type: "string",
    valueHint: "USER",
    fallback: "root, without capabilities",
    description: "systemd: user to run as; it must be able to read the key file",
  },
  image: {
    group: "CONFIG",
    type: "string",
    valueHint: "IMAGE",
    description: "static-pod: image with the program on its PATH",
  },
  out: {
    group: "CONFIG",
    type: "string",
    valueHint: "FOLDER",
    fallback: "standard output",
    description: "write the files there",
  },
  "rotate-to": {
    group: "ROTATION BY KEY ID",
    type: "string",
    valueHint: "ID",
    description: "identifier of the next key: makes everything for both keys",
  },
  "rotate-name": {
    group: "ROTATION BY KEY ID",
    type: "string",
    valueHint: "NAME",
    fallback: "--provider-name with the next key's first letters",
    description: "name of the next key's provider",
  },
  "rotate-sock": {
    group: "ROTATION BY KEY ID",
    type: "string",
    valueHint: "PATH",
    fallback: "--sock with the same letters",
    description: "socket of the next key's plugin",
  },
  "rotate-step": {
    group: "ROTATION BY KEY ID",
    type: "string",
    valueHint: "STEP",
    default: "write",
    description:
      "read: the next key's provider comes second, for every API server first; write: it comes first",
  },
} as const satisfies FlagSet;

/** See the file's head. */
export const configCommand = defineCliCommand({
  name: "config",
  description: "print what to install: an EncryptionConfiguration, systemd units or a static Pod",
  words: [{ name: "kind", description: kinds.join(", ") }],
  flags: { ...ownFlags, ...serveFlags },
  epilog: `For encryption-configuration --sock alone is enough; the others take the flags of serve, from the command
line and from the environment, and write them out. Files are named in the first line of each part.

A label (--encryption-key-label) rotates without any of this: give the name to another key.`,
  async run(invocation) {
    const options = readOptions(invocation);
    const { runConfig } = await import("./config/run.ts");
    return runConfig(options, invocation);
  },
});

function readOptions(invocation: Invocation): ConfigOptions {
  const { read, words, stderr } = invocation;
  const kind = kinds.find((one) => one === words[0]);
  if (kind === undefined) read.complain(`Missing or unknown kind: give one of ${kinds.join(", ")}`);
  if (kind === "static-pod" && read.given("image") === undefined)
    read.complain("Missing required flag --image: the image that the static Pod runs");
  const rotation = readRotation(read);
  const options = {
    kind: kind ?? "encryption-configuration",
    resources: readResources(read),
    apiTimeoutMs: read.durationMs("api-timeout", { min: 100, max: 600_000 }),
    exec: readAbsolute(read, "exec"),
    user: readName(read, "user"),
    image: readMatching(read, "image", /^\S*$/, "holds a space") ?? "",
    out: read.path("out"),
  };
  const providerName = readName(read, "provider-name") ?? "";
  const name =
    (kind === "static-pod"
      ? readMatching(read, "instance", podName, "is no name of a Pod: small letters, digits, - and . only")
      : readName(read, "instance")) ?? "";
  const config = kind === "systemd" || kind === "static-pod" ? readServe(read, stderr) : undefined;
  const sock = absoluteSock(config?.sock ?? read.path("sock") ?? "");
  if (kind === "static-pod") {
    checkMountable(read, "--sock", sock);
    for (const [flag, file] of Object.entries(config === undefined ? {} : materialFiles(config)))
      checkMountable(read, `--${flag}`, file);
    checkGroupIsNumber(read);
    if (config?.httpAddr?.port === 0)
      read.complain("--http-addr needs a port that is known: the kubelet asks there whether the Pod lives");
  }
  checkSockLength(read, sock);
  read.finish();
  const current = instanceOf(invocation, options.kind, { config, sock, providerName, name });
  if (rotation === undefined) return { ...options, instances: [current] };
  const next = nextInstance(invocation, options.kind, current, rotation);
  checkNext(read, current, next);
  read.finish();
  return { ...options, instances: rotation.isReadOnly ? [current, next] : [next, current] };
}

function readResources(read: SettingsReader): string[] {
  const resources = readList(read.text("resources") ?? "");
  if (resources.length === 0) read.complain("Invalid value for --resources: it names none");
  const { status, message } = checkResources([
    { path: "--resources", resources, kinds: [], names: [], kms: [] },
  ]);
  if (status === "failed") read.complain(`Invalid value for ${message}`);
  return resources;
}

/** The kubelet takes a name as of a host (RFC 1123). */
const podName = /^[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?$/;

/** Two plugins on one host share nothing that has a name. */
function checkNext(read: SettingsReader, current: InstanceOptions, next: InstanceOptions): void {
  checkSockLength(read, next.sock);
  if (next.sock === current.sock)
    read.complain(`Both keys would have the socket ${next.sock}: give the next one's with --rotate-sock`);
  if (next.providerName === current.providerName)
    read.complain(
      `Both keys would have the provider ${quote(next.providerName)}: give the next one's with --rotate-name`,
    );
}

interface Rotation {
  readonly keyId: string;
  readonly providerName: string | undefined;
  readonly sock: string | undefined;
  /** Whether the next key is only read with, until every API server can. */
  readonly isReadOnly: boolean;
}

function readRotation(read: SettingsReader): Rotation | undefined {
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

/** A name that can stand in etcd's prefix, a unit's name and a Pod's. */
function readName(read: SettingsReader, flag: string): string | undefined {
  return readMatching(
    read,
    flag,
    /^[a-z0-9_](?:[a-z0-9_.-]{0,62})$/i,
    "may hold letters, digits, - . _ only",
  );
}

function readMatching(
  read: SettingsReader,
  flag: string,
  pattern: RegExp,
  complaint: string,
): string | undefined {
  const given = read.given(flag);
  if (given !== undefined && !pattern.test(given.text))
    read.complain(`Invalid value for ${given.source}: ${quote(given.text)} ${complaint}`);
  return read.text(flag);
}

function readAbsolute(read: SettingsReader, flag: string): string {
  const given = read.path(flag) ?? "";
  if (!path.isAbsolute(given))
    read.complain(`Invalid value for --${flag}: ${quote(given)} is not an absolute path`);
  return given;
}

function readList(text: string): string[] {
  return text
    .split(",")
    .map((one) => one.trim())
    .filter((one) => one !== "");
}

function readServe(read: SettingsReader, stderr: NodeJS.WritableStream): Config {
  const { config, warnings } = parseServeConfig(read, false);
  for (const warning of warnings) stderr.write(`Warning: ${warning}\n`);
  return config;
}

/** Folders that hold other programs' sockets or files: to mount one is to hand the host over. */
const crowded = new Set(
  (
    "/ /bin /dev /etc /home /lib /opt /root /run /sbin /srv /tmp /usr /usr/bin /usr/lib /usr/local " +
    "/usr/local/bin /usr/local/sbin /usr/sbin /var /var/run /var/tmp"
  ).split(" "),
);

function checkMountable(read: SettingsReader, flag: string, file: string): void {
  const folder = path.dirname(file);
  if (file.startsWith("@") || !crowded.has(folder)) return;
  const example = flag === "--sock" ? `, as --sock /run/${programName}/kms.sock` : "";
  read.complain(
    `${flag} ${file} would mount all of ${folder} into the Pod: give it a folder of its own${example}`,
  );
}

/** An image has its own /etc/group, and a Pod's groups are numbers. */
function checkGroupIsNumber(read: SettingsReader): void {
  const group = read.given("sock-group");
  if (group !== undefined && !/^\d+$/.test(group.text))
    read.complain(
      `Invalid value for ${group.source}: a static Pod knows no group ${quote(group.text)} of the host: give its number`,
    );
}

function instanceOf(
  { settings }: Invocation,
  kind: Kind,
  instance: Omit<InstanceOptions, "serveArguments">,
  overrides: { readonly "encryption-key-id"?: string; readonly httpAddr?: ListenAddress | undefined } = {},
): InstanceOptions {
  const { config, sock } = instance;
  const { httpAddr = config?.httpAddr ?? defaultHttpAddr(kind), ...flags } = overrides;
  const files = config === undefined ? {} : materialFiles(config);
  const given = { ...flags, ...files, sock, ...(httpAddr !== undefined && { "http-addr": httpAddr.name }) };
  return {
    ...instance,
    config: config === undefined ? undefined : { ...config, httpAddr },
    serveArguments: serveArguments(settings, given),
  };
}

function nextInstance(
  invocation: Invocation,
  kind: Kind,
  current: InstanceOptions,
  rotation: Rotation,
): InstanceOptions {
  const { keyId } = rotation;
  const suffix = suffixOf(keyId, current.name);
  const instance = {
    config: current.config,
    name: `${programName}-${suffix}`,
    providerName: rotation.providerName ?? `${current.providerName}-${suffix}`,
    sock: absoluteSock(rotation.sock ?? current.sock.replace(/(\.sock)?$/, `-${suffix}$1`)),
  };
  return instanceOf(invocation, kind, instance, {
    "encryption-key-id": keyId,
    httpAddr: nextHttpAddr(current.config?.httpAddr ?? defaultHttpAddr(kind)),
  });
}

/** Tells the next key's names from this one's. Identifiers that grow with time begin alike, and end otherwise. */
function suffixOf(keyId: string, currentName: string): string {
  const letters = keyId.toLowerCase().replaceAll(/[^a-z0-9]/g, "");
  const [first, last] = [letters.slice(0, 8), letters.slice(-8)];
  const suffix = currentName === `${programName}-${first}` ? last : first;
  return suffix === "" ? "next" : suffix;
}

function defaultHttpAddr(kind: Kind): ListenAddress | undefined {
  return kind === "static-pod" ? defaults.httpAddr : undefined;
}

/** Two plugins on one host cannot share a port; 0 is any that is free. */
function nextHttpAddr(address: ListenAddress | undefined): ListenAddress | undefined {
  if (address === undefined || address.port === 0) return address;
  const port = address.port === 65_535 ? address.port - 1 : address.port + 1;
  return { ...address, port, name: address.name.replace(/\d+$/, String(port)) };
}
