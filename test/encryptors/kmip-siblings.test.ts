/**
 * Cases of the same kinds as those in kmip-habits.test.ts and test/kmip/refusals.test.ts that no report has named: each a
 * small liberty of a server, tried on the built program, and either read where its meaning is plain or refused in words.
 */
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { ResultReason } from "../../src/kmip/spec/enumerations.ts";
import { Tag } from "../../src/kmip/spec/tags.ts";
import { type Item, ItemType } from "../../src/kmip/ttlv/item.ts";
import { type DevKms, startDevKms } from "../devkms/devkms.ts";
import { resetFaults } from "../devkms/faults.ts";
import type { KmipQuirks } from "../devkms/kmip-quirks.ts";
import { changing, holding, ofOperation, refused, text, within as changed } from "../devkms/rewrite.ts";
import { encryptorFor, within } from "./kmip-harness.ts";

let kms: DevKms;
let keyId: string;
before(async () => {
  kms = await startDevKms({ rest: false });
  keyId = kms.keys.create({ name: "etcd" }).id;
});
afterEach(() => resetFaults(kms.faults));
after(() => kms.close());

const seed = Buffer.alloc(32, 7);
const upper = changing(Tag.UniqueIdentifier, (item) => [text(item.tag, String(item.value).toUpperCase())]);
const without = (tag: number): ((reply: Item) => Item) => changing(tag, () => []);
const versions = (...list: readonly (readonly [number, number])[]): ((reply: Item) => Item) =>
  changing(Tag.ResponsePayload, (item) => [
    holding(item, ([first]) =>
      list.map(([major, minor]) => {
        const [a, b] = first?.type === ItemType.Structure ? first.value : [];
        return {
          ...first,
          value: [
            { ...a, value: major },
            { ...b, value: minor },
          ],
        } as Item;
      }),
    ),
  ]);

/** Every second Get Attributes is refused: the one that names attributes. */
function refusingNames(reason: number): Partial<KmipQuirks> {
  let count = 0;
  return {
    rewrites: (reply, operations) => {
      if (!operations.includes("GetAttributes")) return reply;
      count += 1;
      return count === 1 ? refused(reply, reason) : reply;
    },
  };
}

describe("the key is found, encrypts and decrypts where a server", () => {
  const table: readonly (readonly [string, Partial<KmipQuirks>])[] = [
    ...Object.entries(ResultReason)
      .filter(([name]) => name !== "GeneralFailure")
      .map(([name, reason]) => [`refuses Get Attributes by name: ${name}`, refusingNames(reason)] as const),
    ["refuses Get Attributes by name with a reason of its own", refusingNames(0x8000_0001)],
    [
      "gives identifiers that are not there beside the right one",
      {
        rewrites: ofOperation(
          "Locate",
          changing(Tag.UniqueIdentifier, (item) => [
            text(item.tag, "gone-1"),
            item,
            text(item.tag, "gone-2"),
          ]),
        ),
      },
    ],
    [
      "names no version in its reply to Discover Versions",
      { rewrites: ofOperation("DiscoverVersions", versions()) },
    ],
    [
      "names its versions without order, and ones of the future",
      { rewrites: ofOperation("DiscoverVersions", versions([1, 1], [3, 0], [1, 3], [2, 1], [1, 0])) },
    ],
    [
      "denies Discover Versions to this client, and nothing else",
      { rewrites: ofOperation("DiscoverVersions", (reply) => refused(reply, ResultReason.PermissionDenied)) },
    ],
    ["does not echo the Unique Batch Item ID", { rewrites: without(Tag.UniqueBatchItemID) }],
    [
      "echoes an empty Unique Batch Item ID",
      { rewrites: changing(Tag.UniqueBatchItemID, (item) => [{ ...item, value: new Uint8Array() } as Item]) },
    ],
    [
      "writes statuses and operations as Integer",
      {
        rewrites: (reply) =>
          changed(reply, (item) =>
            item.type === ItemType.Enumeration ? [{ ...item, type: ItemType.Integer }] : [item],
          ),
      },
    ],
    [
      "writes its times as Long Integer",
      {
        rewrites: (reply) =>
          changed(reply, (item) =>
            item.type === ItemType.DateTime ? [{ ...item, type: ItemType.LongInteger }] : [item],
          ),
      },
    ],
    [
      "writes the fields of each structure in another order",
      {
        rewrites: (reply) =>
          changed(reply, (item) =>
            [Tag.ResponsePayload, Tag.BatchItem].some((tag) => tag === item.tag)
              ? [holding(item, (items) => items.toReversed())]
              : [item],
          ),
      },
    ],
    [
      "adds fields of its own everywhere",
      {
        rewrites: (reply) =>
          changed(reply, (item) =>
            item.type === ItemType.Structure && item.tag !== Tag.AttributeValue
              ? [holding(item, (items) => [text(0x54_0001, "x"), ...items])]
              : [item],
          ),
      },
    ],
    ["reports no attribute at all", { rewrites: ofOperation("GetAttributes", without(Tag.Attribute)) }],
    ["writes the identifier in capitals after Encrypt", { rewrites: ofOperation("Encrypt", upper) }],
    ["writes the identifier in capitals after Decrypt", { rewrites: ofOperation("Decrypt", upper) }],
    [
      "leaves the identifier out after Encrypt",
      { rewrites: ofOperation("Encrypt", without(Tag.UniqueIdentifier)) },
    ],
    [
      "leaves the identifier out after Decrypt",
      { rewrites: ofOperation("Decrypt", without(Tag.UniqueIdentifier)) },
    ],
    [
      "adds a Server Correlation Value, which its version has not",
      {
        versions: ["1.2"],
        rewrites: changing(Tag.BatchCount, (item) => [text(Tag.ServerCorrelationValue, "a"), item]),
      },
    ],
    [
      "says something to its successes",
      { rewrites: changing(Tag.ResultStatus, (item) => [item, text(Tag.ResultMessage, "done")]) },
    ],
  ];
  for (const [what, quirks] of table)
    test(what, async () => {
      Object.assign(kms.faults.kmip, quirks);
      await using encryptor = await encryptorFor(kms, { label: "etcd" });
      assert.equal((await encryptor.resolveKey(within())).keyId, keyId);
      const wrapped = await encryptor.encrypt(seed, keyId, within());
      assert.deepEqual(Buffer.from(await encryptor.decrypt({ ...wrapped, keyId }, within())), seed);
    });
});

const ids = (count: number): ((reply: Item) => Item) =>
  changing(Tag.UniqueIdentifier, (item) => [
    ...Array.from({ length: count }, (_, index) =>
      text(item.tag, `other-key-${String(index).padStart(26, "0")}`),
    ),
    item,
  ]);

describe("in words that say what to do, the key is refused where a server", () => {
  const table: readonly (readonly [string, Partial<KmipQuirks>, object])[] = [
    [
      "gives a thousand identifiers, ours the last",
      { rewrites: ofOperation("Locate", ids(1000)) },
      {
        code: "KEY_AMBIGUOUS",
        message: /more than 8 keys have the label "etcd": .* give the key by its identifier/,
      },
    ],
    [
      "gives more identifiers than can be read",
      { rewrites: ofOperation("Locate", ids(3000)) },
      { code: "KEY_AMBIGUOUS", message: /gave more keys than can be read: .* \(--encryption-key-id\)/ },
    ],
    [
      "finds the label in other letters",
      {
        rewrites: ofOperation(
          "GetAttributes",
          changing(Tag.NameValue, (item) => [text(item.tag, "ETCD")]),
        ),
      },
      { code: "KEY_NOT_FOUND", message: /has the name "ETCD": capital and small letters count/ },
    ],
    [
      "gives an empty identifier",
      {
        rewrites: ofOperation(
          "Locate",
          changing(Tag.UniqueIdentifier, (item) => [text(item.tag, "")]),
        ),
      },
      { code: "KEY_NOT_FOUND", message: /shows no symmetric key with the label "etcd"/ },
    ],
    [
      "has no version of 1.x",
      { rewrites: ofOperation("DiscoverVersions", versions([2, 0], [2, 1])) },
      { code: "KMIP_VERSION", message: /supports only 2\.0, 2\.1$/ },
    ],
    [
      "writes 2.x in its header, and no version in its list",
      { replyHeader: "2.0", rewrites: ofOperation("DiscoverVersions", versions()) },
      { code: "KMIP_VERSION", message: /supports none of them/ },
    ],
    [
      "echoes the Unique Batch Item ID of another request",
      {
        rewrites: changing(Tag.UniqueBatchItemID, (item) => [{ ...item, value: Buffer.from("01") } as Item]),
      },
      { code: "KMIP_UNEXPECTED", message: /UniqueBatchItemID: is not the request's/ },
    ],
    [
      "counts its batch items wrong",
      { rewrites: changing(Tag.BatchCount, (item) => [{ ...item, value: 0 } as Item]) },
      { code: "KMIP_UNEXPECTED", message: /BatchCount: is 0, and there are 1 batch items/ },
    ],
    [
      "denies both forms of Get Attributes",
      { rewrites: ofOperation("GetAttributes", (reply) => refused(reply, ResultReason.PermissionDenied)) },
      { code: "KEY_ACCESS_DENIED", message: /\(Get Attributes refused .*: Permission Denied: refused\)$/ },
    ],
  ];
  for (const [what, quirks, expected] of table)
    test(what, async () => {
      Object.assign(kms.faults.kmip, quirks);
      await using encryptor = await encryptorFor(kms, { label: "etcd" });
      await assert.rejects(encryptor.resolveKey(within()), expected);
    });
});

test("which form of Get Attributes a server takes is kept in its record", async () => {
  Object.assign(kms.faults.kmip, { refusesUnset: "InvalidField" });
  await using encryptor = await encryptorFor(kms, { id: keyId });
  for (const expected of [2, 1, 1]) {
    await encryptor.resolveKey(within());
    assert.equal(encryptor.exchanges().length, expected);
  }
  const known = encryptor.events.findLast((event) => event.type === "learned")?.message;
  assert.equal(known, "version=1.4 attributes=unnamed");
});
