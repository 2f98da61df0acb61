/**
 * Cuts a stream of bytes into messages: the outermost item's length is the frame, KMIP 1.4 section 9.1. Looks at
 * nothing behind the first header, so that a message too large is refused before a byte of it is kept.
 */
import { ProviderError, TtlvError } from "../../errors.ts";
import { hexadecimal } from "../spec/names.ts";
import { ItemType } from "./item.ts";
import { defaultMaxMessageBytes, headerBytes, isTag } from "./limits.ts";

/** How a {@link Framer} is made. */
export interface FramerOptions {
  /** The largest message to accept, with its header, in bytes. Default: 1 MiB. */
  readonly maxMessageBytes?: number;
}

/** One direction of one connection. */
export interface Framer {
  /**
   * Takes what has arrived and gives back the messages that it completes, in order. They share no memory with
   * `chunk`, nor with each other. Throws KMIP_FRAME_TOO_LARGE, TTLV_TAG, TTLV_TYPE or TTLV_LENGTH for bytes that
   * cannot be the header of a message, and from then on the same again: it is not known where the next message
   * begins. Messages that the same chunk completed before the fault go with it.
   */
  push(chunk: Uint8Array): Uint8Array[];
  /** Bytes kept of a message that is not complete. More than 0 at the end of a stream: the last one was cut. */
  readonly pendingBytes: number;
}

function uint32(bytes: Uint8Array, at: number): number {
  const high = ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
  return ((high << 16) | ((bytes[at + 2] ?? 0) << 8) | (bytes[at + 3] ?? 0)) >>> 0;
}

/** The size of the message whose header begins `bytes`; throws where that is no header of a message. */
function frameBytes(bytes: Uint8Array, maxMessageBytes: number): number {
  const tag = uint32(bytes, 0) >>> 8;
  const length = uint32(bytes, 4);
  if (!isTag(tag))
    throw new TtlvError("TTLV_TAG", `no tag ${hexadecimal(tag, 6)}: the peer does not speak KMIP`, {
      offset: 0,
      path: "",
    });
  if (bytes[3] !== ItemType.Structure)
    throw new TtlvError("TTLV_TYPE", "a message that is no Structure", { offset: 3, path: "" });
  if (length % 8 !== 0)
    throw new TtlvError("TTLV_LENGTH", `length ${length} is not a multiple of 8`, { offset: 4, path: "" });
  if (headerBytes + length > maxMessageBytes)
    throw new ProviderError(
      "KMIP_FRAME_TOO_LARGE",
      `a KMIP message of ${headerBytes + length} bytes, over ${maxMessageBytes}`,
    );
  return headerBytes + length;
}

/** Makes a framer with nothing pending. */
export function createFramer({ maxMessageBytes = defaultMaxMessageBytes }: FramerOptions = {}): Framer {
  let pending = new Uint8Array(headerBytes);
  let pendingBytes = 0;
  /** Size of the pending message; undefined until its header is there. */
  let frame: number | undefined;
  let failure: unknown;

  /** Keeps a copy. Grows with what arrives, not with what a header announces: a peer must send bytes to cost bytes. */
  function keep(part: Uint8Array, goal: number): void {
    const needed = pendingBytes + part.length;
    if (needed > pending.length) {
      const larger = new Uint8Array(Math.min(goal, Math.max(needed, pending.length * 2)));
      larger.set(pending.subarray(0, pendingBytes));
      pending = larger;
    }
    pending.set(part, pendingBytes);
    pendingBytes = needed;
  }

  function reset(): void {
    pending = new Uint8Array(headerBytes);
    pendingBytes = 0;
    frame = undefined;
  }

  function cut(chunk: Uint8Array): Uint8Array[] {
    // Nearly always a chunk is one message.
    if (
      pendingBytes === 0 &&
      chunk.length > headerBytes &&
      frameBytes(chunk, maxMessageBytes) === chunk.length
    )
      return [new Uint8Array(chunk)];
    const messages: Uint8Array[] = [];
    let at = 0;
    while (at < chunk.length) {
      const goal = frame ?? headerBytes;
      const end = Math.min(chunk.length, at + goal - pendingBytes);
      keep(chunk.subarray(at, end), goal);
      at = end;
      if (pendingBytes < goal) break;
      frame ??= frameBytes(pending, maxMessageBytes);
      if (pendingBytes < frame) continue;
      // Complete: `keep` never allocates past the goal, so the buffer is the message, and is given away.
      messages.push(pending);
      reset();
    }
    return messages;
  }

  return {
    push(chunk) {
      if (failure !== undefined) throw failure;
      try {
        return cut(chunk);
      } catch (error) {
        failure = error;
        reset();
        throw error;
      }
    },
    get pendingBytes() {
      return pendingBytes;
    },
  };
}
