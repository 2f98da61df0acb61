/** Many requests to several API servers at once, as an ordinary user, and how they went. */
import { Pool } from "undici";
import { setTimeout as sleep } from "node:timers/promises";
import { Progress } from "../../src/cli/reencrypt/progress.ts";
import { type Answer, users } from "../apiserver/server.ts";
import { percentile } from "../bench/load.ts";

/** How a number of requests went. Times in ms, but for `seconds`; NaN where they are not known. */
export interface Outcome {
  /** Objects. */
  readonly count: number;
  readonly seconds: number;
  readonly perSecond: number;
  readonly p50: number;
  readonly p99: number;
  /** Answers 429, after each of which the request was sent again; undefined where that is not known. */
  readonly limited: number | undefined;
  readonly failed: number;
}

/** A server's connections: one for each request at once. */
export interface Connections {
  send(method: "GET" | "POST", path: string, body?: object): Promise<Answer>;
  /** Answers 429 so far. */
  limited(): number;
  close(): Promise<void>;
}

const replyWithinMs = 60_000;
const mostRepeats = 20;

/** Connects to an API server, HTTP/1.1. */
export function connectTo(url: string, atOnce: number): Connections {
  const pool = new Pool(url, {
    connections: atOnce,
    pipelining: 1,
    connect: { rejectUnauthorized: false },
    headersTimeout: replyWithinMs,
    bodyTimeout: replyWithinMs,
  });
  const headers = { authorization: `Bearer ${users.ordinary}`, "content-type": "application/json" };
  let limited = 0;
  const send: Connections["send"] = async (method, where, body) => {
    for (let repeat = 0; ; repeat += 1) {
      const sent = body === undefined ? null : JSON.stringify(body);
      const reply = await pool.request({ method, path: where, headers, body: sent });
      const text = await reply.body.text();
      if (reply.statusCode !== 429 || repeat >= mostRepeats) return { status: reply.statusCode, text };
      limited += 1;
      await sleep(Number(reply.headers["retry-after"] ?? 1) * 1000);
    }
  };
  return { send, limited: () => limited, close: () => pool.close() };
}

/** A load on several servers. */
export interface Load<T> {
  /** Shown as the progress. */
  readonly what: string;
  /** Each has workers of its own, so that a slow one does not take those of the others. */
  readonly servers: readonly T[];
  /** At once, for each server. */
  readonly atOnce: number;
  /** Times that `work` is done on a server. */
  readonly each: (serverIndex: number) => number;
  /** Does one; what it throws, in words, is a failure. @returns how many objects that was, where not one */
  readonly work: (server: T, index: number, serverIndex: number) => Promise<number | void>;
  /** Told of the first failures. */
  readonly onFailure: (what: string) => void;
}

const mostTold = 3;

/** Does all of it. @param total objects to be expected, for the progress */
export async function drive<T extends Pick<Connections, "limited">>(
  load: Load<T>,
  total: number,
): Promise<Outcome> {
  const { what, servers, atOnce, each, work, onFailure } = load;
  const progress = new Progress(process.stderr, total, 0);
  progress.begin(what);
  const times: number[] = [];
  let count = 0;
  let failed = 0;
  const limitedOf = (): number => servers.reduce((sum, server) => sum + server.limited(), 0);
  const limitedBefore = limitedOf();
  const driveOne = async (server: T, serverIndex: number): Promise<void> => {
    const rounds = each(serverIndex);
    let next = 0;
    const worker = async (): Promise<void> => {
      while (next < rounds) {
        const index = next;
        next += 1;
        const began = performance.now();
        try {
          const objects = (await work(server, index, serverIndex)) ?? 1;
          count += objects;
          progress.add(objects);
        } catch (error) {
          failed += 1;
          if (failed <= mostTold) onFailure(`${what}: ${String(error)}`);
        }
        times.push(performance.now() - began);
      }
    };
    await Promise.all(Array.from({ length: atOnce }, worker));
  };
  const began = performance.now();
  await Promise.all(servers.map(driveOne));
  const seconds = (performance.now() - began) / 1000;
  progress.end();
  const sorted = times.toSorted((a, b) => a - b);
  return {
    count,
    seconds,
    perSecond: count / seconds,
    p50: percentile(sorted, 0.5),
    p99: percentile(sorted, 0.99),
    limited: limitedOf() - limitedBefore,
    failed,
  };
}
