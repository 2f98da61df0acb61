/** The small parts of rest/ as tables: Retry-After, error bodies, the outline of a JWE. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeErrorCode, restErrorOf } from "../../src/rest/error-body.ts";
import { isCompactJwe } from "../../src/rest/jwe.ts";
import { retryAfterMs } from "../../src/rest/statuses.ts";

const now = Date.parse("2030-01-01T00:00:00Z");
const retryAfters: readonly (readonly [unknown, number | undefined])[] = [
  ["0", 0],
  [" 7 ", 7_000],
  ["Tue, 01 Jan 2030 00:00:30 GMT", 30_000],
  ["Mon, 31 Dec 2029 00:00:00 GMT", 0],
  ["Tuesday, 01-Jan-30 00:01:00 GMT", 60_000],
  ["-5", undefined],
  ["1.5", undefined],
  ["soon", undefined],
  ["Tue, soon", undefined],
  ["", undefined],
  ["99999999999999999999", undefined],
  [["1", "2"], undefined],
  [undefined, undefined],
];

for (const [header, expected] of retryAfters)
  test(`Retry-After: ${JSON.stringify(header) ?? "none"} is ${expected ?? "not understood"}`, () => {
    assert.equal(retryAfterMs(header, now), expected);
  });

const codes: readonly (readonly [number, ReturnType<typeof decodeErrorCode>])[] = [
  [0x01_02_20_07, { system: 1, component: 2, category: "argument", detail: 7 }],
  [0xff_ff_ff_ff, { system: 255, component: 255, category: "category 15", detail: 4095 }],
  [0x00_00_30_00, { system: 0, component: 0, category: "authentication", detail: 0 }],
  [0x00_00_40_00, { system: 0, component: 0, category: "authorization", detail: 0 }],
  [0x00_00_50_00, { system: 0, component: 0, category: "not found", detail: 0 }],
  [0x00_00_70_00, { system: 0, component: 0, category: "unavailable", detail: 0 }],
  [0x00_00_90_00, { system: 0, component: 0, category: "too many requests", detail: 0 }],
  [0x1_00_00_00_00, undefined],
  [-1, undefined],
  [1.5, undefined],
];

for (const [code, expected] of codes)
  test(`error_code ${code} is ${expected === undefined ? "no error code" : expected.category}`, () => {
    assert.deepEqual(decodeErrorCode(code), expected);
  });

function errorOf(status: number, body: unknown, headers = {}): ReturnType<typeof restErrorOf> {
  const bytes = body instanceof Uint8Array ? body : Buffer.from(JSON.stringify(body));
  return restErrorOf({ status, headers, body: bytes }, "encrypt", "kms:443");
}

const strangeBodies: readonly (readonly [string, unknown])[] = [
  ["nothing", new Uint8Array()],
  ["bytes that are not UTF-8", new Uint8Array([0xff, 0xfe])],
  ["null", null],
  ["a list", [1, 2]],
  ["fields of other types", { error_code: "1", error_id: 2, errors: "no", request_id: [] }],
  ["errors that are no strings", { errors: [1, null, {}] }],
];

for (const [what, body] of strangeBodies)
  test(`an error reply with ${what} for a body still tells its status`, () => {
    const error = errorOf(502, body);
    assert.equal(error.message, "encrypt answered by kms:443 with status 502");
    assert.equal(error.retryable, true);
  });

test("an error reply that is an HTML page says so, and nothing of the page", () => {
  const { message } = errorOf(502, Buffer.from("<html>Bad Gateway</html>"));
  assert.equal(
    message,
    "encrypt answered by kms:443 with status 502 and an HTML page, as of a proxy or a load balancer",
  );
});

test("the request id of a reply's header is used where the body has none", () => {
  assert.equal(errorOf(500, {}, { "x-request-id": "abc-1" }).requestId, "abc-1");
  assert.equal(errorOf(500, {}, { "x-request-id": "a\tb" }).requestId, undefined);
});

test("an identifier of the reply that is long enough to spell a seed is not shown", () => {
  const seed = Buffer.alloc(32, 0x2a);
  for (const spelling of [seed.toString("hex"), seed.toString("base64url")]) {
    const ids = { error_id: spelling, request_id: spelling };
    const error = errorOf(400, ids, { "x-request-id": spelling });
    assert.ok(!JSON.stringify([error.message, error.details, error.requestId]).includes(spelling));
  }
});

test("what an error message quotes of a payload is replaced by its length, and an id of the call's path is kept", () => {
  const id = "0b2c4a5e-1111-4222-8333-944444444444";
  const secret = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0";
  const body = Buffer.from(JSON.stringify({ errors: [`bad plaintext ${secret}= of ${id}`] }));
  const path = `/api/domain/v1/servicekey/${id}/encrypt`;
  const { message } = restErrorOf({ status: 400, headers: {}, body }, "encrypt", "kms:443", path);
  assert.ok(message.endsWith(`: bad plaintext [33 characters] of ${id}`), message);
});

test("error messages are joined, cleared of control characters and cut", () => {
  const error = errorOf(400, {
    errors: ["not\nyours\u001b", "gone", ...Array.from({ length: 20 }, () => "word ".repeat(40))],
  });
  assert.match(error.message, /: not yours; gone; word/);
  assert.ok(error.message.length < 400);
  assert.equal(error.retryable, false);
});

test("a success other than 200 is told as no answer of the API", () => {
  assert.match(errorOf(204, new Uint8Array()).message, /204, which is no answer of the API/);
});

test("a request that was misdirected is told as one for another name", () => {
  assert.match(
    errorOf(421, new Uint8Array()).message,
    /421, for it does not serve the name of --serv-addr or/,
  );
});

test("a redirect is told as one that is never followed", () => {
  assert.match(errorOf(302, new Uint8Array()).message, /302, a redirect, which is never followed/);
});

for (const [text, expected] of [
  ["a..b.c.d", true],
  ["a.e.b.c.d", true],
  ["a..b..d", true],
  ["..b.c.d", false],
  ["a..b.c", false],
  ["a..b.c.d.e", false],
  ["a..b.c.d ", false],
  ["a..b.c+.d", false],
  ["", false],
] as const)
  test(`${JSON.stringify(text)} ${expected ? "has" : "has not"} the outline of a compact JWE`, () => {
    assert.equal(isCompactJwe(text), expected);
  });
