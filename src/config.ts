/**
 * What the program runs with: flags over environment over defaults, checked as a whole, then frozen.
 */
import type { KeySelector } from "./encryptors/encryptor.ts";

/** Log level, least first. */
export const logLevels = ["error", "warn", "info", "debug", "trace"] as const;
export type LogLevel = (typeof logLevels)[number];

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
