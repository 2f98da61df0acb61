/**
 * `npm run chaos -- --odd`: 16 callers of the built program, for a minute against each of two servers that do what some real
 * ones do. After the first second no call may fail, no server may be reported as unreachable, and calls stay with the first.
 */
import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { KeyManagementService } from "../../gen/kms/v2/api_pb.ts";
import { type DevKms, startDevKms } from "../devkms/devkms.ts";
import type { Faults } from "../devkms/faults.ts";
import { flagList, flagsOf, inTime, type Protocol, serving } from "../e2e/serving.ts";
import { type GrpcClient, grpcClient } from "../server/harness.ts";

const { encrypt, decrypt } = KeyManagementService.method;
const callers = 16;
const pauseMs = 20;
/** As kube-apiserver's own. */
const timeoutMs = 3000;
/** What fails sooner is forgiven. */
const settlingMs = 1000;
/** How often the servers close every connection, so that there are handshakes. */
const cutEveryMs = 5000;

interface OddCase {
  readonly name: string;
  readonly protocols: readonly Protocol[];
  readonly set: (faults: Faults) => void;
  /** Whether it is about handshakes. */
  readonly isCut?: boolean;
}

const both = ["kmip", "rest"] as const;
const cases: readonly OddCase[] = [
  ...(["alert", "hang-up", "denied"] as const).map((resumption) => ({
    name:
      resumption === "denied" ? "identity lost on resumed sessions" : `resumption aborted (${resumption})`,
    protocols: both,
    set: (faults: Faults) => void (faults.resumption = resumption),
    isCut: true,
  })),
  {
    name: "connections older than 10 s refused",
    protocols: both,
    set: (faults) => void (faults.goodForMs = 10_000),
  },
  {
    name: "one request per connection",
    protocols: ["kmip"],
    set: (faults) => void (faults.kmip.closesAfterReply = true),
  },
];

/** What came of one case. */
export interface OddReport {
  readonly name: string;
  /** Encrypts with their Decrypts. */
  readonly pairs: number;
  /** Times and words of calls that failed. */
  readonly failed: readonly { readonly atMs: number; readonly why: string }[];
  /** How often a server was reported as unreachable, and how often the calls went to another one; after the first second. */
  readonly unreachable: number;
  readonly changes: number;
  /** Why a server was reported as unreachable. */
  readonly said: readonly string[];
  readonly opened: number;
  /** Whether it is as it must be. */
  readonly isRight: boolean;
}

/** Runs every case, one after another; prints a line for each. */
export async function runOdd(forMs: number, print: (line: string) => void): Promise<readonly OddReport[]> {
  const reports: OddReport[] = [];
  for (const one of cases)
    for (const protocol of one.protocols) {
      const report = await runCase(one, protocol, forMs);
      reports.push(report);
      const late = report.failed.filter(({ atMs }) => atMs > settlingMs);
      const failures = `${report.failed.length} failed (${late.length} after the first second)`;
      const { pairs, unreachable, changes, opened } = report;
      print(
        `${report.isRight ? "✔" : "✖"} ${report.name}: ${pairs} pairs of calls, ${failures}, unreachable ${unreachable} times, ${changes} changes of server, ${opened} connections`,
      );
      for (const { atMs, why } of report.failed.slice(0, 5)) print(`    ${Math.round(atMs)} ms: ${why}`);
      for (const why of report.said.slice(0, 5)) print(`    ${why}`);
    }
  return reports;
}

async function runCase(one: OddCase, protocol: Protocol, forMs: number): Promise<OddReport> {
  const ends: (() => unknown)[] = [];
  const t = { after: (end: () => unknown) => void ends.push(end) } as unknown as Parameters<
    typeof serving
  >[0];
  const first = await startDevKms();
  const { keys, authority, okmsId } = first;
  const second = await startDevKms({ keys, authority, rest: { okmsId } });
  first.keys.create({ name: "etcd" });
  for (const { faults } of [first, second]) one.set(faults);
  try {
    return await measure(one, protocol, [first, second], t, forMs);
  } finally {
    for (const end of ends.toReversed()) await end();
    await Promise.all([first.close(), second.close()]);
  }
}

async function measure(
  { name, isCut = false }: OddCase,
  protocol: Protocol,
  servers: readonly [DevKms, DevKms],
  t: Parameters<typeof serving>[0],
  forMs: number,
): Promise<OddReport> {
  const [first, second] = servers;
  const flags = flagsOf(protocol, first);
  const list = [flags, flagsOf(protocol, second)].map((each) => each["serv-addr"]).join(",");
  const it = await serving(t, [...flagList({ ...flags, "serv-addr": list }), "--debug"]);
  const startedAt = performance.now();
  const settledAt = new Date(Date.now() + settlingMs).toISOString();
  const failed: { atMs: number; why: string }[] = [];
  let pairs = 0;
  const call = async (client: GrpcClient): Promise<void> => {
    const plaintext = randomBytes(32);
    const wrapped = await client.call(encrypt, { plaintext, uid: "odd" }, inTime(timeoutMs));
    if ("error" in wrapped) throw wrapped.error;
    const { ciphertext, keyId, annotations } = wrapped.reply;
    const request = { ciphertext, keyId, annotations, uid: "odd" };
    const opened = await client.call(decrypt, request, inTime(timeoutMs));
    if ("error" in opened) throw opened.error;
    if (!plaintext.equals(opened.reply.plaintext)) throw new Error("another plaintext");
    pairs += 1;
  };
  const caller = async (): Promise<void> => {
    const client = grpcClient(t, `unix:${it.sock}`);
    while (performance.now() - startedAt < forMs) {
      const atMs = performance.now() - startedAt;
      await call(client).catch((error: unknown) => failed.push({ atMs, why: String(error) }));
      await sleep(pauseMs);
    }
  };
  const cutter = setInterval(() => servers.map((server) => server.cutConnections()), cutEveryMs);
  if (!isCut) clearInterval(cutter);
  await Promise.all(Array.from({ length: callers }, caller));
  clearInterval(cutter);
  // What is learned about a server in the first second may cost a connection.
  const log = it.program
    .log()
    .filter(({ time, msg }) => String(time) > settledAt || msg === "connection opened");
  const said: string[] = [];
  const count = (message: string): number => log.filter(({ msg }) => msg === message).length;
  const unreachable = count("the KMS can't be reached");
  for (const { msg, time, endpoint, reason } of log)
    if (msg === "the KMS can't be reached") said.push(`${time} ${endpoint}: ${reason}`);
  const changes = count("the KMS is in use");
  const isRight = failed.every(({ atMs }) => atMs <= settlingMs) && unreachable === 0 && changes === 0;
  const opened = count("connection opened");
  return { name: `${protocol}, ${name}`, pairs, failed, unreachable, changes, opened, said, isRight };
}
