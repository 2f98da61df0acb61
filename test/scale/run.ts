/** One run: every step in its order, with what the plugins did in each. */
import type { Binaries } from "../apiserver/build.ts";
import { residentBytes } from "../bench/processes.ts";
import { failedCalls } from "./api-metrics.ts";
import { type ControlPlanes, startControlPlanes } from "./control-planes.ts";
import { peakBytes } from "./process-figures.ts";
import { connectTo, type Outcome } from "./requests.ts";
import { type Restart, restartAll } from "./restart.ts";
import { audit, type Audited, rewriteAll, rotate, type Rotation } from "./rotation.ts";
import { createSecrets, listSecrets, readSecrets, type SecretsContext } from "./secrets.ts";
import { addSeeds } from "./seeds.ts";
import type { Look, Work } from "./work.ts";

/** How large a run is. */
export interface RunOptions {
  readonly secrets: number;
  readonly servers: number;
  /** Requests at once, for each server. */
  readonly atOnce: number;
  /** Of `reencrypt`. */
  readonly qps: number;
  /** DEK sources that an old cluster has: so many Secrets get one of their own. */
  readonly seeds: number;
  readonly folder: string;
}

/** A load, and what the plugins did meanwhile, one for each server. */
export interface LoadStep {
  readonly outcome: Outcome;
  readonly plugins: readonly Work[];
}

/** What came of it; a step that was not reached is missing. */
export interface RunResult {
  create?: LoadStep;
  auditBefore?: Audited;
  restart?: Restart;
  listAfterRestart?: LoadStep;
  read?: LoadStep;
  restartWithSeeds?: Restart;
  listWithSeeds?: LoadStep;
  auditWithSeeds?: Audited;
  rotation?: Rotation;
  rewriting?: LoadStep;
  auditAfter?: Audited;
  restartAfterRotation?: Restart;
  listAfterRotation?: LoadStep;
  /** Each plugin, from before the first Secret to the end. */
  wholeRun?: readonly Work[];
  /** At the end. */
  memory?: {
    readonly etcd: number;
    readonly apiServers: readonly number[];
    readonly apiServerPeaks: number[];
  };
  /** Everything that is not as it must be, in sentences. */
  readonly failures: string[];
}

/** Runs it. What is thrown on the way ends the run, and is one of the failures. */
export async function runScale(binaries: Binaries, options: RunOptions): Promise<RunResult> {
  const result: RunResult = { failures: [] };
  const fail = (what: string): void => void result.failures.push(what);
  try {
    const planes = await startControlPlanes(binaries, options, fail);
    try {
      await new Run(planes, options, result).start();
    } finally {
      await planes.close();
    }
  } catch (error) {
    fail(String(error));
  }
  return result;
}

class Run {
  readonly #planes: ControlPlanes;
  readonly #options: RunOptions;
  readonly #result: RunResult;
  readonly #context: SecretsContext;
  #looks: readonly Look[] = [];

  constructor(planes: ControlPlanes, options: RunOptions, result: RunResult) {
    this.#planes = planes;
    this.#options = options;
    this.#result = result;
    const connections = planes.all.map(({ api }) => connectTo(api.url, options.atOnce));
    this.#context = { ...options, connections, onFailure: (what) => this.#fail(what) };
  }

  async start(): Promise<void> {
    const first = (this.#looks = await this.#planes.look());
    try {
      await this.#fill();
      await this.#restart();
      await this.#restartWithSeeds();
      await this.#rotate();
    } catch (error) {
      this.#fail(String(error));
    }
    await Promise.all(this.#context.connections.map((each) => each.close()));
    const last = await this.#planes.look();
    this.#result.wholeRun = this.#work(first, last);
    this.#result.memory = this.#memory();
    this.#judge();
    await this.#askApiServers();
  }

  async #fill(): Promise<void> {
    this.#result.create = await this.#load(createSecrets);
    this.#result.auditBefore = await this.#audit();
  }

  async #restart(): Promise<void> {
    this.#say("restart of all API servers");
    this.#result.restart = await this.#restartAll();
    this.#result.listAfterRestart = await this.#load(listSecrets);
    this.#result.read = await this.#load(readSecrets);
  }

  async #restartWithSeeds(): Promise<void> {
    const { seeds: count, folder } = this.#options;
    this.#say(`restart of all API servers with ${count} more DEK sources`);
    const onFailure = (what: string): void => this.#fail(what);
    this.#result.restartWithSeeds = await this.#restartAll(() =>
      addSeeds(this.#planes, { folder, count, onFailure }),
    );
    this.#result.listWithSeeds = await this.#load(listSecrets);
    this.#result.auditWithSeeds = await this.#audit();
  }

  async #rotate(): Promise<void> {
    this.#say("rotation of the key");
    const rotation = await rotate(this.#planes);
    this.#result.rotation = rotation;
    this.#looks = await this.#planes.look();
    const { outcome, isWhole } = await rewriteAll(this.#planes, this.#options.qps);
    this.#result.rewriting = { outcome, plugins: await this.#lookAgain() };
    if (!isWhole || outcome.count !== this.#options.secrets)
      this.#fail(`reencrypt has rewritten ${outcome.count}, and failed on ${outcome.failed}`);
    this.#result.auditAfter = await this.#audit(rotation.oldKeyId);
    if (this.#result.auditAfter.answer !== "yes") return;
    this.#say("the old key is destroyed; restart of all API servers");
    await this.#planes.kms.tell("destroy");
    this.#result.restartAfterRotation = await this.#restartAll();
    this.#result.listAfterRotation = await this.#load(listSecrets);
  }

  async #restartAll(whileStopped = async (): Promise<void> => {}): Promise<Restart> {
    await this.#askApiServers();
    const { restart, after } = await restartAll(this.#planes, whileStopped);
    this.#looks = after;
    return restart;
  }

  async #load(load: (context: SecretsContext) => Promise<Outcome>): Promise<LoadStep> {
    const outcome = await load(this.#context);
    if (outcome.failed > 0) this.#fail(`${outcome.failed} requests failed`);
    return { outcome, plugins: await this.#lookAgain() };
  }

  async #audit(keyId?: string): Promise<Audited> {
    const audited = await audit(this.#planes, keyId);
    const isGood = audited.exitCode === 0 && audited.secrets === this.#options.secrets;
    if (!isGood) this.#fail(`audit: ${JSON.stringify(audited)}`);
    return audited;
  }

  async #lookAgain(): Promise<Work[]> {
    const before = this.#looks;
    this.#looks = await this.#planes.look();
    return this.#work(before, this.#looks);
  }

  #work(from: readonly Look[], to: readonly Look[]): Work[] {
    return this.#planes.all.map(({ plugin }, index) => {
      const [before, after] = [from[index], to[index]];
      if (before === undefined || after === undefined) throw new Error("a look is missing");
      return plugin.work(before, after);
    });
  }

  #memory(): NonNullable<RunResult["memory"]> {
    const pids = this.#planes.all.map(({ api }) => api.child()?.pid).filter((pid) => pid !== undefined);
    return {
      etcd: residentBytes(this.#planes.etcd.child.pid ?? 0),
      apiServers: pids.map(residentBytes),
      apiServerPeaks: pids.map(peakBytes),
    };
  }

  /** No call of kube-apiserver may have failed, in the whole run. */
  #judge(): void {
    for (const [index, { failed }] of (this.#result.wholeRun ?? []).entries())
      for (const [what, count] of Object.entries(failed))
        this.#fail(`${this.#planes.all[index]?.name}: the plugin: ${what}: ${count}`);
  }

  /** By the API servers' own count since their start no call has failed either. */
  async #askApiServers(): Promise<void> {
    for (const { name, api } of this.#planes.all)
      for (const what of await failedCalls(api)) this.#fail(`${name}: kube-apiserver: ${what}`);
  }

  #fail(what: string): void {
    this.#say(`✖ ${what}`);
    this.#result.failures.push(what);
  }

  #say(what: string): void {
    process.stderr.write(`${what}\n`);
  }
}
