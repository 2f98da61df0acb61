/** Reads a source, opens what is asked for, and hands it on; what cannot be opened is named on standard error. */
import { mostListed } from "../../etcd/inventory.ts";
import { parseObjectKey, type ObjectKey } from "../../etcd/object-key.ts";
import { createOpener, type Opener } from "../../etcd/opener.ts";
import type { Entry } from "../../etcd/source.ts";
import { decodeStored, forApply, type JsonObject } from "../../etcd/stored-object.ts";
import { withKms } from "../etcd/open-kms.ts";
import { createProgressBar } from "../etcd/progress.ts";
import { openSources, type SourceIo } from "../etcd/sources.ts";
import { amount, printable } from "../render.ts";
import type { RecoverOptions } from "./options.ts";
import { createSink, type Sink } from "./sink.ts";

/** Most objects that are opened at once. */
const mostAtOnce = 32;

/** Recovers. @returns the exit code: 0 where everything asked for was handed on, else 1 */
export async function runRecover(options: RecoverOptions, io: SourceIo): Promise<number> {
  return withKms(options.kms, io.stderr, async (kms) => {
    const opener = createOpener(kms?.unwrap);
    const sink = await createSink(options, io.stdout);
    const recovery = new Recovery(options, opener, sink);
    await recover(options, io, recovery);
    opener.close();
    return recovery.report(io.stderr, opener.decryptCalls());
  });
}

/** In the order of the source: the next are opened while one is written. */
async function recover({ sources }: RecoverOptions, io: SourceIo, recovery: Recovery): Promise<void> {
  const [source] = await openSources(sources, io.stdin);
  if (source === undefined) return;
  const bar = createProgressBar(io.stderr, source.name);
  const pending: Promise<() => Promise<void>>[] = [];
  const writeFirst = async (): Promise<void> => (await pending.shift())?.();
  const onNote = (note: string): void => {
    bar.clear();
    io.stderr.write(`! ${note}\n`);
  };
  try {
    for await (const entry of source.read({ onProgress: bar.update, onNote })) {
      if (!recovery.isWanted(entry)) continue;
      const opening = recovery.open(entry);
      opening.catch(() => undefined);
      pending.push(opening);
      if (pending.length >= mostAtOnce) await writeFirst();
    }
    while (pending.length > 0) await writeFirst();
  } finally {
    bar.clear();
    await recovery.end();
  }
}

/** An empty list is everything. */
function isIn(list: readonly string[], value: string): boolean {
  return list.length === 0 || list.includes(value);
}

/** What was recovered so far, and what was not. */
class Recovery {
  readonly #options: RecoverOptions;
  readonly #opener: Opener;
  readonly #sink: Sink;
  readonly #failures: string[] = [];
  readonly #skipped = new Map<string, number>();
  #failed = 0;
  #written = 0;

  constructor(options: RecoverOptions, opener: Opener, sink: Sink) {
    this.#options = options;
    this.#opener = opener;
    this.#sink = sink;
  }

  isWanted({ key, state }: Entry): boolean {
    const { sources, filter } = this.#options;
    if (state !== "current") return false;
    const { resource, namespace, name } = parseObjectKey(key, sources.prefix);
    return isIn(filter.resources, resource) && isIn(filter.namespaces, namespace) && isIn(filter.names, name);
  }

  /** Opens a value. @returns what hands it on */
  async open(entry: Entry): Promise<() => Promise<void>> {
    const object = parseObjectKey(entry.key, this.#options.sources.prefix);
    const opened = await this.#opener.open(entry);
    return async () => {
      if ("plaintext" in opened) await this.#take(entry, object, opened.plaintext);
      else this.#fail(entry.key, opened.message);
    };
  }

  async #take({ key }: Entry, object: ObjectKey, plaintext: Uint8Array): Promise<void> {
    const stored = decodeStored(plaintext);
    if (this.#options.isRaw) await this.#write(key, () => this.#sink.writeRaw(object, plaintext));
    else if (stored.form === "invalid") this.#fail(key, stored.reason);
    else if (stored.form === "object")
      await this.#write(key, () => this.#sink.write(object, this.#shape(stored.object)));
    else if (this.#isAskedFor(object))
      this.#fail(
        key,
        `a ${stored.kind} of ${stored.apiVersion} is stored as protobuf: --raw gives its bytes`,
      );
    else this.#skipped.set(object.resource, (this.#skipped.get(object.resource) ?? 0) + 1);
  }

  #shape(object: JsonObject): JsonObject {
    return this.#options.keepMetadata ? object : forApply(object);
  }

  /** By its resource or its name, rather than with everything else. */
  #isAskedFor({ name }: ObjectKey): boolean {
    const { resources, names } = this.#options.filter;
    return resources.length > 0 || names.includes(name);
  }

  async #write(key: string, write: () => Promise<string | undefined>): Promise<void> {
    const failure = await write();
    if (failure === undefined) this.#written += 1;
    else this.#fail(key, failure);
  }

  #fail(key: string, message: string): void {
    this.#failed += 1;
    if (this.#failures.length < mostListed) this.#failures.push(printable(`✖ ${key}: ${message}`));
  }

  end(): Promise<void> {
    return this.#sink.end();
  }

  /** Names what failed, then counts. @returns the exit code */
  report(stderr: NodeJS.WritableStream, decryptCalls: number): number {
    for (const failure of this.#failures) stderr.write(`${failure}\n`);
    if (this.#skipped.size > 0) {
      const count = [...this.#skipped.values()].reduce((sum, own) => sum + own, 0);
      const resources = printable([...this.#skipped.keys()].toSorted().join(", "));
      stderr.write(
        `! ${amount(count, "objects")} skipped, stored as protobuf of other kinds (--raw): ${resources}\n`,
      );
    }
    if (this.#written + this.#failed === 0) stderr.write("✖ there is no such object\n");
    stderr.write(
      `${amount(this.#written, "objects")} recovered, ${this.#failed} not, with ${amount(decryptCalls, "Decrypts")}\n`,
    );
    return this.#failed > 0 || this.#written === 0 ? 1 : 0;
  }
}
