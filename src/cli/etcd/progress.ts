/** A progress bar on a terminal, for reads that take longer than a moment. */
import type { Progress } from "../../etcd/source.ts";

/** A bar under way. */
export interface ProgressBar {
  update(progress: Progress): void;
  /** Takes the bar from the terminal, before anything else is written to it. */
  clear(): void;
}

const firstAfterMs = 700;
const everyMs = 100;
const width = 24;

/** A bar on `stream`, where it is a terminal; else one that shows nothing. */
export function createProgressBar(
  stream: NodeJS.WritableStream & { readonly isTTY?: boolean; readonly columns?: number },
  label: string,
): ProgressBar {
  if (stream.isTTY !== true) return { update: () => undefined, clear: () => undefined };
  let begun = performance.now();
  let next = begun + firstAfterMs;
  let isShown = false;
  let unit: string | undefined;
  return {
    update(progress) {
      const now = performance.now();
      // Another part of the work, at another speed.
      if (unit !== undefined && unit !== progress.unit) begun = now;
      unit = progress.unit;
      if (now < next) return;
      next = now + everyMs;
      isShown = true;
      // A line that the terminal wraps could not be taken away again.
      const line = renderProgress(label, progress, now - begun).slice(0, (stream.columns ?? 80) - 1);
      stream.write(`\r\u001b[K${line}`);
    },
    clear() {
      if (isShown) stream.write("\r\u001b[K");
      isShown = false;
    },
  };
}

/** One line: label, bar, share, amount, time left. @param elapsedMs since the read began */
export function renderProgress(label: string, { done, total, unit }: Progress, elapsedMs: number): string {
  if (total <= 0) return `${label}  ${done} ${unit}`;
  const share = Math.min(1, done / total);
  const filled = Math.round(share * width);
  const bar = `${"█".repeat(filled)}${"░".repeat(width - filled)}`;
  const left = share > 0 ? Math.ceil((elapsedMs / share - elapsedMs) / 1000) : 0;
  return `${label}  ${bar} ${Math.floor(share * 100)}%  ${done} of ${total} ${unit}, ${left} s left`;
}
