/**
 * Watches the files of mutual TLS: by content, for Kubernetes swaps symbolic links and editors rename; every
 * 10 s, and at once when asked to. A valid new set is handed on; a bad one is refused with its reason, and the old set stays.
 */
import { ProviderError, toProviderError } from "../errors.ts";
import { checkTlsBytes, dateProblem, readTlsFiles } from "./tls.ts";
import type { TlsBytes, TlsFiles, TlsMaterial } from "./tls.ts";

/** A certificate that ends soon, or has ended. */
export interface Expiry {
  readonly file: string;
  readonly notAfter: Date;
  /** Whole days that remain; negative: since when it has ended. */
  readonly days: number;
}

/** How a {@link TlsWatch} is made. The callbacks are called synchronously and must not throw. */
export interface TlsWatchOptions {
  /** Time between two reads of the files, in ms. Default: 10 000. */
  readonly intervalMs?: number;
  /**
   * Tries a set that is good by itself before it takes the place of the one in use.
   * @returns why it must not; undefined where it may
   */
  readonly objection?: (next: TlsMaterial, inUse: TlsMaterial) => Promise<ProviderError | undefined>;
  /** A set of files that is good, and not the one in use: the first, and every new one. */
  readonly onMaterial: (material: TlsMaterial) => void;
  /** A set that is refused; `isNews`: for the first time for this reason, or at a `reload`. */
  readonly onRefused: (error: ProviderError, isNews: boolean) => void;
  /** After a refusal that was news, the files are those in use again. */
  readonly onMended: () => void;
  /** Told at 30 days, each day from 7 on, and each day after the end. */
  readonly onExpiry: (expiry: Expiry) => void;
}

/** What came of reading the files: a new set is in use, or the same, or the set was refused for this reason. */
export type ReloadResult = "loaded" | "unchanged" | ProviderError;

/** The watch. */
export interface TlsWatch {
  /** Reads the files at once, and begins to watch; resolves when they have been read. */
  start(): Promise<void>;
  /** Reads them at once, and gives the result: for SIGHUP. */
  reload(): Promise<ReloadResult>;
  /** Ends. */
  stop(): void;
}

/** Why the set that is there now is refused. */
interface Refusal {
  readonly reason: string;
  readonly isReported: boolean;
  /** How often a refused set was seen in a row. */
  readonly reads: number;
}

/** How soon a set that was refused is read again, in ms, doubling: it may be half written. */
const firstRetryMs = 1_000;
/** After so long a file that is being read is reported to hang, in ms. */
const slowReadMs = 5_000;
const dayMs = 86_400_000;

/** Makes a watch; `start` begins it. */
export function watchTlsMaterial(files: TlsFiles, options: TlsWatchOptions): TlsWatch {
  const intervalMs = options.intervalMs ?? 10_000;
  const reportExpiry = createExpiryReporter(options.onExpiry);
  let current: TlsMaterial | undefined;
  let refusal: Refusal | undefined;
  let reading: Promise<unknown> = Promise.resolve();
  let timer: NodeJS.Timeout | undefined;
  let isStopped = false;

  async function readOnce(isAsked: boolean): Promise<ReloadResult> {
    if (isStopped) return "unchanged";
    clearTimeout(timer);
    let seen: ReloadResult = "unchanged";
    try {
      const bytes = await readInTime();
      if (bytes.fingerprint !== current?.fingerprint) {
        await load(bytes);
        seen = "loaded";
      } else if (refusal?.isReported === true) options.onMended();
      refusal = undefined;
    } catch (error) {
      seen = toProviderError(error);
      refuse(seen, isAsked);
    }
    if (current !== undefined) reportExpiry(current);
    if (!isStopped) timer = setTimeout(() => void enqueue(false), delayMs()).unref();
    return seen;
  }

  /** Reads the files, however long that takes, and reports it if it takes too long. */
  async function readInTime(): Promise<TlsBytes> {
    const late = setTimeout(() => {
      const all = Object.values(files).join(", ");
      refuse(new ProviderError("TLS_FILES", `${all}: the file system does not answer`), true);
    }, slowReadMs).unref();
    try {
      return await readTlsFiles(files);
    } finally {
      clearTimeout(late);
    }
  }

  /** One read at a time. */
  function enqueue(isAsked: boolean): Promise<ReloadResult> {
    const seen = reading.then(() => readOnce(isAsked));
    reading = seen;
    return seen;
  }

  async function load(bytes: TlsBytes): Promise<void> {
    const material = checkTlsBytes(files, bytes);
    // At the start the server decides; later a working set is not replaced by one that does not work.
    if (current !== undefined && dateProblem(current).length === 0) {
      const [problem] = dateProblem(material);
      if (problem !== undefined) throw new ProviderError("TLS_FILES", problem);
      const objection = await options.objection?.(material, current);
      if (objection !== undefined) throw objection;
    }
    if (isStopped) return;
    options.onMaterial(material);
    current = material;
  }

  /** Where a set is in use, a bad one is not reported at its first read: it may be half written. */
  function refuse(error: ProviderError, isAsked: boolean): void {
    const before = refusal?.reason === error.message ? refusal : undefined;
    const isCertain = isAsked || current === undefined || before !== undefined;
    const isReported = before?.isReported === true;
    refusal = {
      reason: error.message,
      isReported: isReported || isCertain,
      reads: (refusal?.reads ?? 0) + 1,
    };
    if (isCertain) options.onRefused(error, isAsked || !isReported);
  }

  function delayMs(): number {
    return refusal === undefined ? intervalMs : Math.min(firstRetryMs * 2 ** (refusal.reads - 1), intervalMs);
  }

  return {
    start: async () => {
      await enqueue(true);
    },
    reload: () => enqueue(true),
    stop() {
      isStopped = true;
      clearTimeout(timer);
    },
  };
}

/** Reports each certificate once at 30 days before its end, then once a day from 7 days on. */
function createExpiryReporter(onExpiry: TlsWatchOptions["onExpiry"]): (material: TlsMaterial) => void {
  const reported = new Map<string, string>();
  return ({ notAfter: list }) => {
    for (const { file, notAfter } of list) {
      const days = Math.floor((notAfter.getTime() - Date.now()) / dayMs);
      if (days >= 30) continue;
      const step = `${notAfter.getTime()} ${days >= 7 ? "weeks" : days}`;
      if (reported.get(file) === step) continue;
      reported.set(file, step);
      onExpiry({ file, notAfter, days });
    }
  };
}
