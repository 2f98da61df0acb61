/** From flags to sources: what is to be read, checked as far as it can be without reading it, and then opened. */
import { existsSync } from "node:fs";
import { createSecureContext, type SecureContext } from "node:tls";
import { ProviderError } from "../../errors.ts";
import type { Source } from "../../etcd/source.ts";
import { readPemFile } from "../../net/pem.ts";
import { loadTlsMaterial, secureContextOf, minVersion } from "../../net/tls.ts";
import type { SettingsReader } from "../../config/settings.ts";
import { quote } from "../../text/quote.ts";
import { listOf, liveFlags } from "./flags.ts";

/** A running etcd. */
export interface LiveSettings {
  /** Base URLs. */
  readonly endpoints: readonly string[];
  readonly cacert: string | undefined;
  /** Both or neither. */
  readonly cert: string | undefined;
  readonly key: string | undefined;
}

/** Where `audit` and `recover` read and write. */
export interface SourceIo {
  readonly stdin: NodeJS.ReadableStream;
  readonly stdout: NodeJS.WritableStream;
  readonly stderr: NodeJS.WritableStream & { readonly isTTY?: boolean };
}

/** What is to be read. */
export interface SourceSettings {
  readonly prefix: string;
  readonly live: LiveSettings | undefined;
  readonly snapshots: readonly string[];
  readonly skipHashCheck: boolean;
  readonly kine: readonly string[];
  readonly value: { readonly file: string; readonly key: string } | undefined;
  readonly stdin: boolean;
}

/**
 * Reads the flags of `liveFlags`. Complains where they cannot be right.
 * @param keyFile what `--key` names; `audit` has another use for that flag too
 * @returns undefined where there are no endpoints
 */
export function parseLive(read: SettingsReader, keyFile: string | undefined): LiveSettings | undefined {
  const [cacert, cert] = [read.path("cacert"), read.path("cert")];
  const given = read.given("endpoints");
  if (given === undefined) return undefined;
  if ((cert === undefined) !== (keyFile === undefined))
    read.complain("Flag conflict: --cert and --key of etcd belong together: give both or neither");
  const isTls = cacert !== undefined || cert !== undefined;
  const endpoints = listOf(given.text).map((endpoint) => {
    const url = baseUrl(endpoint, isTls);
    if (url === undefined)
      read.complain(`Invalid value for ${given.source}: ${quote(endpoint)} is not https://host:port`);
    return url ?? "";
  });
  return { endpoints, cacert, cert, key: keyFile };
}

/** As etcdctl: an endpoint without a scheme is one of TLS where there is anything to verify it with. */
function baseUrl(endpoint: string, isTls: boolean): string | undefined {
  const text = /^[a-z]+:\/\//i.test(endpoint) ? endpoint : `${isTls ? "https" : "http"}://${endpoint}`;
  const url = URL.parse(text);
  const isBare =
    url !== null && (url.pathname === "/" || url.pathname === "") && url.search === "" && url.hash === "";
  if (!isBare || !["http:", "https:"].includes(url.protocol) || url.username !== "") return undefined;
  return url.origin;
}

/**
 * Reads the flags of `sourceFlags`. Complains where there is no source. Endpoints of the environment count only where
 * the command line names no other source.
 * @param keyFile see {@link parseLive}
 */
export function parseSources(
  read: SettingsReader,
  words: readonly string[],
  keyFile: string | undefined,
): SourceSettings {
  for (const word of words)
    if (word !== "-") read.complain(`Unexpected argument ${quote(word)}: only - for standard input is taken`);
  const files = { snapshots: listOf(read.path("snapshot")), kine: listOf(read.path("kine")) };
  const value = parseValue(read);
  const stdin = words.includes("-");
  const hasFiles = files.snapshots.length + files.kine.length > 0 || value !== undefined || stdin;
  const isAsked = read.given("endpoints")?.source.startsWith("--") === true;
  const live = hasFiles && !isAsked ? undefined : parseLive(read, keyFile);
  if (!hasFiles && live === undefined)
    read.complain("Missing source: give --endpoints, --snapshot, --kine, --value, or - for standard input");
  return {
    prefix: read.text("etcd-prefix") ?? liveFlags["etcd-prefix"].default,
    live,
    ...files,
    skipHashCheck: read.boolean("skip-hash-check"),
    value,
    stdin,
  };
}

function parseValue(read: SettingsReader): SourceSettings["value"] {
  const [file, key] = [read.path("value"), read.text("key-path")];
  if (file === undefined) {
    if (key !== undefined)
      read.complain("Flag conflict: --key-path names the key of --value, which is missing");
    return undefined;
  }
  if (key === undefined)
    read.complain("Missing required flag --key-path: the key of --value in etcd, which its tag protects");
  return { file, key: key ?? "" };
}

/**
 * The sources, the live one first. Nothing but the PEM files is read yet. What reads each kind is loaded for it only.
 * @param stdin read where the settings ask for it
 * @throws TLS_FILES
 */
export async function openSources(settings: SourceSettings, stdin: NodeJS.ReadableStream): Promise<Source[]> {
  const { prefix, live, snapshots, skipHashCheck, kine, value } = settings;
  const sources: Source[] = live === undefined ? [] : [await openLive(live, prefix)];
  if (snapshots.length > 0) {
    const { createSnapshotSource } = await import("../../etcd/snapshot.ts");
    sources.push(...snapshots.map((file) => createSnapshotSource({ file, prefix, skipHashCheck })));
  }
  if (kine.length > 0) {
    const { createKineSource } = await import("../../etcd/kine.ts");
    sources.push(...kine.map((file) => createKineSource({ file, prefix })));
  }
  if (value === undefined && !settings.stdin) return sources;
  const { createEtcdctlSource, createValueSource } = await import("../../etcd/values.ts");
  if (value !== undefined) sources.push(createValueSource(value.file, value.key));
  if (settings.stdin) sources.push(createEtcdctlSource(stdin, prefix));
  return sources;
}

/** A running etcd as a source. @throws TLS_FILES */
export async function openLive(live: LiveSettings, prefix: string): Promise<Source> {
  const missing = [live.cacert, live.cert, live.key].filter(
    (file) => file !== undefined && !existsSync(file),
  );
  if (missing.length > 0)
    throw new ProviderError("TLS_FILES", missing.map((file) => `${file}: there is no such file`).join("; "));
  const { createLiveSource } = await import("../../etcd/live.ts");
  return createLiveSource({ endpoints: live.endpoints, secureContext: await contextOf(live), prefix });
}

async function contextOf({ cacert, cert, key }: LiveSettings): Promise<SecureContext | undefined> {
  if (cert !== undefined && key !== undefined)
    return secureContextOf(await loadTlsMaterial({ cert, key, ca: cacert }));
  if (cacert === undefined) return undefined;
  const ca = await readPemFile(cacert);
  try {
    return createSecureContext({ ca, minVersion });
  } catch (error) {
    throw new ProviderError("TLS_FILES", `${cacert}: cannot be used`, { cause: error });
  }
}
