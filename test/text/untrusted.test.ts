/** What a server says of a failure is printed without what it may quote. */
import assert from "node:assert/strict";
import { createHash, randomUUID } from "node:crypto";
import { describe, test } from "node:test";
import { withoutPayload } from "../../src/text/untrusted.ts";
import { spellings } from "../support/spellings.ts";

/** The same at each run: of letters at random some make a word, and no run shall fail by chance. */
const seeds = ["one", "two", "three"].map((name) => createHash("sha256").update(name).digest());

describe("a seed leaves nothing of itself where it is spelled", () => {
  for (const [how, spell] of spellings)
    test(how, () => {
      for (const seed of seeds)
        assert.match(
          withoutPayload(`bad data ${spell(seed)}, sorry`),
          /^bad data (?:<Buffer )?(?:\[\d+ characters\]|[^\p{L}\p{N}])+ sorry$/u,
        );
    });
});

test("the length of what is replaced is told", () => {
  const text = seeds[0]?.toString("hex") ?? "";
  assert.equal(withoutPayload(`bad data "${text}", sorry`), 'bad data "[64 characters]", sorry');
});

test("words pass, in lower case, with a capital and in capitals", () => {
  for (const text of [
    "Could not locate object: it can't be found.",
    "The HSM partition is LOCKED (authentication required)",
    "Item-Not-Found: client/server KEY_NOT_FOUND, proxy unavailable",
    "Unsupported protocol version",
    "cryptographic usage mask does not allow it; wrong key lifecycle state",
    "quota exceeded, retry later. Rate limiting by tenant",
    "TLS certificate expired",
  ])
    assert.equal(withoutPayload(text), text);
});

test("names that are given pass, whole and nowhere inside of another word", () => {
  const id = randomUUID();
  const names = ["kek-prod-7", "my key", id, "a.b*c", ""];
  for (const text of [`no object named "kek-prod-7" (my key, ${id}), a.b*c`, "kek-prod-7", "[kek-prod-7]"])
    assert.equal(withoutPayload(text, names), text);
  assert.equal(withoutPayload("kek-prod-77 is gone", names), "[11 characters] is gone");
  assert.equal(withoutPayload("aXb*c is gone", names), "[5 characters] is gone");
});

test("whatever has a digit, or is no word, is replaced, and short words between two such things with it", () => {
  assert.equal(withoutPayload("key x-rack7 not found"), "key [7 characters] not found");
  assert.equal(withoutPayload("code 22, 3 of 7 attempts"), "code [10 characters] attempts");
  assert.equal(withoutPayload("qZxV is bad"), "[4 characters] is bad");
});
