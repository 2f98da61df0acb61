/** The socket's path: whether serve could listen there. Looks and connects, and makes nothing. */
import { constants } from "node:fs";
import { access, stat } from "node:fs/promises";
import { connect } from "node:net";
import path from "node:path";
import type { Config } from "../../config/config.ts";
import { toProviderError } from "../../errors.ts";
import {
  checkPathLength,
  exposedFolder,
  folderOf,
  groupId,
  isErrno,
  lookAt,
  whoAnswers,
} from "../../server/socket/socket-path.ts";
import { failed, ok, warning } from "./finding.ts";
import type { Finding } from "./finding.ts";

const name = "socket";

/** What of the settings is about the socket, and whether systemd makes it. */
export type SocketSettings = Pick<Config, "sock" | "sockGroup" | "replace"> & { readonly isUnit: boolean };

/** Checks the path and the group. */
export async function checkSocket(config: SocketSettings): Promise<Finding> {
  const { sock, sockGroup, isUnit } = config;
  try {
    checkPathLength(sock);
    if (sockGroup !== undefined) await groupId(sockGroup);
  } catch (error) {
    return failed(name, toProviderError(error).message, "compare --sock and --sock-group of serve");
  }
  if (sock.startsWith("@")) return checkAbstract(sock);
  return (await checkFolder(folderOf(path.resolve(sock)), isUnit)) ?? checkFile(config);
}

/** Undefined where the folder, or the nearest one above that exists, will do. */
async function checkFolder(folder: string, isUnit: boolean): Promise<Finding | undefined> {
  try {
    const stats = await stat(folder);
    if (!stats.isDirectory()) return failed(name, `${folder} is not a folder`, "choose another --sock");
    const exposed = await exposedFolder(folder);
    if (exposed !== undefined)
      return failed(
        name,
        `others may write to ${exposed}, and so put their own socket in the place of this one`,
        `run chmod o-w ${exposed}, or choose another --sock`,
      );
    // A unit's socket is there before its process is, made by systemd.
    if (isUnit) return ok(name, "systemd makes it");
    await access(folder, constants.W_OK | constants.X_OK);
    return undefined;
  } catch (error) {
    if (isErrno(error, "ENOENT")) return checkFolder(path.dirname(folder), isUnit);
    return failed(
      name,
      `uid ${process.getuid?.() ?? "unknown"} may not make a file in ${folder}`,
      "choose a folder of its own; where systemd makes the socket (config systemd), run check as root with --user",
    );
  }
}

async function checkFile({ sock, replace }: Pick<Config, "sock" | "replace">): Promise<Finding> {
  const found = await lookAt(sock);
  if (found.kind === "nothing") return ok(name, `${sock} can be made`);
  if (found.kind === "folder") return failed(name, `${sock} is a folder`, "add the name of a file to --sock");
  if (found.kind === "other")
    return failed(name, `${sock} is there and is not a socket`, "remove it, or choose another --sock");
  const answer = await whoAnswers(sock);
  if (answer === "nobody")
    return ok(name, `${sock} is left over from a process that is gone, and will be replaced`);
  if (answer === "unknown" && !replace)
    return failed(
      name,
      `it cannot be told whether somebody answers on ${sock}`,
      "remove the file, or take its place with --replace",
    );
  if (replace) return ok(name, `a process answers on ${sock}; serve takes its place (--replace)`);
  return warning(
    name,
    `a process answers on ${sock}`,
    "if it is this plugin, `probe` asks it how it is; a second serve needs --replace, or it to be stopped",
  );
}

function checkAbstract(sock: string): Promise<Finding> {
  return new Promise((resolve) => {
    const socket = connect({ path: `\0${sock.slice(1)}` });
    socket.once("connect", () => {
      socket.destroy();
      resolve(
        warning(
          name,
          `a process answers on ${sock}`,
          "if it is this plugin, `probe` asks it how it is; else stop it",
        ),
      );
    });
    socket.once("error", () => {
      resolve(
        warning(
          name,
          `${sock} is free; an abstract socket has no permissions: any local process of this network may decrypt`,
          "use a path, unless only trusted processes share this network namespace",
        ),
      );
    });
  });
}
