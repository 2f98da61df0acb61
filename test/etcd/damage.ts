/** Input in which secrets stand where a program in confusion would quote them, and the seeds of the fixture. */
import { createDecipheriv } from "node:crypto";
import { readFileSync } from "node:fs";
import { parseEnvelope } from "../../src/etcd/envelope.ts";
import type { DevKms } from "../devkms/devkms.ts";
import type { Secret } from "../support/secret-search.ts";
import { expectedObjects, fixture, liveValues } from "./fixture.ts";

/** The seeds under which the fixture is, unwrapped here with the keys themselves. */
export function openLocalSeeds(kms: DevKms): Secret[] {
  return liveValues().flatMap(({ key, value }) => {
    const envelope = parseEnvelope(Buffer.from(value, "base64"));
    if (envelope.kind !== "kms-v2") return [];
    const { encryptedDekSource: wrapped, keyId, annotations } = envelope.object;
    const iv = annotations["iv.okms.ovh.com"];
    const material = kms.keys.get(keyId)?.material;
    if (iv === undefined || material === undefined) return [];
    const decipher = createDecipheriv("aes-256-gcm", material, iv).setAuthTag(wrapped.subarray(-16));
    const bytes = Buffer.concat([decipher.update(wrapped.subarray(0, -16)), decipher.final()]);
    return [{ name: `the seed of ${Buffer.from(key, "base64").toString()}`, bytes }];
  });
}

/** Files by a name, none of which is what it should be. */
export function damagedCopies(): readonly (readonly [name: string, bytes: Buffer])[] {
  const whole = readFileSync(fixture.snapshot);
  const flipped = Buffer.from(whole);
  for (let at = 3 * 4096; at < flipped.length; at += 4096) flipped[at + 12] = 0xff;
  const plain = liveValues().find(({ key }) => Buffer.from(key, "base64").toString().endsWith("/plain-1"));
  const value = Buffer.from(plain?.value ?? "", "base64");
  const secret = expectedObjects().find(({ item }) => item.name === "plain-1")?.item;
  const json = JSON.stringify({
    apiVersion: "v1",
    kind: "Secret",
    metadata: { name: "plain-1" },
    data: secret?.data,
  });
  return [
    ["whole.db", whole],
    ["cut.db", whole.subarray(0, 200_000)],
    ["flipped.db", flipped],
    ["plain", value],
    ["plain-cut", value.subarray(0, -9)],
    ["plain-changed", Buffer.concat([value.subarray(0, 60), Buffer.from("zzzz"), value.subarray(60)])],
    ["json", Buffer.from(json)],
    ["json-cut", Buffer.from(json.slice(0, -3))],
    ["json-words", Buffer.from(json.replace('"data":{', '"data":{ oops '))],
    ["kvs", Buffer.from(`{"kvs":[{"key":"x","value":${json}}]}`)],
    ["kvs-cut", Buffer.from(readFileSync(fixture.live, "utf8").slice(0, -40))],
  ];
}
