/** The end of the process, whatever hangs. */
import { setTimeout as sleep } from "node:timers/promises";

/** How long files that are being read have to come to an end, in ms. */
const longestReadMs = 500;
const lookEveryMs = 10;

/**
 * Ends the process with `code`. Node's own end waits for the threads that read files, and they wait for the file
 * system: where one hangs, as on a lost network mount, only SIGKILL ends them, and the code is lost.
 */
export async function endProcess(code: number): Promise<void> {
  const limit = performance.now() + longestReadMs;
  while (isReading() && performance.now() < limit) await sleep(lookEveryMs);
  if (isReading()) process.kill(process.pid, "SIGKILL");
  process.exit(code);
}

function isReading(): boolean {
  return process.getActiveResourcesInfo().includes("FSReqPromise");
}
