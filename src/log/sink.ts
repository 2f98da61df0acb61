/**
 * Where the lines of the log go: collected for some milliseconds and written together, or sooner when they are many, so
 * that no call waits for the write of its line. Lines that cannot be written are lost, counted and reported.
 */
import { fstatSync, writeSync } from "node:fs";

/** A stream that a log is written to. */
export type LogStream = NodeJS.WritableStream & { readonly isTTY?: boolean; readonly fd?: number };

/** How a {@link LogSink} is made. */
export interface LogSinkOptions {
  readonly stream: LogStream;
  /** Makes the line that reports lost ones. */
  readonly lostLine: (lines: number, reason: string) => string;
}

/** Writes lines; never throws. */
export interface LogSink {
  /** Takes text that ends with a newline. */
  write(line: string): void;
  /** Writes what is collected now. */
  flush(): void;
  /** How many lines were lost so far. */
  lostLines(): number;
}

/** How long lines are collected, in ms. Not only for a turn of the event loop: the end of a call's reply is written in the next. */
const collectMs = 5;
/** Collected text that is written at once, in characters. */
const largeLength = 64 * 1024;
/** The reader of the log may fall behind by so much; beyond, lines are lost. */
const maxWaitingBytes = 1 << 20;

/** Makes a sink. */
export function createLogSink({ stream, lostLine }: LogSinkOptions): LogSink {
  const fd = fileOf(stream);
  let collected: string[] = [];
  let length = 0;
  /** Not reported yet; and all. */
  let lost = 0;
  let allLost = 0;
  let reason = "";
  let isScheduled = false;
  /** A part of a line was written to the file: the next begins on a new one. */
  let isTorn = false;
  stream.on("error", () => undefined);

  function lose(lines: number, why: string): void {
    lost += lines;
    allLost += lines;
    reason = why;
  }

  /** @returns how many lines were not written, and why */
  function writeFile(file: number, text: string): { readonly unwritten: number; readonly why: string } {
    const bytes = Buffer.from(isTorn ? `\n${text}` : text);
    let written = 0;
    let why = "";
    try {
      while (written < bytes.length) written += writeSync(file, bytes, written);
    } catch (error) {
      why = codeOf(error);
    }
    const newlines = countLines(bytes.subarray(written)) - (isTorn && written === 0 ? 1 : 0);
    if (written > 0) isTorn = bytes[written - 1] !== newline;
    return { unwritten: newlines, why };
  }

  function flush(): void {
    if (length === 0) return;
    const reported = lost;
    const text = (lost > 0 ? lostLine(lost, reason) : "") + collected.join("");
    const lines = collected.length;
    [collected, length, lost] = [[], 0, 0];
    /** The report is the first line: where it was not written, nothing was. */
    const onUnwritten = (why: string, unwritten: number): void => {
      const isReportLost = unwritten > lines;
      lose(isReportLost ? lines : unwritten, why);
      if (isReportLost) lost += reported;
    };
    if (fd === undefined) {
      stream.write(text, (error?: Error | null) => {
        if (error) onUnwritten(codeOf(error), Infinity);
      });
      return;
    }
    const { unwritten, why } = writeFile(fd, text);
    if (unwritten > 0) onUnwritten(why, unwritten);
  }

  return {
    write(line) {
      if (waitingBytes(stream) > maxWaitingBytes) {
        lose(1, "the reader did not keep up");
        return;
      }
      collected.push(line);
      length += line.length;
      if (length >= largeLength) flush();
      if (isScheduled) return;
      isScheduled = true;
      setTimeout(() => {
        isScheduled = false;
        flush();
      }, collectMs);
    },
    flush,
    lostLines: () => allLost,
  };
}

const newline = 0x0a;

/** The descriptor of a stream's regular file: Node's own stream does not report how much it wrote before a disk was full. */
function fileOf({ fd }: LogStream): number | undefined {
  try {
    return fd !== undefined && fstatSync(fd).isFile() ? fd : undefined;
  } catch {
    return undefined;
  }
}

function waitingBytes(stream: LogStream): number {
  return "writableLength" in stream ? Number(stream.writableLength) : 0;
}

function countLines(bytes: Uint8Array): number {
  return bytes.reduce((lines, byte) => lines + (byte === newline ? 1 : 0), 0);
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : String(error);
}
