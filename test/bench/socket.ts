/** What the socket itself costs, and that the way to the KMS and back adds no more than as much again. */
import path from "node:path";
import { connectCaller, seed, type Caller } from "../support/caller.ts";
import { load, type LoadResult, medianOf } from "./load.ts";
import { kmipFlags, restFlags, startDoNothing, startKms, startPlugin, type Kms } from "./processes.ts";
import { heading, loadCells, loadColumns, table, target } from "./report.ts";

type Call = "Status" | "Encrypt" | "Decrypt";

/** A caller whose requests do not have the plain form that the fast path is for. */
const connectByConnect = (sock: string): Promise<Caller> =>
  connectCaller(sock, undefined, "application/GRPC");

/** One load for each of the three calls. */
async function measure(
  caller: Caller,
  callers: number,
  times = { warmUpMs: 1000, durationMs: 2000 },
): Promise<Record<Call, LoadResult>> {
  const wrapped = await caller.encrypt(seed());
  const plaintext = seed();
  return {
    Status: await load(callers, () => caller.status(), times),
    Encrypt: await load(callers, () => caller.encrypt(plaintext), times),
    Decrypt: await load(callers, () => caller.decrypt(wrapped), times),
  };
}

const rounds = 7;

/** One caller at each of them in turn, again and again: what the machine does meanwhile befalls all alike. */
async function measureInTurn(all: readonly Caller[]): Promise<Record<Call, LoadResult>[]> {
  const results = all.map((): Record<Call, LoadResult>[] => []);
  for (let round = 0; round < rounds; round += 1)
    for (const [index, caller] of all.entries())
      results[index]?.push(await measure(caller, 1, { warmUpMs: 200, durationMs: 500 }));
  // The first round warms everybody up.
  const of = (each: Record<Call, LoadResult>[], call: Call): LoadResult =>
    medianOf(each.slice(1).map((one) => one[call]));
  return results.map((each) => ({
    Status: of(each, "Status"),
    Encrypt: of(each, "Encrypt"),
    Decrypt: of(each, "Decrypt"),
  }));
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

  // The same servers and encryptors without the fast path: what any Connect server costs.
  const nothingByConnect = await connectByConnect(nothingSock);
  const kmipByConnect = await connectByConnect(kmipSock);
  const lines: string[][] = [];
  const named: readonly [string, Caller][] = [
    ["do-nothing encryptor", nothingCaller],
    ["KMIP 1.4", kmip.caller],
    ["REST, HTTP/2", rest.caller],
    ["do-nothing encryptor by Connect's own handlers", nothingByConnect],
    ["KMIP 1.4 by Connect's own handlers", kmipByConnect],
  ];
  const one = await measureInTurn(named.map(([, caller]) => caller));
  for (const [index, [name]] of named.entries()) {
    const results = one[index];
    if (results !== undefined) lines.push(...rows(name, 1, results));
  }
  for (const callers of [16, 128])
    for (const [name, caller] of named.slice(0, 3))
      lines.push(...rows(name, callers, await measure(caller, callers)));
  const [base, through, , baseByConnect, throughByConnect] = one;
  table(["what", "callers", ...loadColumns], lines);
  console.log();
  for (const call of ["Encrypt", "Decrypt"] as const) {
    const over = (part: typeof base, whole: typeof base): number =>
      (whole?.[call].p50 ?? Number.NaN) / (part?.[call].p50 ?? 1);
    const what = `KMIP ${call}: p50 with one caller, over the do-nothing encryptor's`;
    target(what, over(base, through), 2, "at most");
    target(`${what}, both by Connect's own handlers`, over(baseByConnect, throughByConnect), 2, "at most");
  }

  await statusWhateverTheKmsDoes(kms, nothingCaller, kmip.caller);

  await Promise.all(
    [nothingByConnect, kmipByConnect, nothingCaller, kmip.caller, rest.caller].map((caller) =>
      caller.close(),
    ),
  );
  await Promise.all([nothing, kmip, rest].map((each) => each.stop()));
  await kms.stop();
}
