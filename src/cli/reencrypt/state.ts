/**
 * How far a run has come, in a file of --state: which resources are done, and for the one in work the token of the page
 * that comes next. Written after each page into a new file that then takes the old one's place, mode 0600. It holds no
 * object and no name of one but what the API server has put into its token.
 */
import { randomBytes } from "node:crypto";
import { rm } from "node:fs/promises";
import * as v from "valibot";
import { ProviderError } from "../../errors.ts";
import type { Touched } from "../../kubernetes/objects.ts";
import { readBounded, readFailure } from "../../net/pem.ts";
import { replaceFile } from "../../process/replace-file.ts";
import { quote } from "../../text/quote.ts";

const count = v.pipe(v.number(), v.integer(), v.minValue(0));
const shape = v.object({
  kind: v.literal("okms-reencrypt-state"),
  version: v.literal(1),
  runId: v.pipe(v.string(), v.regex(/^[0-9a-f]{8}$/)),
  server: v.string(),
  namespace: v.optional(v.string()),
  startedAt: v.pipe(v.string(), v.isoTimestamp()),
  savedAt: v.pipe(v.string(), v.isoTimestamp()),
  resources: v.record(
    v.string(),
    v.object({
      status: v.picklist(["open", "patched", "migrated"]),
      continueToken: v.optional(v.string()),
      tally: v.object({ rewritten: count, current: count, changed: count, gone: count, failed: count }),
    }),
  ),
});

type Content = v.InferOutput<typeof shape>;

/** The objects of a resource, counted by what became of them. */
export type Tally = Record<Touched | "failed", number>;

/** All zero. */
export function emptyTally(): Tally {
  return { rewritten: 0, current: 0, changed: 0, gone: 0, failed: 0 };
}

/** How many there are in all. */
export function sumOf(tally: Tally): number {
  return Object.values(tally).reduce((sum, one) => sum + one, 0);
}

/** The sum of two, kind by kind. */
export function addTallies(a: Tally, b: Tally): Tally {
  const sum = { ...a };
  for (const kind of Object.keys(b) as (keyof Tally)[]) sum[kind] += b[kind];
  return sum;
}

/** How far a resource is. */
export interface ResourceState {
  /** `open`: not begun, or in work; `patched` and `migrated` are done. */
  status: "open" | "patched" | "migrated";
  /** The page to go on with; undefined for the first. */
  continueToken?: string | undefined;
  /** Of whole pages: a page that was interrupted is read again. */
  tally: Tally;
}

/** Whose state it is. */
export interface RunOf {
  readonly server: string;
  readonly namespace: string | undefined;
}

/** An older run starts from the beginning: the key may have changed again since. */
const longestPauseMs = 24 * 3_600_000;

/** See the file's head. Without a file it is kept in memory. */
export class RunState {
  readonly #file: string | undefined;
  readonly #content: Content;
  /** When the run that is resumed began; undefined where this is a new one. */
  readonly resumedFrom: Date | undefined;
  /** Whether the file was too old to go on with. */
  readonly isTooOld: boolean;

  private constructor(file: string | undefined, run: RunOf, found: Content | undefined) {
    const now = Date.now();
    const age = found === undefined ? 0 : now - Date.parse(found.savedAt);
    this.isTooOld = age > longestPauseMs;
    const kept = this.isTooOld ? undefined : found;
    this.resumedFrom = kept === undefined ? undefined : new Date(kept.startedAt);
    this.#file = file;
    this.#content = kept ?? {
      kind: "okms-reencrypt-state",
      version: 1,
      runId: randomBytes(4).toString("hex"),
      server: run.server,
      ...(run.namespace === undefined ? {} : { namespace: run.namespace }),
      startedAt: new Date(now).toISOString(),
      savedAt: new Date(now).toISOString(),
      resources: {},
    };
  }

  /** Reads the file. @throws ProviderError CONFIG where it is no state, or of another cluster or namespace */
  static async open(file: string | undefined, run: RunOf): Promise<RunState> {
    const found = file === undefined ? undefined : await readContent(file);
    if (found !== undefined && (found.server !== run.server || found.namespace !== run.namespace)) {
      const where = found.namespace === undefined ? "" : `, namespace ${found.namespace}`;
      const whose = `of ${found.server}${where}`;
      throw new ProviderError(
        "CONFIG",
        `${quote(file ?? "")} is the state of a run ${whose}: give another file`,
      );
    }
    return new RunState(file, run, found);
  }

  /** Eight hexadecimal digits that name this run, and stay when it is resumed. */
  get runId(): string {
    return this.#content.runId;
  }

  /** The state of a resource by its name; a new one where there is none yet. Change it, then {@link save}. */
  of(resource: string): ResourceState {
    return (this.#content.resources[resource] ??= { status: "open", tally: emptyTally() });
  }

  /** Writes the file. @throws ProviderError CONFIG where it cannot be written */
  async save(): Promise<void> {
    if (this.#file === undefined) return;
    this.#content.savedAt = new Date().toISOString();
    try {
      await replaceFile(this.#file, `${JSON.stringify(this.#content, undefined, 2)}\n`, 0o600);
    } catch (cause) {
      throw new ProviderError("CONFIG", `cannot write ${quote(this.#file)}: ${(cause as Error).message}`, {
        cause,
      });
    }
  }

  /** Deletes the file: all is done. */
  async remove(): Promise<void> {
    if (this.#file !== undefined) await rm(this.#file, { force: true });
  }
}

async function readContent(file: string): Promise<Content | undefined> {
  let bytes: Buffer | undefined;
  try {
    bytes = await readBounded(file);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new ProviderError("CONFIG", `cannot read ${quote(file)}: ${readFailure(cause)}`, { cause });
  }
  try {
    return v.parse(shape, JSON.parse(bytes?.toString("utf8") ?? ""));
  } catch (cause) {
    throw new ProviderError(
      "CONFIG",
      `${quote(file)} is no state of reencrypt: give another file, or delete it`,
      {
        cause,
      },
    );
  }
}
