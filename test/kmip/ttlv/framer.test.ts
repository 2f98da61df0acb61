/** The framer: whole messages out of chunks of any size, and a refusal before memory is spent. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ProviderError, TtlvError } from "../../../src/errors.ts";
import { createFramer } from "../../../src/kmip/ttlv/framer.ts";
import { encodeItem } from "../../../src/kmip/ttlv/writer.ts";
import { bytes, encryptRequest, fromHex, structure, toHex, vectors } from "./vectors.ts";

const whole = fromHex(encryptRequest.hex);
const messages = vectors.map(({ hex }) => fromHex(hex)).filter((message) => message[3] === 1);

describe("cutting", () => {
  for (const [index, message] of messages.entries())
    test(`message ${index}, split in two at any offset, comes out whole once`, () => {
      for (let at = 0; at <= message.length; at += 1) {
        const framer = createFramer();
        const first = framer.push(message.subarray(0, at));
        const second = framer.push(message.subarray(at));
        assert.deepEqual([...first, ...second], [message], `split at ${at}`);
        assert.equal(first.length, at === message.length ? 1 : 0);
        assert.equal(framer.pendingBytes, 0);
      }
    });

  test("a message arrives byte by byte", () => {
    const framer = createFramer();
    for (const [at, byte] of whole.entries()) {
      const out = framer.push(Uint8Array.of(byte));
      const isLast = at === whole.length - 1;
      assert.equal(out.length, isLast ? 1 : 0);
      assert.equal(framer.pendingBytes, isLast ? 0 : at + 1);
      if (isLast) assert.deepEqual(out[0], whole);
    }
  });

  test("many messages and the beginning of another arrive in one chunk", () => {
    const framer = createFramer();
    const chunk = Buffer.concat([...messages, whole.subarray(0, 20)]);
    assert.deepEqual(framer.push(chunk), messages);
    assert.equal(framer.pendingBytes, 20);
    assert.deepEqual(framer.push(whole.subarray(20)), [whole]);
  });

  test("an empty chunk gives nothing", () => {
    assert.deepEqual(createFramer().push(new Uint8Array()), []);
  });

  test("a message of the largest size passes", () => {
    const message = encodeItem(structure(0x42007b, bytes(0x4200c2, new Uint8Array(1024 - 16))));
    assert.deepEqual(createFramer({ maxMessageBytes: 1024 }).push(message), [message]);
  });
});

describe("memory", () => {
  test("messages keep their bytes when the buffer of their chunk is reused", () => {
    const framer = createFramer();
    const chunk = Buffer.from(Buffer.concat([whole, whole.subarray(0, 30)]));
    const [first] = framer.push(chunk);
    chunk.fill(0);
    const [second] = framer.push(whole.subarray(30));
    assert.deepEqual(first, whole);
    assert.deepEqual(second, whole);
  });

  test("messages of one chunk do not share memory", () => {
    const [first, second] = createFramer().push(Buffer.concat([whole, whole]));
    first?.fill(0);
    assert.deepEqual(second, whole);
    assert.notEqual(first?.buffer, second?.buffer);
  });
});

const refused = [
  { name: "HTTP", hex: Buffer.from("HTTP/1.1 400").toString("hex"), code: "TTLV_TAG", offset: 0 },
  { name: "a TLS record", hex: "1503010002022800", code: "TTLV_TAG", offset: 0 },
  { name: "a message that is an Integer", hex: "42000d 02 00000004 00000001", code: "TTLV_TYPE", offset: 3 },
  { name: "a length that is no multiple of 8", hex: "420078 01 00000009", code: "TTLV_LENGTH", offset: 4 },
] as const;

describe("what is no message", () => {
  for (const { name, hex, code, offset } of refused)
    test(`${name} is refused with its eighth byte: ${code}`, () => {
      const framer = createFramer();
      const header = fromHex(hex);
      assert.deepEqual(framer.push(header.subarray(0, 7)), []);
      assert.throws(
        () => framer.push(header.subarray(7)),
        (error) => error instanceof TtlvError && error.code === code && error.offset === offset,
      );
    });

  for (const hex of ["420078 01 00000400", "420078 01 fffffff8"])
    test(`a header of ${hex} over the limit is refused before its body`, () => {
      const framer = createFramer({ maxMessageBytes: 1024 });
      assert.throws(
        () => framer.push(fromHex(hex)),
        (error) =>
          error instanceof ProviderError && error.code === "KMIP_FRAME_TOO_LARGE" && !error.retryable,
      );
      assert.equal(framer.pendingBytes, 0);
    });

  test("after a refusal every push is refused in the same way", () => {
    const framer = createFramer();
    assert.throws(() => framer.push(fromHex("1503010002022800")), { code: "TTLV_TAG" });
    assert.throws(() => framer.push(whole), { code: "TTLV_TAG" });
  });

  test("a header that announces the most allocates no more than has arrived", () => {
    const before = process.memoryUsage().arrayBuffers;
    const framers = Array.from({ length: 64 }, () => createFramer());
    for (const framer of framers) assert.deepEqual(framer.push(fromHex("420078 01 000ffff8 00")), []);
    const grown = process.memoryUsage().arrayBuffers - before;
    assert.ok(grown < 8 << 20, `64 framers of 9 bytes hold ${grown} bytes`);
    for (const framer of framers) assert.equal(framer.pendingBytes, 9);
  });

  test("the message behind a good one is refused as one that comes first", () => {
    const framer = createFramer();
    assert.equal(toHex(framer.push(whole)[0] ?? new Uint8Array()), toHex(whole));
    assert.throws(() => framer.push(fromHex("430078 01 00000000")), { code: "TTLV_TAG" });
  });
});
