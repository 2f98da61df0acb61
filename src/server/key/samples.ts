/**
 * What deep probes wrapped, the oldest for each key: a later probe unwraps it, and so notices that the bytes of a key
 * were exchanged under its identifier. In memory, and in a file of --state-dir, whose loss costs that memory only.
 */
import { createHash } from "node:crypto";
import type { Encryptor, UnwrapRequest } from "../../encryptors/encryptor.ts";

/** Most keys of which a sample is kept. */
export const maxSamples = 16;
/** Longest ciphertext and annotations of a sample, in bytes: what this program wraps is far shorter. */
const maxSampleBytes = 8 * 1024;
/** Longest wait for the file in a probe, in ms: it may lie on a network file system that hangs. */
const fileWaitMs = 1000;

/**
 * Random test bytes as the KMS wrapped them. Nothing in it is secret: the bytes were made for this test, protect
 * nothing, and are not in it; of 32 random bytes a hash reveals nothing.
 */
export interface Sample extends UnwrapRequest {
  /** Ciphertexts of one protocol do not open over the other, even under the same key. */
  readonly protocol: Encryptor["protocol"];
  /** SHA-256 of the test bytes, in hexadecimal. */
  readonly sha256: string;
  readonly wrappedAt: Date;
  /** The server that wrapped it, by its name; undefined where that is not known, as after a restart. */
  readonly server?: string | undefined;
}

/** The hash that a sample keeps of its test bytes. */
export function sampleHash(testBytes: Uint8Array): string {
  return createHash("sha256").update(testBytes).digest("hex");
}

/** Whether `bytes` are those that were wrapped. */
export function isOpened(sample: Sample, bytes: Uint8Array): boolean {
  return sampleHash(bytes) === sample.sha256;
}

/** Where samples outlive the process. Both methods may reject with any error. */
export interface SampleFile {
  /** Full path, for messages. */
  readonly path: string;
  /**
   * Empty where there is no file.
   * @param options.isOwnerTrusted read it whoever owns it. Default: only this process's user and root.
   */
  read(options?: { readonly isOwnerTrusted: boolean }): Promise<readonly Sample[]>;
  write(samples: readonly Sample[]): Promise<void>;
}

/** The file cannot be read or written (reported once until it can), or can be written again. */
export interface SampleFileEvent {
  readonly type: "sample-file";
  readonly path: string;
  readonly change: "unreadable" | "unwritable" | "writable";
  readonly error?: unknown;
}

/** The samples. */
export interface SampleStore {
  /** The oldest sample of a key. Waits a second at most for the file to be read. */
  find(protocol: Encryptor["protocol"], keyId: string): Promise<Sample | undefined>;
  /** Keeps the first sample of a key; has no effect where there is one. */
  keep(sample: Sample): void;
  /** Resolves when nothing is being written, after a second at most. */
  settle(): Promise<void>;
}

/**
 * Makes a store.
 * @param onEvent called synchronously; must not throw
 */
export function createSampleStore(
  file: SampleFile | undefined,
  onEvent: (event: SampleFileEvent) => void,
): SampleStore {
  let samples = new Map<string, Sample>();
  let hasUnwritten = false;
  let isWritable = true;
  let loading: Promise<void> | undefined;
  let writing: Promise<void> | undefined;

  async function load(from: SampleFile): Promise<void> {
    try {
      const read = (await from.read()).map((sample) => [nameOf(sample), sample] as const);
      // What is in the file is older than what was wrapped while it was being read, and comes first.
      samples = new Map([...read, ...samples, ...read]);
    } catch (error) {
      onEvent({ type: "sample-file", path: from.path, change: "unreadable", error });
    }
  }

  async function write(to: SampleFile): Promise<void> {
    await (loading ??= load(to));
    try {
      while (hasUnwritten) {
        hasUnwritten = false;
        await to.write([...samples.values()].slice(-maxSamples));
      }
      if (!isWritable) onEvent({ type: "sample-file", path: to.path, change: "writable" });
      isWritable = true;
    } catch (error) {
      hasUnwritten = true;
      if (isWritable) onEvent({ type: "sample-file", path: to.path, change: "unwritable", error });
      isWritable = false;
    }
  }

  function startWriting(): void {
    if (file === undefined || writing !== undefined) return;
    writing = write(file).finally(() => (writing = undefined));
  }

  return {
    async find(protocol, keyId) {
      if (file !== undefined) await within(fileWaitMs, (loading ??= load(file)));
      if (hasUnwritten) startWriting();
      return samples.get(nameOf({ protocol, keyId }));
    },
    keep(sample) {
      if (samples.has(nameOf(sample)) || sizeOf(sample) > maxSampleBytes) return;
      samples.set(nameOf(sample), sample);
      for (const name of samples.keys()) if (samples.size > maxSamples) samples.delete(name);
      hasUnwritten = true;
      startWriting();
    },
    settle: () => within(fileWaitMs, writing),
  };
}

function nameOf({ protocol, keyId }: Pick<Sample, "protocol" | "keyId">): string {
  return `${protocol} ${keyId}`;
}

function sizeOf({ ciphertext, annotations }: Sample): number {
  const parts = Object.entries(annotations).map(([name, value]) => name.length + value.length);
  return parts.reduce((sum, part) => sum + part, ciphertext.length);
}

/** Waits for `work`, but no longer than this. */
async function within(ms: number, work: Promise<void> | undefined): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms).unref();
  await Promise.race([work, promise]);
  clearTimeout(timer);
}
