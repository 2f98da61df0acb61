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
  stream: NodeJS.WritableStream & { readonly isTTY?: boolean },
  label: string,
): ProgressBar {
  if (stream.isTTY !== true) return { update: () => undefined, clear: () => undefined };
  const begun = performance.now();
  let next = begun + firstAfterMs;
  let isShown = false;
  return {
    update(progress) {
      const now = performance.now();
      if (now < next) return;
      next = now + everyMs;
      isShown = true;
      stream.write(`\r\u001b[K${renderProgress(label, progress, now - begun)}`);
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
