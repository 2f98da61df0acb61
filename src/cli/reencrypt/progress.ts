/** How far a run is: a bar on a terminal, else a line now and then; with rate and time left. */
import { formatDuration } from "../../config/settings.ts";

const redrawMs = 200;
const lineMs = 10_000;
/** The rate is that of the last so many ms: what slowed the run down an hour ago says nothing of the time left. */
const rateOverMs = 20_000;
const barWidth = 28;

/** Where it is shown: standard error. */
export interface ProgressStream {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  /** Of the terminal. */
  readonly columns?: number;
}

/** See the file's head. */
export class Progress {
  readonly #stream: ProgressStream;
  readonly #isTerminal: boolean;
  readonly #total: number | undefined;
  readonly #timer: NodeJS.Timeout;
  readonly #samples: { at: number; done: number }[] = [];
  #label = "";
  #done: number;
  #isDrawn = false;

  /**
   * @param total how many objects there are; undefined where it is not known
   * @param done how many of them an earlier run has done
   */
  constructor(stream: ProgressStream, total: number | undefined, done: number) {
    this.#stream = stream;
    this.#isTerminal = stream.isTTY === true;
    this.#total = total;
    this.#done = done;
    this.#sample();
    this.#timer = setInterval(() => this.#show(), this.#isTerminal ? redrawMs : lineMs).unref();
  }

  /** Says what is in work, at the line's beginning; the rate is counted from there. */
  begin(label: string): void {
    this.#label = label;
    this.#samples.splice(0);
    this.#sample();
  }

  /** Counts objects as done. */
  add(count: number): void {
    this.#done += count;
  }

  /** Writes a line that stays. */
  note(line: string): void {
    this.#clear();
    this.#stream.write(`${line}\n`);
  }

  /** Ends it, and clears the bar. */
  end(): void {
    clearInterval(this.#timer);
    this.#clear();
  }

  #show(): void {
    this.#sample();
    const line = {
      label: this.#label,
      done: this.#done,
      total: this.#total,
      perSecond: this.#rate(),
    };
    const most = this.#isTerminal ? (this.#stream.columns ?? 80) - 1 : Number.POSITIVE_INFINITY;
    const whole = renderProgress({ ...line, isBar: this.#isTerminal });
    // A line that wraps could not be drawn again in place.
    const text = whole.length <= most ? whole : renderProgress({ ...line, isBar: false }).slice(0, most);
    this.#clear();
    this.#stream.write(this.#isTerminal ? text : `${text}\n`);
    this.#isDrawn = this.#isTerminal;
  }

  #clear(): void {
    if (this.#isDrawn) this.#stream.write("\r\u001B[K");
    this.#isDrawn = false;
  }

  #sample(): void {
    const at = performance.now();
    this.#samples.push({ at, done: this.#done });
    while ((this.#samples[1]?.at ?? at) < at - rateOverMs) this.#samples.shift();
  }

  #rate(): number {
    const [first] = this.#samples;
    const last = this.#samples.at(-1);
    if (first === undefined || last === undefined || last.at === first.at) return 0;
    return ((last.done - first.done) * 1000) / (last.at - first.at);
  }
}

/** What a line of progress shows. */
export interface ProgressLine {
  readonly label: string;
  readonly done: number;
  readonly total: number | undefined;
  readonly perSecond: number;
  readonly isBar: boolean;
}

/** One line, as `secrets: 4,100 of 10,000 (41%), 49/s, 2m left`. */
export function renderProgress({ label, done, total, perSecond, isBar }: ProgressLine): string {
  const part = total === undefined || total === 0 ? undefined : Math.min(1, done / total);
  const bar = isBar && part !== undefined ? `${renderBar(part)} ` : "";
  const counts =
    part === undefined
      ? `${number(done)} objects`
      : `${number(done)} of ${number(total ?? 0)} (${Math.floor(part * 100)}%)`;
  const left = total === undefined || perSecond <= 0 ? 0 : Math.max(0, total - done) / perSecond;
  const rate = perSecond <= 0 ? "" : `, ${number(Math.round(perSecond))}/s`;
  const time = left < 1 ? "" : `, ${formatDuration(Math.round(left) * 1000)} left`;
  return `${label}: ${bar}${counts}${rate}${time}`;
}

function renderBar(part: number): string {
  const full = Math.round(part * barWidth);
  return `[${"#".repeat(full)}${" ".repeat(barWidth - full)}]`;
}

/** With commas between thousands. */
export function number(value: number): string {
  return value.toLocaleString("en-US");
}
