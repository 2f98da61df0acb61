/**
 * What the program runs with: flags over environment over defaults, checked as a whole, then frozen.
 * Files are not looked at here: a bad certificate does not keep the program from starting.
 */
import { parseKmipAddresses, parseListenAddress, parseRestUrls } from "../net/addresses.ts";
import type { KeySelector } from "../encryptors/encryptor.ts";
import { maxKeyIdBytes } from "../encryptors/limits.ts";
import { logLevels, type LogLevel } from "../log/levels.ts";
import { quote } from "../text/quote.ts";
import { formatDuration } from "./settings.ts";
import type { Setting, SettingsReader } from "./settings.ts";
import { parseUuid } from "../text/uuid.ts";

/** The configuration of `serve`, and of `check`. */
export interface Config {
  readonly protocol: "kmip" | "rest";
  /** In order of preference, at least one: `host:port` for kmip, a base URL for rest. */
  readonly servers: readonly string[];
  /** Path, or `@name` for an abstract socket. */
  readonly sock: string;
  /** Permission bits of the socket file. Default 0o660. */
  readonly sockMode: number;
  /** Group of the socket file, by name or number; undefined: the process's own. */
  readonly sockGroup: string | undefined;
  /** Take the path over from a process that still answers on it. Default false. */
  readonly replace: boolean;
  /** Longest time that a call may take, in ms; a caller's shorter deadline wins. Default 10 000. */
  readonly timeoutMs: number;
  readonly key: KeySelector;
  /** OKMS domain (UUID); rest only. */
  readonly okmsId: string | undefined;
  readonly clientCert: string;
  readonly clientKey: string;
  /** PEM bundle; undefined: the system's roots. */
  readonly ca: string | undefined;
  readonly logLevel: LogLevel;
  readonly logFormat: "text" | "json";
  /** `host:port` of the HTTP endpoint for metrics and health; undefined: none. */
  readonly httpAddr: string | undefined;
  /** Time between two probes when well, in ms. Default 15 000. */
  readonly probeIntervalMs: number;
  /** For how long after the last good probe Status still says ok in passing trouble, in ms. Default 120 000. */
  readonly statusGraceMs: number;
  /** Most connections of the KMIP pool. Default 8. */
  readonly kmipConnections: number;
  /** Most calls inside at once; the rest get ResourceExhausted. Default 512. */
  readonly maxInflight: number;
  /** Allow `http://` to loopback for rest. Tests only. Default false. */
  readonly insecureHttp: boolean;
}

/** A configuration, and what is odd about it but keeps nothing from working. */
export interface ParsedConfig {
  readonly config: Config;
  /** One sentence each, for the log. */
  readonly warnings: readonly string[];
}

/** Where the plugin listens unless told otherwise: the Go original's path. */
export const defaultSock = "/var/run/okms_etcd_plugin.sock";

const minuteMs = 60_000;
/** Longest time of a call, whatever --timeout says. */
const longestTimeoutMs = 10 * minuteMs;
const hourMs = 60 * minuteMs;

/**
 * Makes the configuration of `serve` (and `check`, and `config`) of the settings given.
 * @param read the settings, by the names of the flags
 * @param isTerminal whether the log goes to a terminal: the default log format follows from it
 * @throws ConfigError with everything that is wrong, complaints that `read` already holds included
 */
export function parseServeConfig(read: SettingsReader, isTerminal: boolean): ParsedConfig {
  const protocol = readProtocol(read);
  const insecureHttp = read.boolean("insecure-http");
  const asked: Config = {
    protocol: protocol ?? "kmip",
    servers: readServers(read, protocol, insecureHttp),
    sock: plainSock(read.path("sock") ?? defaultSock),
    sockMode: readSockMode(read),
    sockGroup: readSockGroup(read),
    replace: read.boolean("replace"),
    timeoutMs: read.durationMs("timeout", { min: 1, max: 1000 * hourMs }, 10_000),
    key: readKey(read, protocol),
    okmsId: readOkmsId(read, protocol),
    clientCert: requirePath(read, "client-cert"),
    clientKey: requirePath(read, "client-key"),
    ca: read.path("ca"),
    logLevel: readLogLevel(read),
    logFormat: read.oneOf("log-format", ["text", "json"]) ?? (isTerminal ? "text" : "json"),
    httpAddr: readHttpAddr(read),
    probeIntervalMs: read.durationMs("probe-interval", { min: 100, max: hourMs }, 15_000),
    statusGraceMs: read.durationMs("status-grace", { min: 0, max: 24 * hourMs }, 2 * minuteMs),
    kmipConnections: read.integer("kmip-connections", { min: 1, max: 128 }, 8),
    maxInflight: read.integer("max-inflight", { min: 1, max: 65_536 }, 512),
    insecureHttp,
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
  insecureHttp: boolean,
): readonly string[] {
  const given = read.given("serv-addr");
  if (given === undefined) {
    const form = { kmip: "host:5696", rest: "https://host" };
    const forms = protocol === undefined ? `${form.kmip} for kmip, ${form.rest} for rest` : form[protocol];
    read.complain(`Missing required flag --serv-addr: the address of the KMS, ${forms}`);
  }
  if (given === undefined || protocol === undefined) return [];
  const addresses =
    protocol === "kmip" ? parseKmipAddresses(given.text) : parseRestUrls(given.text, insecureHttp);
  if ("servers" in addresses) return addresses.servers;
  read.complain(`Invalid value for ${given.source}: ${addresses.complaint}`);
  return [];
}

/** A path, or `@name`: kube-apiserver's way to write it, `unix:///path`, is a likely slip and has one meaning only. */
export function plainSock(text: string): string {
  return text.replace(/^unix:\/\/(?:\/(?=@))?/, "");
}

function readSockMode(read: SettingsReader): number {
  const given = read.given("sock-mode");
  if (given === undefined) return 0o660;
  if (/^0?o?[0-7]{3}$/.test(given.text)) return Number.parseInt(given.text.replace("o", ""), 8);
  read.complain(`Invalid value for ${given.source}: ${quote(given.text)} is not an octal mode such as 0660`);
  return 0o660;
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
  if (protocol !== "rest") return undefined;
  if (given === undefined)
    read.complain("Missing required flag --okms-id: the UUID of the OKMS domain, with --protocol rest");
  const parsed = parseUuid(given?.text ?? "");
  if (given !== undefined && parsed === undefined)
    read.complain(`Invalid value for ${given.source}: ${quote(given.text)} is not a UUID`);
  return parsed;
}

function requirePath(read: SettingsReader, flag: "client-cert" | "client-key"): string {
  const file = read.path(flag);
  if (file === undefined) read.complain(`Missing required flag --${flag}: a PEM file for mutual TLS`);
  return file ?? "";
}

/** The more talkative of the two flags: `--debug` on a command line must not lose to a level in a unit file. */
function readLogLevel(read: SettingsReader): LogLevel {
  const level = read.oneOf("log-level", logLevels) ?? "info";
  return read.boolean("debug") && level !== "trace" ? "debug" : level;
}

function readHttpAddr(read: SettingsReader): string | undefined {
  const given = read.given("http-addr");
  if (given === undefined) return undefined;
  const address = parseListenAddress(given.text);
  if (address === undefined)
    read.complain(
      `Invalid value for ${given.source}: ${quote(given.text)} is not host:port, as 127.0.0.1:8088`,
    );
  return address === undefined ? undefined : `${address.host}:${address.port}`;
}

function warningsOf(config: Config, read: SettingsReader): string[] {
  const warnings: string[] = [];
  const ignored = config.protocol === "kmip" ? ["okms-id", "insecure-http"] : ["kmip-connections"];
  for (const flag of ignored) {
    const given = read.given(flag);
    if (given !== undefined)
      warnings.push(`${given.source} has no effect with --protocol ${config.protocol}`);
  }
  if ((config.sockMode & 0o002) !== 0)
    warnings.push("--sock-mode lets every user of this host decrypt: leave out the last digit's write bit");
  if (config.insecureHttp && config.servers.some((server) => server.startsWith("http:")))
    warnings.push("--insecure-http: keys and values travel in the clear; for tests only");
  if (config.timeoutMs < 1_000)
    warnings.push(
      `--timeout ${formatDuration(config.timeoutMs)} leaves little time for a connection to be made`,
    );
  return warnings;
}
