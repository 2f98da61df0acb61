/**
 * What the program runs with: flags over environment over defaults, checked as a whole, then frozen.
 * Files are not read here: a bad certificate does not keep the program from starting.
 */
import {
  isRestAddress,
  type ListenAddress,
  parseKmipAddresses,
  parseListenAddress,
  parseRestAddresses,
  parseServerName,
  type Parsed,
  type RestAddress,
  type ServerAddress,
} from "../net/address.ts";
import type { KeySelector } from "../encryptors/encryptor.ts";
import { maxKeyIdBytes } from "../encryptors/limits.ts";
import { logLevels, type LogLevel } from "../log/levels.ts";
import { type ProxyEnvironment, proxyFor } from "../net/proxy.ts";
import type { TlsFiles } from "../net/tls.ts";
import { quote } from "../text/quote.ts";
import { formatDuration, type Setting, type SettingsReader } from "./settings.ts";
import { parseUuid } from "../text/uuid.ts";

/** The configuration of `serve`, and of `check`. */
export interface Config {
  readonly protocol: "kmip" | "rest";
  /** In order of preference, at least one; with rest each is a RestAddress. */
  readonly servers: readonly ServerAddress[];
  /** Path, or `@name` for an abstract socket. */
  readonly sock: string;
  /** Permission bits of the socket file. */
  readonly sockMode: number;
  /** Group of the socket file, by name or number; undefined: the process's own. */
  readonly sockGroup: string | undefined;
  /** Take the path over from a process that still answers on it. */
  readonly replace: boolean;
  /** Accept a folder of the socket that others may write to. */
  readonly sockInsecureDir: boolean;
  /** Longest time that a call may take, in ms; a caller's shorter deadline wins. */
  readonly timeoutMs: number;
  readonly key: KeySelector;
  /** OKMS domain (UUID); rest only. */
  readonly okmsId: string | undefined;
  /** Path of the PEM file, or of a PKCS #12 file. */
  readonly clientCert: string;
  /** Path of the PEM file; the path of the certificate where a PKCS #12 file holds both. */
  readonly clientKey: string;
  /** File with the password of an encrypted private key, or of a PKCS #12 file. */
  readonly clientKeyPasswordFile: string | undefined;
  /** PEM bundle; undefined: the system's roots. */
  readonly ca: string | undefined;
  /** User name for KMIP's Credential; undefined: none is sent. kmip only. */
  readonly kmipUsername: string | undefined;
  /** File with its password; given wherever `kmipUsername` is. */
  readonly kmipPasswordFile: string | undefined;
  readonly logLevel: LogLevel;
  readonly logFormat: "text" | "json";
  /** The HTTP endpoint for metrics and health; undefined: none. */
  readonly httpAddr: ListenAddress | undefined;
  /** Time between two probes while the key is healthy, in ms. */
  readonly probeIntervalMs: number;
  /** Time between two probes that also encrypt and decrypt, in ms. */
  readonly deepProbeIntervalMs: number;
  /** For how long after the last successful probe Status still says ok in a transient failure, in ms. */
  readonly statusGraceMs: number;
  /** Folder for what a later start compares the key with; undefined: memory only. */
  readonly stateDir: string | undefined;
  /** Most connections to each KMIP server. */
  readonly kmipConnections: number;
  /** Most calls in flight; the rest get ResourceExhausted. */
  readonly maxInflight: number;
}

/** A configuration, and warnings about what is unusual in it. */
export interface ParsedConfig {
  readonly config: Config;
  /** One sentence each, for the log. */
  readonly warnings: readonly string[];
}

const minuteMs = 60_000;
/** Longest time of a call, whatever --timeout says. */
const longestTimeoutMs = 10 * minuteMs;
const hourMs = 60 * minuteMs;

/**
 * Makes the configuration of `serve` (and `check`, and `config`) of the settings given.
 * @param read the settings, by the names of the flags
 * @param isTerminal whether the log goes to a terminal: the default log format follows from it
 * @param env where the variables of proxies (HTTPS_PROXY, NO_PROXY) are read. Default: none is used
 * @throws ConfigError with everything that is wrong, complaints that `read` already holds included
 */
export function parseServeConfig(
  read: SettingsReader,
  isTerminal: boolean,
  env: ProxyEnvironment = {},
): ParsedConfig {
  const protocol = readProtocol(read);
  const asked: Config = {
    protocol: protocol ?? "kmip",
    servers: readServers(read, protocol, env),
    sock: readSock(read),
    sockMode: readSockMode(read),
    sockGroup: readSockGroup(read),
    replace: read.boolean("replace"),
    sockInsecureDir: read.boolean("sock-insecure-dir"),
    timeoutMs: read.durationMs("timeout", { min: 1, max: 1000 * hourMs }),
    key: readKey(read, protocol),
    okmsId: readOkmsId(read, protocol),
    ...readClientFiles(read),
    clientKeyPasswordFile: read.path("client-key-password-file"),
    ca: read.path("ca"),
    ...readCredential(read, protocol),
    logLevel: readLogLevel(read),
    logFormat: read.oneOf("log-format", ["text", "json"]) ?? (isTerminal ? "text" : "json"),
    httpAddr: readParsed(read, "http-addr", parseListenAddress),
    probeIntervalMs: read.durationMs("probe-interval", { min: 100, max: hourMs }),
    deepProbeIntervalMs: read.durationMs("deep-probe-interval", { min: 100, max: 24 * hourMs }),
    statusGraceMs: read.durationMs("status-grace", { min: 0, max: 24 * hourMs }),
    stateDir: read.path("state-dir"),
    kmipConnections: read.integer("kmip-connections", { min: 1, max: 128 }),
    maxInflight: read.integer("max-inflight", { min: 1, max: 65_536 }),
  };
  read.finish();
  const config: Config = { ...asked, timeoutMs: Math.min(asked.timeoutMs, longestTimeoutMs) };
  Object.freeze(config.servers);
  Object.freeze(config.key);
  const warnings = warningsOf(config, read);
  if (asked.timeoutMs > longestTimeoutMs)
    warnings.push(
      `--timeout ${formatDuration(asked.timeoutMs)} is more than a call can need: it is taken as ${formatDuration(longestTimeoutMs)}`,
    );
  return { config: Object.freeze(config), warnings };
}

function readProtocol(read: SettingsReader): Config["protocol"] | undefined {
  if (read.given("protocol") === undefined)
    read.complain("Missing required flag --protocol: must be one of: rest, kmip");
  return read.oneOf("protocol", ["rest", "kmip"]);
}

function readServers(
  read: SettingsReader,
  protocol: Config["protocol"] | undefined,
  env: ProxyEnvironment,
): readonly ServerAddress[] {
  if (read.given("serv-addr") === undefined) {
    const form = { kmip: "host:5696", rest: "https://host" };
    const forms = protocol === undefined ? `${form.kmip} for kmip, ${form.rest} for rest` : form[protocol];
    read.complain(`Missing required flag --serv-addr: the address of the KMS, ${forms}`);
  }
  const serverName = readParsed(read, "serv-name", parseServerName);
  if (protocol === undefined) return [];
  const parse = protocol === "kmip" ? parseKmipAddresses : parseRestAddresses;
  const options = { insecureHttp: read.boolean("insecure-http"), serverName };
  const servers = readParsed<readonly ServerAddress[]>(read, "serv-addr", (text) => parse(text, options));
  return (servers ?? []).map((server) => withProxy(read, server, env));
}

/** What `parse` makes of a flag; undefined where it was not given, or is wrong, which adds a complaint. */
function readParsed<T>(
  read: SettingsReader,
  flag: string,
  parse: (text: string) => Parsed<T>,
): T | undefined {
  const given = read.given(flag);
  if (given === undefined) return undefined;
  const parsed = parse(given.text);
  if ("value" in parsed) return parsed.value;
  read.complain(`Invalid value for ${given.source}: ${parsed.complaint}`);
  return undefined;
}

/** KMIP has no proxies. */
function withProxy(read: SettingsReader, server: ServerAddress, env: ProxyEnvironment): ServerAddress {
  if (!isRestAddress(server)) return server;
  const parsed = proxyFor(server, env);
  if ("complaint" in parsed) read.complain(parsed.complaint);
  return { ...server, ...("value" in parsed && { proxy: parsed.value }) } satisfies RestAddress;
}

/** Both or neither. Over REST they have no effect, which is a warning. */
function readCredential(
  read: SettingsReader,
  protocol: Config["protocol"] | undefined,
): Pick<Config, "kmipUsername" | "kmipPasswordFile"> {
  const [username, file] = [read.text("kmip-username"), read.path("kmip-password-file")];
  if (protocol === "rest") return { kmipUsername: undefined, kmipPasswordFile: undefined };
  if (username !== undefined && file === undefined)
    read.complain("--kmip-username needs --kmip-password-file: a file with the password of that user");
  if (username === undefined && file !== undefined)
    read.complain("--kmip-password-file needs --kmip-username: the user whose password it is");
  return { kmipUsername: username, kmipPasswordFile: file };
}

/** Any other scheme, and a path that is not absolute behind `unix:`, would be taken for the name of a folder. */
function readSock(read: SettingsReader): string {
  const text = read.path("sock") ?? "";
  const plain = plainSock(text);
  if (plain === "@" || /^(?:unix(?:-abstract)?:|[a-z][a-z\d+.-]*:\/\/)/i.test(plain)) {
    const source = read.given("sock")?.source ?? "--sock";
    read.complain(
      `Invalid value for ${source}: ${quote(text)} is not a path, as /run/okms/kms.sock, or @ and a name`,
    );
  }
  return plain;
}

/**
 * A path, or `@name`: the ways in which kube-apiserver and gRPC write it, `unix:///path`, `unix:/path` and `unix:///@name`,
 * are likely slips and have one meaning only.
 */
export function plainSock(text: string): string {
  return text.replace(/^unix:(?:\/\/(?:\/(?=@))?|(?=\/))/, "");
}

function readSockMode(read: SettingsReader): number {
  const text = read.text("sock-mode") ?? "";
  if (/^0?o?[0-7]{3}$/.test(text)) return Number.parseInt(text.replace("o", ""), 8);
  const source = read.given("sock-mode")?.source ?? "--sock-mode";
  read.complain(`Invalid value for ${source}: ${quote(text)} is not an octal mode such as 0660`);
  return 0;
}

const maxGroupId = 2 ** 32 - 2;

function readSockGroup(read: SettingsReader): string | undefined {
  const given = read.given("sock-group");
  const isNumber = /^\d+$/.test(given?.text ?? "");
  // chown(2) takes the last number of all for "as it is".
  if (given !== undefined && isNumber && Number(given.text) > maxGroupId)
    read.complain(`Invalid value for ${given.source}: ${quote(given.text)} is more than ${maxGroupId}`);
  else if (given !== undefined && !/^(?:\d{1,10}|[a-z_][a-z0-9_.-]{0,31}\$?)$/i.test(given.text))
    read.complain(`Invalid value for ${given.source}: ${quote(given.text)} is not a group's name or number`);
  return given?.text;
}

function readKey(read: SettingsReader, protocol: Config["protocol"] | undefined): KeySelector {
  const id = read.given("encryption-key-id");
  const label = read.given("encryption-key-label");
  if (id !== undefined && label !== undefined) {
    const sources = [id.source, label.source].filter((source) => !source.startsWith("--"));
    const where = sources.length === 0 ? "" : ` (${sources.join(" and ")} set in the environment)`;
    read.complain(`Flag conflict: use --encryption-key-id or --encryption-key-label, not both${where}`);
  }
  if (id === undefined && label === undefined)
    read.complain("Missing required flag --encryption-key-id or --encryption-key-label: which key to use");
  if (id === undefined) return { label: label?.text ?? "" };
  checkKeyId(read, id, protocol);
  return { id: (protocol === "rest" ? parseUuid(id.text) : undefined) ?? id.text };
}

/** Complains about an identifier that can't be a key's. */
export function checkKeyId(
  read: SettingsReader,
  { text, source }: Setting,
  protocol: Config["protocol"] | undefined,
): void {
  if (protocol === "rest" && parseUuid(text) === undefined)
    read.complain(`Invalid value for ${source}: ${quote(text)} is not a UUID, as the keys of OKMS have`);
  if (Buffer.byteLength(text) > maxKeyIdBytes)
    read.complain(`Invalid value for ${source}: longer than ${maxKeyIdBytes} bytes`);
}

function readOkmsId(read: SettingsReader, protocol: Config["protocol"] | undefined): string | undefined {
  const given = read.given("okms-id");
  if (given === undefined && protocol === "rest")
    read.complain("Missing required flag --okms-id: the UUID of the OKMS domain, with --protocol rest");
  const parsed = parseUuid(given?.text ?? "");
  if (given !== undefined && parsed === undefined)
    read.complain(`Invalid value for ${given.source}: ${quote(given.text)} is not a UUID`);
  return protocol === "rest" ? parsed : undefined;
}

/** A PKCS #12 file holds both: then --client-key may be left out. */
function readClientFiles(read: SettingsReader): Pick<Config, "clientCert" | "clientKey"> {
  const [cert, key] = [read.path("client-cert"), read.path("client-key")];
  if (cert === undefined) read.complain("Missing required flag --client-cert: a PEM file for mutual TLS");
  const isBoth = key === undefined && /\.(?:p12|pfx)$/i.test(cert ?? "");
  if (key === undefined && !isBoth)
    read.complain("Missing required flag --client-key: a PEM file for mutual TLS");
  return { clientCert: cert ?? "", clientKey: key ?? cert ?? "" };
}

/** The files that make up the material of {@link Config}'s connections. */
export function tlsFilesOf(config: Config): TlsFiles {
  return {
    cert: config.clientCert,
    key: config.clientKey,
    keyPassword: config.clientKeyPasswordFile,
    ca: config.ca,
    kmipPassword: config.kmipPasswordFile,
  };
}

/** The more talkative of the two flags: `--debug` on a command line must not lose to a level in a unit file. */
function readLogLevel(read: SettingsReader): LogLevel {
  const level = read.oneOf("log-level", logLevels) ?? "info";
  return read.boolean("debug") && level !== "trace" ? "debug" : level;
}

function warningsOf(config: Config, read: SettingsReader): string[] {
  const warnings: string[] = [];
  const ignored =
    config.protocol === "kmip"
      ? ["okms-id", "insecure-http"]
      : ["kmip-connections", "kmip-username", "kmip-password-file"];
  for (const flag of ignored) {
    const given = read.given(flag);
    if (given !== undefined)
      warnings.push(`${given.source} has no effect with --protocol ${config.protocol}`);
  }
  if ((config.sockMode & 0o002) !== 0)
    warnings.push("--sock-mode lets every user of this host decrypt: leave out the last digit's write bit");
  if (config.sockInsecureDir)
    warnings.push(
      "--sock-insecure-dir: users that may write to the socket's folder can put their own socket in its place",
    );
  if (config.servers.some((server) => isRestAddress(server) && server.origin.startsWith("http:")))
    warnings.push("--insecure-http: keys and values travel in the clear; for tests only");
  if (config.timeoutMs < 1_000)
    warnings.push(
      `--timeout ${formatDuration(config.timeoutMs)} leaves little time for a connection to be made`,
    );
  return warnings;
}
