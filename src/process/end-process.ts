/** The end of the process, even where a file system hangs. */
import { setTimeout as sleep } from "node:timers/promises";

/** How long reads of files that are under way may take, in ms. */
const maxReadMs = 500;
const checkIntervalMs = 10;

/**
 * Ends the process with `code`. Node's own end waits for the threads that read files, and they wait for the file
 * system: where one hangs, as on a lost network mount, only SIGKILL ends them, and the code is lost.
 */
export async function endProcess(code: number): Promise<void> {
  const limit = performance.now() + maxReadMs;
  while (isReading() && performance.now() < limit) await sleep(checkIntervalMs);
  if (isReading()) process.kill(process.pid, "SIGKILL");
  process.exit(code);
}

function isReading(): boolean {
  return process.getActiveResourcesInfo().includes("FSReqPromise");
}
