/** A run as tables, for people. */
import { heading, mib, table, whole } from "../bench/report.ts";
import type { Restart } from "./restart.ts";
import type { LoadStep, RunResult } from "./run.ts";
import type { Work } from "./work.ts";

const seconds = (value: number): string => value.toFixed(1);
const ms = (value: number): string => (Number.isNaN(value) ? "" : value.toFixed(1));
const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
/** Decrypt calls of all API servers, and the requests to the KMS that came of them. */
const decrypts = (plugins: readonly Work[]): string[] =>
  [sum(plugins.map(({ calls }) => calls.Decrypt)), sum(plugins.map(kmsDecrypts))].map(String);
const kmsDecrypts = ({ kms }: Work): number => kms["Decrypt"] ?? 0;

/** Prints everything that there is. */
export function printReport(result: RunResult): void {
  printLoads(result);
  printRestart("All API servers restarted at once", result.restart);
  printRestart("With the DEK sources of an old cluster, all restarted again", result.restartWithSeeds);
  printRotation(result);
  printRestart("The old key destroyed, and all restarted again", result.restartAfterRotation);
  printPlugins(result);
  console.log();
  for (const failure of result.failures) console.log(`✖ ${failure}`);
  if (result.failures.length === 0) console.log("✔ no request and no call failed");
}

function printLoads(result: RunResult): void {
  heading("Work, over all API servers; the times are of one request, or of a list with all its pages");
  const rows = [
    ["create", result.create],
    ["list by pages, after the restart", result.listAfterRestart],
    ["read (GET)", result.read],
    ["list by pages, with many DEK sources", result.listWithSeeds],
    ["rewrite (reencrypt, first server)", result.rewriting],
    ["list by pages, after the last restart", result.listAfterRotation],
  ] as const;
  table(
    [
      "what",
      "Secrets",
      "s",
      "Secrets/s",
      "p50 ms",
      "p99 ms",
      "answers 429",
      "failed",
      "Decrypt calls",
      "KMS Decrypts",
    ],
    rows.flatMap(([name, step]) => (step === undefined ? [] : [loadRow(name, step)])),
  );
}

function loadRow(name: string, { outcome, plugins }: LoadStep): string[] {
  const { count, perSecond, p50, p99, limited, failed } = outcome;
  const figures = [whole(count), seconds(outcome.seconds), whole(perSecond), ms(p50), ms(p99)];
  return [name, ...figures, limited?.toString() ?? "", String(failed), ...decrypts(plugins)];
}

function printRestart(title: string, restart: Restart | undefined): void {
  if (restart === undefined) return;
  heading(`${title} (${seconds(restart.stopSeconds)} s to end them; until the last was ready)`);
  table(
    [
      "host",
      "ready s",
      "Status",
      "Encrypt",
      "Decrypt",
      "KMS Decrypts",
      "Status p99 ms",
      "En-/Decrypt p50 ms",
      "p99 ms",
      "failed",
      "CPU s",
      "plugin MiB",
      "API server MiB",
    ],
    restart.servers.map(({ name, readySeconds, plugin, apiServerBytes }) => [
      name,
      seconds(readySeconds),
      ...[plugin.calls.Status, plugin.calls.Encrypt, plugin.calls.Decrypt, kmsDecrypts(plugin)].map(String),
      ms(plugin.statusMs.p99),
      ms(plugin.kmsMs.p50),
      ms(plugin.kmsMs.p99),
      String(sum(Object.values(plugin.failed))),
      plugin.cpuSeconds.toFixed(2),
      mib(plugin.residentBytes),
      whole(apiServerBytes / 2 ** 20),
    ]),
  );
}

function printRotation({ rotation, auditBefore, auditWithSeeds, auditAfter }: RunResult): void {
  heading("DEK sources and rotation");
  if (auditBefore !== undefined)
    console.log(`by audit a cold start of each API server needs ${auditBefore.coldStartDecrypts} Decrypts`);
  if (auditWithSeeds !== undefined)
    console.log(`with the DEK sources of an old cluster ${auditWithSeeds.coldStartDecrypts}`);
  if (rotation !== undefined)
    console.log(
      `all plugins use the new key after ${seconds(rotation.pluginsSeconds)} s, ` +
        `all API servers after ${seconds(rotation.serversSeconds)} s`,
    );
  if (auditAfter !== undefined)
    console.log(
      `after reencrypt: audit (${seconds(auditAfter.seconds)} s, exit code ${String(auditAfter.exitCode)}) ` +
        `says ${auditAfter.answer ?? "nothing"} to destroying the old key; a cold start needs ${auditAfter.coldStartDecrypts} Decrypts`,
    );
}

function printPlugins({ wholeRun = [], memory }: RunResult): void {
  heading("Each plugin over the whole run");
  const operations = [...new Set(wholeRun.flatMap(({ kms }) => Object.keys(kms)))].toSorted();
  table(
    [
      "host",
      "s",
      "Status",
      "Encrypt",
      "Decrypt",
      "failed",
      ...operations.map((name) => `KMS ${name}`),
      "KMS/s",
      "lost",
      "CPU s",
      "CPU %",
      "MiB",
      "peak MiB",
    ],
    wholeRun.map(({ calls, failed, kms, ...work }, index) => [
      `server ${index + 1}`,
      whole(work.seconds),
      ...[calls.Status, calls.Encrypt, calls.Decrypt, sum(Object.values(failed))].map(String),
      ...operations.map((name) => String(kms[name] ?? 0)),
      (sum(Object.values(kms)) / work.seconds).toFixed(2),
      String(sum(Object.values(work.lost))),
      work.cpuSeconds.toFixed(1),
      ((work.cpuSeconds / work.seconds) * 100).toFixed(1),
      mib(work.residentBytes),
      mib(work.peakBytes),
    ]),
  );
  for (const [index, { lost }] of wholeRun.entries())
    for (const [what, count] of Object.entries(lost))
      console.log(`server ${index + 1}: requests to the KMS without a good answer: ${what}: ${count}`);
  if (memory !== undefined)
    console.log(
      `\nat the end: etcd ${whole(memory.etcd / 2 ** 20)} MiB; kube-apiserver ` +
        memory.apiServers
          .map(
            (bytes, index) =>
              `${whole(bytes / 2 ** 20)} (peak ${whole((memory.apiServerPeaks[index] ?? 0) / 2 ** 20)})`,
          )
          .join(", ") +
        " MiB",
    );
}
