/**
 * Nothing secret is printed of a reply that is broken: real replies, with a plaintext in them, changed on their way by
 * one who could read all of it anyway. What errors quote of what they could not parse is what is looked for.
 */
import assert from "node:assert/strict";
import { after, before, test, type TestContext } from "node:test";
import { KeyManagementService } from "../../gen/kms/v2/api_pb.ts";
import { type DevKms, startDevKms } from "../devkms/devkms.ts";
import { type Mangler, startMangler } from "../support/tls-mangler.ts";
import { assertClean, binarySeed, call, endRun, seal, startRun, textSeed } from "./secret-run.ts";

let kms: DevKms;

before(async () => {
  kms = await startDevKms();
  kms.keys.create({ name: "etcd" });
});
after(() => kms.close());

type Mangle = (piece: Buffer) => Buffer;

/** The item Operation, Decrypt, of a reply. */
const decryptReply = Buffer.from("42005c05000000040000002000000000", "hex");

/** Replies to Decrypt, each with another byte changed: lengths, types, tags, versions, reasons. */
function flippedBytes(): Mangle {
  let pieces = 0;
  return (piece) => {
    if (!piece.includes(decryptReply)) return piece;
    const changed = Buffer.from(piece);
    const at = (pieces * 7) % changed.length;
    changed[at] = (changed[at] ?? 0) ^ (pieces % 2 === 0 ? 0x01 : 0x80);
    pieces += 1;
    return changed;
  };
}

/** Replies of HTTP, broken without a change of their length. */
const brokenReplies: readonly Mangle[] = [
  ['"}', '"x'],
  ['{"', 'x"'],
  ['"plaintext"', '"plaintexx"'],
  ['"plaintext":"', '"plaintext":['],
  ["==", "!!"],
  ["=", "!"],
  ["200 OK", "500 OK"],
  ["200 OK", "400 OK"],
  ["200 OK", "403 OK"],
  ["HTTP/1.1", "PTTH/1.1"],
  ["content-length", "content-lengtH: 1\r\nx"],
  ["application/json", "text/htmllllllll"],
].map(
  ([from = "", to = ""]) =>
    (piece) =>
      Buffer.from(piece.toString("latin1").replace(from, to), "latin1"),
);

async function manglerBefore(t: TestContext, protocol: "kmip" | "rest"): Promise<Mangler> {
  const ipAddresses = ["127.0.0.1"];
  const mangler = await startMangler({
    target: protocol === "kmip" ? kms.kmipAddress : new URL(kms.restUrl).host,
    server: await kms.authority.issue({ commonName: "mangler", ipAddresses, server: true }),
    client: await kms.authority.issue({ commonName: "mangler", client: true }),
    ca: kms.authority.caPem,
  });
  t.after(() => mangler.close());
  return mangler;
}

for (const [protocol, mangles, kindsOfFailure] of [
  ["kmip", Array.from({ length: 5 }, flippedBytes), 3],
  // REST_BODY and REST_STATUS.
  ["rest", brokenReplies, 2],
] as const)
  test(`${protocol}: replies with a plaintext in them that are broken on their way show nothing of it`, async (t) => {
    const mangler = await manglerBefore(t, protocol);
    const address = protocol === "kmip" ? mangler.address : `https://${mangler.address}`;
    const run = await startRun(t, kms, protocol, { "log-format": "json", "serv-addr": address });
    const plaintexts = Array.from({ length: 8 }, (_, index) => (index % 2 === 0 ? binarySeed : textSeed));
    const sealed = await Promise.all(plaintexts.map((plaintext) => seal(run, plaintext)));
    for (const mangle of mangles) {
      mangler.mangle = mangle;
      await Promise.all(sealed.map((each) => call(run, KeyManagementService.method.decrypt, each)));
    }
    mangler.mangle = undefined;
    const output = await endRun(run);
    const outcomes = new Set([...output.matchAll(/"outcome":"([A-Z_]+)"/g)].map(([, outcome]) => outcome));
    t.diagnostic(`outcomes: ${[...outcomes].join(" ")}`);
    assert.ok(outcomes.size >= kindsOfFailure, `only ${[...outcomes].join(" ")}`);
    assertClean(output, run, kms);
  });
