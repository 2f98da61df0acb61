/** The socket's path: whether serve could listen there, by the same rules. Changes nothing. */
import path from "node:path";
import type { Config } from "../../config/config.ts";
import { toProviderError } from "../../errors.ts";
import {
  checkPathLength,
  decideSocketPath,
  occupiedError,
  probeListener,
  SocketPathError,
  type SocketState,
} from "../../server/socket/socket-path.ts";
import { failed, ok, warning, type Finding } from "./finding.ts";

const name = "socket";

/** What of the settings is about the socket, and whether systemd makes it. */
export type SocketSettings = Pick<Config, "sock" | "sockGroup" | "replace" | "sockInsecureDir"> & {
  readonly isUnit: boolean;
};

/** Checks the path and the group. */
export async function checkSocket(config: SocketSettings): Promise<Finding> {
  const { sock, sockGroup: group, sockInsecureDir: insecureDir, isUnit } = config;
  try {
    if (sock.startsWith("@")) {
      checkPathLength(sock);
      return await checkAbstract(sock);
    }
    const file = path.resolve(sock);
    const { state } = await decideSocketPath({ path: file, group, insecureDir, isUnit });
    // A unit's socket exists before its process does.
    if (isUnit) return ok(name, "systemd creates it");
    return describe(file, state, config.replace);
  } catch (error) {
    if (error instanceof SocketPathError) return failed(name, error.what, error.advice);
    return failed(
      name,
      toProviderError(error).message,
      "compare --sock and --sock-group with the host's files",
    );
  }
}

function describe(file: string, state: SocketState, replace: boolean): Finding {
  if (state === "free") return ok(name, `${file} can be created`);
  if (state === "stale")
    return ok(name, `${file} is left from a process that has ended, and will be replaced`);
  if (replace) return ok(name, `a process listens on ${file}; serve replaces it (--replace)`);
  const { what, advice } = occupiedError(file, state);
  if (state === "unknown") return failed(name, what, advice);
  return warning(
    name,
    `a process listens on ${file}`,
    "if it is this plugin, `probe` reports its state; to start a second one, stop it or use --replace",
  );
}

async function checkAbstract(sock: string): Promise<Finding> {
  if ((await probeListener(`\0${sock.slice(1)}`)) === "listening") {
    const advice = "if it is this plugin, `probe` reports its state; else stop it";
    return warning(name, `a process listens on ${sock}`, advice);
  }
  return warning(
    name,
    `${sock} is free; an abstract socket has no permissions: any local process of this network may decrypt`,
    "use a path, unless only trusted processes share this network namespace, and kube-apiserver is 1.32 or later",
  );
}
