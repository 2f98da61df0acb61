/**
 * What KMIP servers do differently in Encrypt and Decrypt with AES GCM, and which of it a server was found to do: in
 * what unit the lengths of IV and tag are given, and where the tag travels. Tried out once, then remembered.
 */
import { KmipResultError, ProviderError } from "../errors.ts";
import { BlockCipherMode, CryptographicAlgorithm } from "../kmip/index.ts";

/** 96 bits, as the Go original has it. */
export const ivBytes = 12;
/** 128 bits. */
export const tagBytes = 16;

const base = {
  blockCipherMode: BlockCipherMode.GCM,
  cryptographicAlgorithm: CryptographicAlgorithm.AES,
};

/** Cryptographic Parameters by how they give the lengths, in the order in which they are tried. The Go original sends bytes. */
const lengthForms = [
  { ...base, ivLength: ivBytes, tagLength: tagBytes },
  base,
  { ...base, ivLength: ivBytes * 8, tagLength: tagBytes * 8 },
  { ...base, ivLength: ivBytes * 8, tagLength: tagBytes },
  { ...base, ivLength: ivBytes, tagLength: tagBytes * 8 },
] as const;

/** One way to write a request. */
export interface Habit {
  readonly cryptographicParameters: (typeof lengthForms)[number];
  /** Whether the tag of a Decrypt goes into its own field, where the version has one; otherwise to the end of the data. */
  readonly hasTagField: boolean;
}

/** What was found out, and how to find out more. */
export interface Habits {
  /** What works, or is to be tried first. */
  readonly current: Habit;
  /** An Encrypt or Decrypt succeeded so: it is `current` from now on. */
  works(habit: Habit): void;
  /**
   * What else to try for an operation that was refused with `error`; none where the refusal is about something else.
   * @param hasTagField whether a version with a field for the tag is spoken.
   */
  alternatives(operation: "Encrypt" | "Decrypt", error: unknown, hasTagField: boolean): readonly Habit[];
  /** No alternative helped: for a minute the lengths are left as they are. */
  exhausted(): void;
}

/** Result Reasons by which servers refuse lengths that they do not understand. */
const refusesForm: ReadonlySet<string> = new Set([
  "Invalid Field",
  "Invalid Message",
  "Cryptographic Failure",
]);

const pauseMs = 60_000;

/** Knows nothing yet: everything is as the Go original has it. */
export function createHabits(): Habits {
  let current: Habit = { cryptographicParameters: lengthForms[0], hasTagField: true };
  let isProven = false;
  let pausedUntil = 0;

  /** Once a form has worked, a Cryptographic Failure of a Decrypt is about the ciphertext, or where the tag goes. */
  const formsFor = (operation: "Encrypt" | "Decrypt", error: unknown): typeof lengthForms | [] => {
    if (!isProven && operation === "Decrypt") return lengthForms;
    if (isTagMisplaced(error) && isProven) return [];
    return performance.now() < pausedUntil ? [] : lengthForms;
  };

  return {
    get current() {
      return current;
    },
    works(habit) {
      current = habit;
      isProven = true;
    },
    alternatives(operation, error, hasTagField) {
      if (!isAboutForm(error)) return [];
      const { cryptographicParameters: form, hasTagField: inField } = current;
      const forms = [form, ...formsFor(operation, error).filter((other) => other !== form)];
      const places = operation === "Decrypt" && hasTagField ? [inField, !inField] : [inField];
      const all = forms.flatMap((parameters) =>
        places.map((place): Habit => ({ cryptographicParameters: parameters, hasTagField: place })),
      );
      return all.slice(1);
    },
    exhausted() {
      pausedUntil = performance.now() + pauseMs;
    },
  };
}

/** A refusal; or a reply of an odd length, where the server took the lengths for bits. */
function isAboutForm(error: unknown): boolean {
  if (error instanceof KmipResultError) return refusesForm.has(error.reason);
  return error instanceof ProviderError && error.code === "KMIP_UNEXPECTED";
}

function isTagMisplaced(error: unknown): boolean {
  return !(error instanceof KmipResultError) || error.reason === "Cryptographic Failure";
}
