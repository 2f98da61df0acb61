/** A stream that keeps what is written to it, in place of standard output or standard error. */
import { Writable } from "node:stream";

/** See above. */
export interface Collector {
  readonly stream: Writable;
  /** Everything written so far. */
  text(): string;
}

/** Makes one. */
export function createCollector(): Collector {
  let text = "";
  const stream = new Writable({
    write(chunk, _encoding, done) {
      text += String(chunk);
      done();
    },
  });
  return { stream, text: () => text };
}
