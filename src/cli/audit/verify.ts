/** `--verify`: opens every value and forgets it; what cannot be read is kept by name and reason. */
import type { Entry } from "../../etcd/source.ts";
import { mostListed } from "../../etcd/inventory.ts";
import type { Opener, UnreadableReason } from "../../etcd/opener.ts";
import { parseObjectKey } from "../../etcd/object-key.ts";
import { decodeStored } from "../../etcd/stored-object.ts";

/** A value that cannot be read. */
export interface UnreadableValue {
  readonly key: string;
  readonly revision: number;
  readonly reason: UnreadableReason;
  readonly message: string;
}

/** What cannot be read of one state. */
export interface UnreadableList {
  readonly count: number;
  /** At most `mostListed`. */
  readonly values: readonly UnreadableValue[];
}

/** What came of it. */
export interface VerifyResult {
  /** Values whose tag is right, or that are objects in plaintext. */
  readonly readable: number;
  /** Of what is current. */
  readonly unreadable: UnreadableList;
  /** Of old revisions. */
  readonly unreadableOld: UnreadableList;
  /** Values under other providers than KMS v2, by the name of their kind. */
  readonly notChecked: Readonly<Record<string, number>>;
  /** How often the KMS was asked. */
  readonly decryptCalls: number;
  /** Of each custom resource that was read, its API version. */
  readonly apiVersions: ReadonlyMap<string, string>;
}

interface MutableList {
  count: number;
  readonly values: UnreadableValue[];
}

/** Most values that are opened at once. */
const mostAtOnce = 64;

/** Verifies what it is given. */
export class Verifier {
  readonly #opener: Opener;
  readonly #prefix: string;
  readonly #pending: Promise<void>[] = [];
  readonly #current: MutableList = { count: 0, values: [] };
  readonly #old: MutableList = { count: 0, values: [] };
  readonly #notChecked: Record<string, number> = {};
  readonly #apiVersions = new Map<string, string>();
  readonly #callsBefore: number;
  #readable = 0;

  /** @param opener its DEK sources serve several sources of data */
  constructor(opener: Opener, prefix: string) {
    this.#opener = opener;
    this.#prefix = prefix;
    this.#callsBefore = opener.decryptCalls();
  }

  /** Takes an entry; resolves when there is room for the next. @throws where the KMS cannot be asked */
  async add(entry: Entry): Promise<void> {
    if (entry.state === "tombstone") return;
    const checking = this.#check(entry);
    // Awaited below, unless the source fails before.
    checking.catch(() => undefined);
    this.#pending.push(checking);
    if (this.#pending.length >= mostAtOnce) await this.#settle();
  }

  /** Waits for what is under way. */
  async finish(): Promise<VerifyResult> {
    await this.#settle();
    return {
      readable: this.#readable,
      unreadable: this.#current,
      unreadableOld: this.#old,
      notChecked: this.#notChecked,
      decryptCalls: this.#opener.decryptCalls() - this.#callsBefore,
      apiVersions: this.#apiVersions,
    };
  }

  async #settle(): Promise<void> {
    await Promise.all(this.#pending.splice(0));
  }

  async #check(entry: Entry): Promise<void> {
    const opened = await this.#opener.open(entry);
    if (!("plaintext" in opened)) {
      this.#note(entry, opened);
      return;
    }
    const stored = decodeStored(opened.plaintext);
    opened.plaintext.fill(0);
    if (stored.form === "invalid") {
      this.#note(entry, { reason: "not-understood", message: stored.reason });
      return;
    }
    this.#readable += 1;
    const { resource } = parseObjectKey(entry.key, this.#prefix);
    if (resource.includes(".")) this.#apiVersions.set(resource, stored.apiVersion);
  }

  #note({ key, revision, state }: Entry, why: Pick<UnreadableValue, "reason" | "message">): void {
    if (why.reason === "other-provider") {
      this.#notChecked[why.message] = (this.#notChecked[why.message] ?? 0) + 1;
      return;
    }
    const list = state === "current" ? this.#current : this.#old;
    list.count += 1;
    if (list.values.length < mostListed)
      list.values.push({ key, revision, reason: why.reason, message: why.message });
  }
}
