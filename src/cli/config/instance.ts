/** One plugin process of what `config` makes, put together from its settings. */
import type { Invocation } from "../command.ts";
import { defaults, runsPod } from "./kinds.ts";
import type { Kind } from "./kinds.ts";
import { materialFiles, serveArguments } from "./output.ts";
import type { InstanceOptions } from "./output.ts";

/** An instance with the arguments of serve that make it; `overrides` take the place of what was given. */
export function instanceOf(
  { settings }: Pick<Invocation, "settings">,
  kind: Kind,
  instance: Omit<InstanceOptions, "serveArguments">,
  overrides: Readonly<Record<string, string>> = {},
): InstanceOptions {
  const { config, sock } = instance;
  // A Pod's liveness is asked over HTTP: there has to be something to ask.
  const httpAddr =
    overrides["http-addr"] ?? config?.httpAddr ?? (runsPod(kind) ? defaults.httpAddr : undefined);
  const files = config === undefined ? {} : materialFiles(config);
  const given = { ...overrides, ...files, sock, ...(httpAddr !== undefined && { "http-addr": httpAddr }) };
  return {
    ...instance,
    config: config === undefined ? undefined : { ...config, httpAddr },
    serveArguments: serveArguments(settings, given),
  };
}
