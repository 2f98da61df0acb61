/**
 * Keeps a socket's file where it is, by checking it each second: a watch of the file system is lost with the folder
 * that it is set on.
 */
import { toProviderError } from "../../errors.ts";
import type { ProviderError } from "../../errors.ts";
import { type FileIdentity, lookAt, probeListener, socketError } from "./socket-path.ts";

/** Time between two checks of the socket's file, in ms: a file that is deleted is back within two of them. */
const checkIntervalMs = 1000;
/**
 * How many checks in a row must find no listener at a path that another process took over, before it is taken back:
 * more than that process needs to make its own file again.
 */
const checksBeforeTakingBack = 5;

/** What the watch of a socket's file reports; unix-socket.ts explains each. */
export type WatchEvent =
  | { readonly type: "rebound" | "taken-over" | "taken-back" | "recovered" }
  | { readonly type: "failed"; readonly error: ProviderError };

/** How a file is watched. */
export interface WatchOptions {
  readonly path: string;
  readonly isOurs: (identity: FileIdentity) => boolean;
  /** Makes the file again. */
  readonly rebind: () => Promise<void>;
  readonly onEvent: (event: WatchEvent) => void;
}

/** Where a client that connects to the path gets: to this process, nowhere, or to another process. */
export type SocketReach = "listening" | "missing" | "taken over";

/** A check that runs each second. */
export interface FileWatch {
  /** As the last check found it. */
  readonly reach: SocketReach;
  stop(): Promise<void>;
}

/** Watches the file, and makes it again when it is gone. */
export function watchFile({ path, isOurs, rebind, onEvent }: WatchOptions): FileWatch {
  let isTakenOver = false;
  let checksWithoutListener = 0;

  async function check(isStopped: () => boolean): Promise<void> {
    const found = await lookAt(path);
    if (found.kind === "socket" && isOurs(found.identity)) return;
    if (found.kind === "socket" && (await probeListener(path)) !== "refused") {
      checksWithoutListener = 0;
      if (!isTakenOver) onEvent({ type: "taken-over" });
      isTakenOver = true;
      return;
    }
    if (found.kind === "other" || found.kind === "folder")
      throw socketError(`${path} is there and is not a socket: remove it`);
    checksWithoutListener += 1;
    if (isStopped() || (isTakenOver && checksWithoutListener < checksBeforeTakingBack)) return;
    await rebind();
    onEvent({ type: isTakenOver ? "taken-back" : "rebound" });
    isTakenOver = false;
    checksWithoutListener = 0;
  }
  return checkRegularly(check, onEvent, () => isTakenOver);
}

/**
 * Runs a check each second, and reports each failure that it throws once.
 * @param isTakenOver what the check has found. Default: never.
 */
export function checkRegularly(
  check: (isStopped: () => boolean) => Promise<void>,
  onEvent: WatchOptions["onEvent"],
  isTakenOver = (): boolean => false,
): FileWatch {
  let reported: string | undefined;
  let running: Promise<void> | undefined;
  let isStopped = false;

  async function run(): Promise<void> {
    try {
      await check(() => isStopped);
      if (reported !== undefined) onEvent({ type: "recovered" });
      reported = undefined;
    } catch (caught) {
      const error = toProviderError(caught);
      if (error.message !== reported) onEvent({ type: "failed", error });
      reported = error.message;
    } finally {
      running = undefined;
    }
  }

  const timer = setInterval(() => {
    running ??= run();
  }, checkIntervalMs).unref();

  return {
    get reach() {
      if (reported !== undefined) return "missing";
      return isTakenOver() ? "taken over" : "listening";
    },
    async stop() {
      isStopped = true;
      clearInterval(timer);
      await running;
    },
  };
}
