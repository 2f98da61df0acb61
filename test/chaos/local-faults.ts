/**
 * What befalls the plugin on its own machine, beside whatever the KMS does: certificates, good and bad, and the
 * file of its socket. None of it may cost a call. Clients that leave are the callers' own part.
 */
import { rm } from "node:fs/promises";
import { connectCaller } from "../support/caller.ts";
import { clockMs } from "./messages.ts";
import type { World } from "./world.ts";

/** What was seen; `wrong` where it must not be. */
export interface Observation {
  readonly text: string;
  readonly wrong?: string;
}

/** One of them. */
export interface LocalFault {
  readonly name: string;
  /** Does it, and waits until it has been dealt with. */
  readonly run: (world: World) => Promise<Observation>;
}

/** A signal is acted on at once; the files are looked at each 10 s. */
// The page of metrics that shows it is shared for a second.
const signalLimitMs = 3_000;
const pollLimitMs = 11_000;
const socketLimitMs = 2000;

/** Does something to the files, and waits until the plugin says that it took them or refused them. */
async function untilRead(
  { plugin }: World,
  outcome: "ok" | "refused",
  limitMs: number,
  cause: () => Promise<void>,
): Promise<Observation> {
  const count = (): Promise<number> => plugin.metric("reload_total", `outcome="${outcome}"`);
  const before = await count();
  const from = clockMs();
  await cause();
  const what = outcome === "ok" ? "taken" : "refused";
  if (await plugin.becomes(async () => (await count()) > before, limitMs))
    return { text: `${what} after ${Math.round(clockMs() - from)} ms` };
  const wrong = `not ${what} within ${limitMs} ms`;
  return { text: wrong, wrong };
}

const hangUp = ({ plugin }: World): void => void plugin.child.kill("SIGHUP");

/** Connects anew until it can; gives the ms that took. */
async function untilConnected(sock: string, limitMs: number): Promise<number | undefined> {
  const from = clockMs();
  while (clockMs() - from < limitMs) {
    const caller = await connectCaller(sock).catch(() => undefined);
    if (caller !== undefined) {
      await caller.close();
      return clockMs() - from;
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return undefined;
}

/** See above. */
export const localFaults: readonly LocalFault[] = [
  {
    name: "certificates exchanged, SIGHUP",
    run: (world) =>
      untilRead(world, "ok", signalLimitMs, async () => {
        await world.clientFiles.exchange();
        hangUp(world);
      }),
  },
  {
    name: "certificates exchanged, left to be found",
    run: (world) => untilRead(world, "ok", pollLimitMs, () => world.clientFiles.exchange()),
  },
  {
    name: "a bad set of certificates, then a good one",
    run: async (world) => {
      const bad = await untilRead(world, "refused", signalLimitMs, async () => {
        await world.clientFiles.exchangeForBad();
        hangUp(world);
      });
      const good = await untilRead(world, "ok", signalLimitMs, async () => {
        await world.clientFiles.exchange();
        hangUp(world);
      });
      const wrong = bad.wrong ?? good.wrong;
      return { text: `${bad.text}, ${good.text}`, ...(wrong === undefined ? {} : { wrong }) };
    },
  },
  {
    name: "the socket file is removed",
    run: async ({ sock }) => {
      await rm(sock);
      const afterMs = await untilConnected(sock, socketLimitMs + 500);
      if (afterMs === undefined || afterMs > socketLimitMs)
        return {
          text: "not there again",
          wrong: `the socket was not there again within ${socketLimitMs} ms`,
        };
      return { text: `there again after ${Math.round(afterMs)} ms` };
    },
  },
];
