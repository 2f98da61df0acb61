/** `reencrypt`: finds the resources and checks the rights, rewrites resource by resource, and reports the result. */
import { ConfigError } from "../../config/settings.ts";
import { ProviderError } from "../../errors.ts";
import { Access } from "../../kubernetes/access.ts";
import { type ApiClient, createApiClient, type RetryOptions } from "../../kubernetes/client.ts";
import { resourceName, type ServedResource } from "../../kubernetes/discovery.ts";
import { Migrations } from "../../kubernetes/migration.ts";
import { Pace } from "../../kubernetes/pace.ts";
import { version } from "../../process/version.ts";
import { printable } from "../render.ts";
import { programName } from "../help.ts";
import { endWithAudit } from "./audit.ts";
import { defaultWaits, migrate, type MigrationWaits } from "./migrate.ts";
import type { ReencryptOptions } from "./options.ts";
import { Progress } from "./progress.ts";
import { renderRbac } from "./rbac.ts";
import { configuredResources, countObjects, getReady, type Readiness } from "./ready.ts";
import { rewriteResource } from "./rewrite.ts";
import { RunState, sumOf } from "./state.ts";
import { renderCounts, renderResult, type ResourceResult } from "./summary.ts";

/** Where it writes, and what its tests change. */
export interface ReencryptIo {
  readonly stdout: NodeJS.WritableStream;
  readonly stderr: NodeJS.WritableStream & { readonly isTTY?: boolean };
  readonly env: NodeJS.ProcessEnv;
  /** Default: {@link defaultWaits}. */
  readonly waits?: MigrationWaits;
  /** Default: as createApiClient has it. */
  readonly retry?: RetryOptions;
}

/** Exit codes. */
const exit = { ok: 0, failed: 1, interrupted: 130 } as const;
/** Failed objects that are named. */
const mostNamed = 20;

/** Runs it. @returns the exit code. @throws ConfigError where flags or files are wrong */
export async function runReencrypt(options: ReencryptOptions, io: ReencryptIo): Promise<number> {
  if (options.isPrintRbac) {
    const resources = [...(await configuredResources(options.encryptionConfig)), ...options.resources];
    io.stdout.write(renderRbac({ ...options, resources }));
    return exit.ok;
  }
  // A terminal that is closed is no reason to stop.
  io.stderr.on("error", () => undefined);
  const access = new Access({ ...options, env: io.env });
  const interrupt = listenForInterrupt();
  try {
    return await new Run(options, io, access, interrupt.signal).start();
  } catch (error) {
    if (interrupt.signal.aborted) return exit.interrupted;
    if (!(error instanceof ProviderError) || error instanceof ConfigError) throw error;
    if (error.code === "CONFIG") throw new ConfigError([error.message]);
    io.stderr.write(`${error.message}\n`);
    return exit.failed;
  } finally {
    interrupt.end();
    await access.close();
  }
}

/** SIGINT and SIGTERM end the run where it is; a second one ends the process. */
function listenForInterrupt(): { readonly signal: AbortSignal; end(): void } {
  const controller = new AbortController();
  const onSignal = (): void => {
    if (controller.signal.aborted) process.exit(exit.interrupted);
    controller.abort(new Error("interrupted"));
  };
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, onSignal);
  return {
    signal: controller.signal,
    end: () => {
      for (const signal of ["SIGINT", "SIGTERM"] as const) process.off(signal, onSignal);
    },
  };
}

class Run {
  readonly #options: ReencryptOptions;
  readonly #io: ReencryptIo;
  readonly #access: Access;
  readonly #client: ApiClient;
  readonly #signal: AbortSignal;
  readonly #failures: string[] = [];
  #say: (line: string) => void;
  #saidRetryAt = Number.NEGATIVE_INFINITY;

  constructor(options: ReencryptOptions, io: ReencryptIo, access: Access, signal: AbortSignal) {
    this.#options = options;
    this.#io = io;
    this.#access = access;
    this.#signal = signal;
    this.#say = (line) => void io.stderr.write(`${line}\n`);
    this.#client = createApiClient(access, {
      pace: new Pace(options.qps),
      userAgent: `${programName}/${version}`,
      ...(io.retry === undefined ? {} : { retry: io.retry }),
      onRetry: (error, waitMs) => this.#tellRetry(error, waitMs),
    });
  }

  async start(): Promise<number> {
    const { namespace, isDryRun, state: file } = this.#options;
    const ready = await getReady(this.#client, this.#options, this.#signal);
    for (const note of ready.notes) this.#say(note);
    const complaint = complaintAbout(ready, this.#options);
    if (complaint !== undefined) {
      this.#say(complaint);
      return exit.failed;
    }
    const state = await RunState.open(file, { server: this.#access.server, namespace });
    const counts = new Map<string, number | undefined>();
    if (ready.missing.length === 0)
      for (const resource of ready.resources)
        counts.set(
          resourceName(resource),
          await countObjects(this.#client, resource, namespace, this.#signal),
        );
    if (isDryRun) {
      const how = ready.migration === undefined ? "patch" : "migration, else patch";
      this.#io.stdout.write(
        renderCounts(this.#access.server, ready.resources.map(resourceName), counts, how),
      );
      return exit.ok;
    }
    return this.#rewriteAll(ready, state, counts);
  }

  async #rewriteAll(
    ready: Readiness,
    state: RunState,
    counts: ReadonlyMap<string, number | undefined>,
  ): Promise<number> {
    this.#tellResumed(ready, state);
    // At once: a migration goes on under the run's name whatever becomes of this process.
    await state.save();
    const progress = this.#startProgress(ready, state, counts);
    const migrations =
      ready.migration === undefined ? undefined : new Migrations(this.#client, ready.migration);
    const work: Work = { ready, state, counts, progress, migrations };
    const results: ResourceResult[] = [];
    try {
      for (const resource of ready.resources) {
        const error = await this.#rewrite(work, resource);
        const name = resourceName(resource);
        results.push({ name, state: state.of(name), count: counts.get(name), error });
      }
    } catch (failure) {
      if (this.#signal.aborted) progress.note(this.#interrupted());
      throw failure;
    } finally {
      progress.end();
    }
    const isWhole = results.every(({ error, state: { tally } }) => error === undefined && tally.failed === 0);
    if (isWhole) await state.remove();
    this.#io.stdout.write(renderResult(results, this.#failures));
    const isClean = await endWithAudit(this.#options, this.#io.stdout, this.#io.stderr);
    return isWhole && isClean ? exit.ok : exit.failed;
  }

  #startProgress({ resources }: Readiness, state: RunState, counts: Work["counts"]): Progress {
    const names = resources.map(resourceName);
    const known = names.map((name) => counts.get(name) ?? Number.NaN);
    const total = known.reduce((sum, one) => sum + one, 0);
    const done = names.map((name) => {
      const { status, tally } = state.of(name);
      return status === "open" ? sumOf(tally) : (counts.get(name) ?? 0);
    });
    const before = done.reduce((sum, one) => sum + one, 0);
    const progress = new Progress(this.#io.stderr, Number.isNaN(total) ? undefined : total, before);
    this.#say = (line) => progress.note(line);
    return progress;
  }

  /** Rewrites a resource by the way that works. @returns why it was given up */
  async #rewrite(work: Work, resource: ServedResource): Promise<string | undefined> {
    const { state, counts, progress } = work;
    const name = resourceName(resource);
    const own = state.of(name);
    try {
      if (own.status === "open" && work.migrations !== undefined && counts.get(name) !== 0) {
        progress.begin(`${name}, by StorageVersionMigration`);
        const end = await this.#migrate(work.migrations, resource, work);
        if (end === "migrated") progress.add(counts.get(name) ?? 0);
        if (end === "no controller") work.migrations = undefined;
      }
      progress.begin(name);
      if (own.status === "open") await this.#patch(resource, work);
      return undefined;
    } catch (failure) {
      this.#signal.throwIfAborted();
      if (!(failure instanceof ProviderError)) throw failure;
      this.#say(`${name}: ${failure.message}`);
      return failure.message;
    }
  }

  async #migrate(
    migrations: Migrations,
    resource: ServedResource,
    { state, ready }: Work,
  ): Promise<"migrated" | "no controller" | "failed"> {
    const name = resourceName(resource);
    // A Kubernetes name: lower case, at most 253 characters.
    const migration = `okms-reencrypt-${name.slice(0, 200)}-${state.runId}`;
    const waits = this.#io.waits ?? defaultWaits;
    const end = await migrate(migrations, { name: migration, resource, waits }, this.#signal);
    if (end.kind === "succeeded") {
      state.of(name).status = "migrated";
      await state.save();
      return "migrated";
    }
    const what =
      end.kind === "unseen"
        ? `no controller acts on StorageVersionMigrations (none seen in ${waits.unseenMs / 1000} s)`
        : `the StorageVersionMigration failed: ${end.message}`;
    if (this.#options.method === "migration") throw new ProviderError("REST_STATUS", what);
    if (ready.missing.length > 0)
      throw new ProviderError(
        "REST_STATUS",
        `${what}; to patch instead, these rights are missing: ${ready.missing.join(", ")}`,
      );
    this.#say(`${name}: ${what}; going on by patching each object`);
    return end.kind === "unseen" ? "no controller" : "failed";
  }

  async #patch(resource: ServedResource, { ready, state, progress }: Work): Promise<void> {
    const name = resourceName(resource);
    if (ready.missing.length > 0)
      throw new ProviderError("REST_STATUS", `missing rights: ${ready.missing.join(", ")}`);
    await rewriteResource(
      {
        client: this.#client,
        namespace: this.#options.namespace,
        progress,
        save: () => state.save(),
        onFailure: (object, error) => {
          if (this.#failures.length >= mostNamed) return;
          const where = object.namespace === undefined ? "" : `${object.namespace}/`;
          this.#failures.push(printable(`${name} ${where}${object.name}: ${error.message}`));
        },
        signal: this.#signal,
      },
      resource,
      state.of(name),
    );
  }

  /** At most one line in ten seconds: an API server that is away fails every request. */
  #tellRetry(error: ProviderError, waitMs: number): void {
    if (performance.now() - this.#saidRetryAt < 10_000) return;
    this.#saidRetryAt = performance.now();
    this.#say(`${error.message}; trying again in ${(waitMs / 1000).toFixed(1)} s`);
  }

  #tellResumed({ resources }: Readiness, state: RunState): void {
    if (state.isTooOld) this.#say("the state is more than 24 h old: starting from the beginning");
    if (state.resumedFrom === undefined) return;
    const done = resources.map(resourceName).filter((name) => state.of(name).status !== "open");
    const what = done.length === 0 ? "" : `; done already: ${done.join(", ")}`;
    this.#say(`going on with the run of ${state.resumedFrom.toISOString()}${what}`);
  }

  #interrupted(): string {
    const { state } = this.#options;
    return state === undefined
      ? "interrupted; rewritten objects stay rewritten, and another run starts from the beginning (with --state FILE it continues)"
      : `interrupted; run the same command again to go on from ${state}`;
  }
}

/** What the resources of a run have in common. */
interface Work {
  readonly ready: Readiness;
  readonly state: RunState;
  /** Objects before the run, by resource. */
  readonly counts: ReadonlyMap<string, number | undefined>;
  readonly progress: Progress;
  /** Undefined where there are none to be had, or where no controller acts on them. */
  migrations: Migrations | undefined;
}

function complaintAbout(ready: Readiness, { method }: ReencryptOptions): string | undefined {
  if (ready.resources.length === 0) return "nothing to rewrite: the API server serves none of the resources";
  if (method === "migration" && ready.migration === undefined)
    return `cannot use StorageVersionMigration: ${ready.noMigration}`;
  if (ready.missing.length > 0 && ready.migration === undefined)
    return `missing rights: ${ready.missing.join(", ")}\n${programName} reencrypt --print-rbac prints a role that has them`;
  return undefined;
}
