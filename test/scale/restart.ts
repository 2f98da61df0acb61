/** All API servers are ended, then started at once: what each of them, and its plugin, needs until /readyz. */
import { residentBytes } from "../bench/processes.ts";
import { type ControlPlanes, untilReady } from "./control-planes.ts";
import type { Look, Work } from "./work.ts";

/** How it went on one host. */
export interface ServerRestart {
  readonly name: string;
  readonly readySeconds: number;
  /** Of the plugin, from the start of all servers until the last was ready. */
  readonly plugin: Work;
  /** Of kube-apiserver, once all are ready. */
  readonly apiServerBytes: number;
}

/** See the file's head. */
export interface Restart {
  readonly stopSeconds: number;
  readonly servers: readonly ServerRestart[];
}

/** Does it. @param whileStopped done while no API server runs. @returns what was seen, and the looks after it */
export async function restartAll(
  { all, look }: ControlPlanes,
  whileStopped: () => Promise<void>,
): Promise<{ readonly restart: Restart; readonly after: readonly Look[] }> {
  const began = performance.now();
  await Promise.all(all.map(({ api }) => api.stop()));
  const stopSeconds = (performance.now() - began) / 1000;
  await whileStopped();
  const before = await look();
  for (const { api } of all) api.start();
  const ready = await Promise.all(all.map(({ api }) => untilReady(api)));
  const after = await look();
  const servers = all.map(({ name, plugin, api }, index): ServerRestart => {
    const [from, to] = [before[index], after[index]];
    if (from === undefined || to === undefined) throw new Error("a look is missing");
    return {
      name,
      readySeconds: ready[index] ?? Number.NaN,
      plugin: plugin.work(from, to),
      apiServerBytes: residentBytes(api.child()?.pid ?? 0),
    };
  });
  return { restart: { stopSeconds, servers }, after };
}
