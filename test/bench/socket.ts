/** What the socket itself costs, and that the way to the KMS and back adds no more than as much again. */
import path from "node:path";
import { connectCaller, seed, type Caller } from "../support/caller.ts";
import { load, type LoadResult } from "./load.ts";
import { kmipFlags, restFlags, startDoNothing, startKms, startPlugin, type Kms } from "./processes.ts";
import { heading, loadCells, loadColumns, table, target } from "./report.ts";

type Call = "Status" | "Encrypt" | "Decrypt";

/** One load for each of the three calls. */
async function measure(caller: Caller, callers: number): Promise<Record<Call, LoadResult>> {
  const wrapped = await caller.encrypt(seed());
  const plaintext = seed();
  return {
    Status: await load(callers, () => caller.status(), { durationMs: 2000 }),
    Encrypt: await load(callers, () => caller.encrypt(plaintext), { durationMs: 2000 }),
    Decrypt: await load(callers, () => caller.decrypt(wrapped), { durationMs: 2000 }),
  };
}

const rows = (name: string, callers: number, results: Record<Call, LoadResult>): string[][] =>
  Object.entries(results).map(([call, result]) => [
    `${name}, ${call}`,
    String(callers),
    ...loadCells(result),
  ]);

/** Status answers from memory: with the KMS well, mute and away it must cost what it costs without one. */
async function statusWhateverTheKmsDoes(kms: Kms, nothing: Caller, plugin: Caller): Promise<void> {
  for (const command of ["start", "silent", "stop"]) {
    if (command !== "start") await kms.tell(command);
    const base = await load(1, () => nothing.status(), { durationMs: 2000 });
    const status = await load(1, () => plugin.status(), { durationMs: 2000 });
    const state = { start: "well", silent: "mute", stop: "away" }[command];
    target(
      `Status with the KMS ${state}: p50 over the do-nothing Status's`,
      status.p50 / base.p50,
      1.2,
      "at most",
    );
  }
}

/** Section `socket`. */
export async function benchSocket(folder: string): Promise<void> {
  heading("The socket, and the whole way against the embedded KMS without added delay");
  const kms = await startKms([]);
  const socks = ["nothing", "kmip", "rest"].map((name) => path.join(folder, `${name}.sock`));
  const [nothingSock = "", kmipSock = "", restSock = ""] = socks;
  const nothing = await startDoNothing(nothingSock);
  const nothingCaller = await connectCaller(nothingSock);
  const kmip = await startPlugin(kmipSock, kmipFlags(kms, 0));
  const rest = await startPlugin(restSock, restFlags(kms, "http2", 0));

  // The same server and encryptor without the short way of unary calls: what any Connect server costs.
  const connectsCaller = await connectCaller(nothingSock, undefined, "application/GRPC");
  const lines: string[][] = [];
  const connects = await measure(connectsCaller, 1);
  lines.push(...rows("do-nothing encryptor by Connect's own handlers", 1, connects));
  let one: { base: Record<Call, LoadResult>; through: Record<Call, LoadResult> } | undefined;
  for (const callers of [1, 16, 128]) {
    const base = await measure(nothingCaller, callers);
    const through = await measure(kmip.caller, callers);
    lines.push(...rows("do-nothing encryptor", callers, base), ...rows("KMIP 1.4", callers, through));
    lines.push(...rows("REST, HTTP/2", callers, await measure(rest.caller, callers)));
    one ??= { base, through };
  }
  table(["what", "callers", ...loadColumns], lines);
  console.log();
  for (const call of ["Encrypt", "Decrypt"] as const) {
    const p50 = one?.through[call].p50 ?? Number.NaN;
    const what = `KMIP ${call}: p50 with one caller, over the do-nothing encryptor's`;
    target(what, p50 / (one?.base[call].p50 ?? 1), 2, "at most");
    target(`${what} by Connect's own handlers`, p50 / connects[call].p50, 2, "at most");
  }

  await statusWhateverTheKmsDoes(kms, nothingCaller, kmip.caller);

  await Promise.all(
    [connectsCaller, nothingCaller, kmip.caller, rest.caller].map((caller) => caller.close()),
  );
  await Promise.all([nothing, kmip, rest].map((each) => each.stop()));
  await kms.stop();
}
