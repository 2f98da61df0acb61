/** What the generators of `config` share: files to install, and the arguments of serve that go into them. */
import path from "node:path";
import { Document } from "yaml";
import type { Config } from "../../config/config.ts";
import type { Settings } from "../../config/settings.ts";
import type { ListenAddress } from "../../net/address.ts";
import type { Invocation } from "../command.ts";
import { serveFlags } from "../serve-flags.ts";
import { defaults, type Kind, runsPod } from "./kinds.ts";

/** A file to install. */
export interface OutputFile {
  /** Where it belongs. */
  readonly path: string;
  /** Its content, without the line that names the path. */
  readonly text: string;
}

/** A YAML file. @param comment stands at its head, each line with a space in front */
export function yamlFile(file: string, comment: string, content: object): OutputFile {
  const document = new Document(content, { aliasDuplicateObjects: false });
  document.commentBefore = comment;
  return { path: file, text: document.toString({ lineWidth: 0 }) };
}

/** One plugin process: the running one, or in a rotation by key id the one with the next key. */
export interface Instance {
  /** Of its unit or Pod. */
  readonly name: string;
  /** In the EncryptionConfiguration, and so in etcd, for ever. */
  readonly providerName: string;
  /** Absolute path, or `@name`. */
  readonly sock: string;
  /** What serve is given, as `--flag=value`. */
  readonly serveArguments: readonly string[];
  readonly config: Config;
}

/** A plugin process, whose `config` and arguments only units and Pods need. */
export type InstanceOptions = Omit<Instance, "config"> & { readonly config: Config | undefined };

/** An instance with the arguments of serve that make it; `overrides` take the place of what was given. */
export function instanceOf(
  { settings }: Pick<Invocation, "settings">,
  kind: Kind,
  instance: Omit<InstanceOptions, "serveArguments">,
  overrides: { readonly "encryption-key-id"?: string; readonly httpAddr?: ListenAddress | undefined } = {},
): InstanceOptions {
  const { config, sock } = instance;
  const { httpAddr = config?.httpAddr ?? defaultHttpAddr(kind), ...flags } = overrides;
  const state = config && stateFolder(config);
  const given = {
    ...flags,
    ...(config && materialFiles(config)),
    ...(state !== undefined && { "state-dir": state }),
    ...(httpAddr !== undefined && { "http-addr": httpAddr.name }),
    sock,
  };
  return {
    ...instance,
    config: config === undefined ? undefined : { ...config, httpAddr },
    serveArguments: serveArguments(settings, given),
  };
}

/** A Pod's liveness is asked for over HTTP: there has to be something to ask. */
export function defaultHttpAddr(kind: Kind): ListenAddress | undefined {
  return runsPod(kind) ? defaults.httpAddr : undefined;
}

/**
 * What serve must be given to run as the settings say. Flags that came from the environment are written out, for
 * a unit has not this environment.
 * @param overrides what takes the place of a setting, as a path that has been made absolute
 */
function serveArguments(settings: Settings, overrides: Readonly<Record<string, string>>): string[] {
  return Object.entries(serveFlags).flatMap(([name, { type }]) => {
    const text = overrides[name] ?? settings[name]?.text;
    if (text === undefined) return [];
    if (type === "boolean") return text === "true" ? [`--${name}`] : [`--${name}=${text}`];
    return [`--${name}=${text}`];
  });
}

/** The files that the plugin reads, by their flags, with absolute paths: a unit has not this folder. */
export function materialFiles(config: Config): Record<string, string> {
  const files = {
    "client-cert": config.clientCert,
    "client-key": config.clientKey,
    "client-key-password-file": config.clientKeyPasswordFile,
    ca: config.ca,
    "kmip-password-file": config.kmipPasswordFile,
  };
  const given = Object.entries(files).flatMap(([flag, file]) =>
    file === undefined ? [] : [[flag, path.resolve(file)] as const],
  );
  return Object.fromEntries(given);
}

/** The folder that it writes to, as an absolute path; undefined: none. */
export function stateFolder({ stateDir }: Config): string | undefined {
  return stateDir === undefined ? undefined : path.resolve(stateDir);
}

/** The folders of {@link materialFiles}, each once. */
export function materialFolders(config: Config): string[] {
  return [...new Set(Object.values(materialFiles(config)).map((file) => path.dirname(file)))].toSorted();
}

/**
 * Options of Node.js for a process that nobody watches: a young generation of 2 MiB instead of 16 bounds the
 * memory after a load to about 60 % of the default's, at the same speed (`npm run bench -- process`). And SIGUSR1 opens
 * no debugger, not even before the program has begun. The single executable has them inside.
 */
export const nodeOptions = ["--max-semi-space-size=2", "--disable-sigusr1"] as const;
