/**
 * What KMIP servers do differently in Encrypt and Decrypt with AES GCM: in what unit the lengths of IV and tag are given,
 * and where the tag travels. Tried out once for each server, then kept in the record of what was learned about it.
 */
import { KmipResultError, ProviderError } from "../errors.ts";
import { BlockCipherMode, CryptographicAlgorithm } from "../kmip/index.ts";
import type { Learned } from "../upstream/learned.ts";

/** 96 bits, as the Go original has it. */
export const ivBytes = 12;
/** 128 bits. */
export const tagBytes = 16;

const base = {
  blockCipherMode: BlockCipherMode.GCM,
  cryptographicAlgorithm: CryptographicAlgorithm.AES,
};

/** Cryptographic Parameters by how they give the lengths, in the order in which they are tried. The Go original sends bytes. */
const parameters = {
  bytes: { ...base, ivLength: ivBytes, tagLength: tagBytes },
  absent: base,
  bits: { ...base, ivLength: ivBytes * 8, tagLength: tagBytes * 8 },
  "IV in bits": { ...base, ivLength: ivBytes * 8, tagLength: tagBytes },
  "tag in bits": { ...base, ivLength: ivBytes, tagLength: tagBytes * 8 },
} as const;
type Lengths = keyof typeof parameters;
const allLengths = Object.keys(parameters) as Lengths[];

/** One way to write a request. */
export interface Habit {
  readonly lengths: Lengths;
  /** Where the tag of a Decrypt goes: into its own field, where the version has one; or to the end of the data. */
  readonly tag: "field" | "data";
}

/** A request as it was sent to one server. */
export interface Asked {
  readonly learned: Learned;
  readonly habit: Habit;
  /** Whether the version that is spoken has a field for the tag. */
  readonly hasTagField: boolean;
}

/** The Cryptographic Parameters of a habit. */
export function parametersOf({ lengths }: Habit): (typeof parameters)[Lengths] {
  return parameters[lengths];
}

/** A request was answered so: from now on the server is asked so first. */
export function remember({ learned, habit: { lengths, tag }, hasTagField }: Asked): void {
  if (learned.get("lengths") !== lengths) learned.set("lengths", lengths);
  if (hasTagField && learned.get("tag") !== tag) learned.set("tag", tag);
}

/** What is known to work, or is to be tried first: as the Go original has it. */
function habitOf(learned: Learned): Habit {
  const known = learned.get("lengths");
  return {
    lengths: allLengths.find((lengths) => lengths === known) ?? "bytes",
    tag: learned.get("tag") === "data" ? "data" : "field",
  };
}

/** Result Reasons by which servers refuse lengths that they do not understand. */
const refusesForm: ReadonlySet<string> = new Set([
  "Invalid Field",
  "Invalid Message",
  "Cryptographic Failure",
]);

/** After no form of the lengths was taken, they are left as they are for so long. */
const pauseMs = 60_000;

/** The search of one Encrypt or Decrypt for what its server takes; with several servers, of each by itself. */
export class FormSearch {
  readonly #operation: "Encrypt" | "Decrypt";
  #searches: Map<Learned, { readonly firstRefusal: unknown; readonly left: Habit[] }> | undefined;
  #answered: Asked | undefined;

  constructor(operation: "Encrypt" | "Decrypt") {
    this.#operation = operation;
  }

  /** How to ask the server of this record now. */
  habitFor(learned: Learned): Habit {
    return this.#searches?.get(learned)?.left[0] ?? habitOf(learned);
  }

  /** The server has replied, whatever it says. */
  answered(asked: Asked): void {
    this.#answered = asked;
  }

  /**
   * After a request that failed: goes on to the server's next form.
   * @returns what to fail with where there is none: the first refusal of that server, or `error`
   */
  fail(error: unknown): { readonly failure: unknown } | undefined {
    const asked = this.#answered;
    this.#answered = undefined;
    if (asked === undefined || isTransient(error)) return { failure: error };
    const { learned } = asked;
    const search = this.#searches?.get(learned);
    if (search === undefined) {
      const left = alternatives(this.#operation, asked, error);
      (this.#searches ??= new Map()).set(learned, { firstRefusal: error, left });
      return left.length > 0 ? undefined : { failure: error };
    }
    search.left.shift();
    if (search.left.length > 0) return undefined;
    learned.set("otherLengths", "refused", pauseMs);
    return { failure: search.firstRefusal };
  }
}

/** Not about the form of the request: the next attempt would fail in the same way. */
function isTransient(error: unknown): boolean {
  if (!(error instanceof ProviderError)) return true;
  return ["network", "timeout", "request", "overload"].includes(error.kind);
}

/** What else to try for an operation that was refused with `error`; none where the refusal is about something else. */
function alternatives(
  operation: "Encrypt" | "Decrypt",
  { learned, habit, hasTagField }: Asked,
  error: unknown,
): Habit[] {
  if (!isAboutForm(error)) return [];
  const others = lengthsFor(operation, learned, error).filter((lengths) => lengths !== habit.lengths);
  const otherTag = habit.tag === "field" ? "data" : "field";
  const tags = operation === "Decrypt" && hasTagField ? ([habit.tag, otherTag] as const) : [habit.tag];
  return [habit.lengths, ...others].flatMap((lengths) => tags.map((tag) => ({ lengths, tag }))).slice(1);
}

/** Once a form has worked, a Cryptographic Failure of a Decrypt is about the ciphertext, or where the tag goes. */
function lengthsFor(operation: "Encrypt" | "Decrypt", learned: Learned, error: unknown): readonly Lengths[] {
  const isProven = learned.get("lengths") !== undefined;
  if (!isProven && operation === "Decrypt") return allLengths;
  if (isTagMisplaced(error) && isProven) return [];
  return learned.get("otherLengths") === "refused" ? [] : allLengths;
}

/** A refusal; or a reply of an odd length, where the server took the lengths for bits. */
function isAboutForm(error: unknown): boolean {
  if (error instanceof KmipResultError) return refusesForm.has(error.reason);
  return error instanceof ProviderError && error.code === "KMIP_UNEXPECTED";
}

function isTagMisplaced(error: unknown): boolean {
  return !(error instanceof KmipResultError) || error.reason === "Cryptographic Failure";
}
