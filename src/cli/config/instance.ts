/** One plugin process of what `config` makes, put together from its settings. */
import type { ListenAddress } from "../../net/address.ts";
import type { Invocation } from "../command.ts";
import { defaults, runsPod, type Kind } from "./kinds.ts";
import { materialFiles, serveArguments, stateFolder, type InstanceOptions } from "./output.ts";

/** An instance with the arguments of serve that make it; `overrides` take the place of what was given. */
export function instanceOf(
  { settings }: Pick<Invocation, "settings">,
  kind: Kind,
  instance: Omit<InstanceOptions, "serveArguments">,
  overrides: { readonly "encryption-key-id"?: string; readonly httpAddr?: ListenAddress | undefined } = {},
): InstanceOptions {
  const { config, sock } = instance;
  const { httpAddr = config?.httpAddr ?? defaultHttpAddr(kind), ...flags } = overrides;
  const files = config === undefined ? {} : { ...materialFiles(config), ...stateFolder(config) };
  const given = { ...flags, ...files, sock, ...(httpAddr !== undefined && { "http-addr": httpAddr.name }) };
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
