/**
 * A set of etcd keys in a fixed amount of memory: 128 bits of a salted SHA-256 of each, in an open-addressing table.
 * Two keys that share them are not to be expected before 2^64 keys, and nobody can make them on purpose.
 */
import { createHash, randomBytes } from "node:crypto";

const words = 4;

/** A set that takes at most `capacity` keys. */
export class KeySet {
  readonly #slots: Uint32Array;
  readonly #mask: number;

  constructor(capacity: number) {
    // At most half full, so that a probe is short.
    const slots = 2 ** Math.ceil(Math.log2(Math.max(2, capacity * 2)));
    this.#slots = new Uint32Array(slots * words);
    this.#mask = slots - 1;
  }

  /** Adds a key by its digest. @returns whether it is new */
  add(digest: KeyDigest): boolean {
    const slots = this.#slots;
    for (let slot = digest[0] & this.#mask; ; slot = (slot + 1) & this.#mask) {
      const at = slot * words;
      const isFree = slots[at] === 0 && slots[at + 1] === 0 && slots[at + 2] === 0 && slots[at + 3] === 0;
      if (isFree) slots.set(digest, at);
      if (isFree) return true;
      if (digest.every((word, index) => slots[at + index] === word)) return false;
    }
  }
}

/** 128 bits, not all of them zero. */
export type KeyDigest = readonly [number, number, number, number];

const salt = randomBytes(16);

/** The digest of a key; another one in another process. */
export function digestOf(key: Uint8Array): KeyDigest {
  const bytes = createHash("sha256").update(salt).update(key).digest();
  return [
    bytes.readUInt32LE(0),
    bytes.readUInt32LE(4),
    bytes.readUInt32LE(8),
    bytes.readUInt32LE(12) | 1,
  ].map((word) => word >>> 0) as unknown as KeyDigest;
}
