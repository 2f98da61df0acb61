/**
 * The attributes of a stored key as KMIP tells them (1.4, section 3), what Locate compares, and what a client may
 * change. Leaves out that indices stay the same when an attribute before is deleted, and that names are unique: tests
 * need keys of the same name.
 */
import {
  type Attribute,
  attribute,
  type AttributeName,
  attributeValue,
  attributeValues,
} from "../../src/kmip/attributes.ts";
import {
  CryptographicAlgorithm,
  CryptographicUsageMask,
  NameType,
  ObjectType,
  ResultReason,
  State,
} from "../../src/kmip/spec/enumerations.ts";
import { Tag } from "../../src/kmip/spec/tags.ts";
import { type Item, ItemType } from "../../src/kmip/ttlv/item.ts";
import { decodeItem } from "../../src/kmip/ttlv/reader.ts";
import { encodeItem } from "../../src/kmip/ttlv/writer.ts";
import { isAtLeast, parseVersion, type ProtocolVersion } from "../../src/kmip/version.ts";
import type { KeyAlgorithm, KeyChange, KeyUsage, NewKey, StoredKey } from "./key-store.ts";
import { KmipFailure } from "./kmip-context.ts";

const algorithms: Readonly<Record<KeyAlgorithm, number>> = {
  AES: CryptographicAlgorithm.AES,
  "3DES": CryptographicAlgorithm.TripleDES,
  RSA: CryptographicAlgorithm.RSA,
  HMAC_SHA256: CryptographicAlgorithm.HMACSHA256,
};
const createdLengths: Readonly<Partial<Record<KeyAlgorithm, readonly number[]>>> = {
  AES: [128, 192, 256],
  "3DES": [168],
};
const usages: readonly KeyUsage[] = ["Encrypt", "Decrypt"];

/** What the server keeps for itself: a client may read these, and no more. */
const readOnly: ReadonlySet<string> = new Set([
  "Unique Identifier",
  "Object Type",
  "Cryptographic Algorithm",
  "Cryptographic Length",
  "Cryptographic Usage Mask",
  "State",
  "Initial Date",
  "Activation Date",
  "Deactivation Date",
  "Destroy Date",
  "Compromise Date",
  "Last Change Date",
  "Digest",
]);
const single: ReadonlySet<string> = new Set(["Contact Information", "Operation Policy Name", "Description"]);

/** The Cryptographic Usage Mask of these usages. */
function usageMask(usage: readonly KeyUsage[]): number {
  return usage.reduce((mask, one) => mask | CryptographicUsageMask[one], 0);
}

function uninterpreted(value: string): { value: string; type: number } {
  return { value, type: NameType.UninterpretedTextString };
}

function kept(key: StoredKey): Attribute[] {
  return Object.entries(key.attributes).flatMap(([name, values]) =>
    values.map((hex, index) => ({ name, index, value: decodeItem(Buffer.from(hex, "hex")) })),
  );
}

/** All attributes of a key that `version` knows, names and the client's own with an index. */
export function attributesOf(key: StoredKey, version: ProtocolVersion): Attribute[] {
  const date = (name: AttributeName & `${string} Date`, at: Date | undefined): Attribute[] =>
    at === undefined ? [] : [attribute(name, BigInt(Math.floor(at.getTime() / 1000)), version)];
  const dates = Object.values(key.stateDates).toSorted((a, b) => b.getTime() - a.getTime());
  return [
    attribute("Unique Identifier", key.id, version),
    ...key.names.map((name, index) => attribute("Name", uninterpreted(name), version, index)),
    attribute("Object Type", ObjectType[key.objectType], version),
    attribute("Cryptographic Algorithm", algorithms[key.algorithm], version),
    attribute("Cryptographic Length", key.lengthBits, version),
    attribute("Cryptographic Usage Mask", usageMask(key.usage), version),
    attribute("State", State[key.state], version),
    ...date("Initial Date", key.createdAt),
    ...date("Activation Date", key.stateDates.Active),
    ...date("Process Start Date", key.dates.processStart),
    ...date("Protect Stop Date", key.dates.protectStop),
    ...date("Deactivation Date", key.stateDates.Deactivated ?? key.dates.deactivation),
    ...date("Compromise Date", key.stateDates.Compromised),
    ...date("Destroy Date", key.stateDates.Destroyed),
    ...date("Last Change Date", dates[0]),
    ...(isAtLeast(version, parseVersion("1.4")) ? [attribute("Sensitive", true, version)] : []),
    ...kept(key),
  ];
}

function hexOf(value: Item): string {
  return Buffer.from(encodeItem({ ...value, tag: Tag.AttributeValue })).toString("hex");
}

/** Section 4.9: a mask matches where it has all the bits asked, two dates are a range, all else must be equal. */
function matchesAll(own: readonly Attribute[], name: string, asked: readonly Item[]): boolean {
  const values = own.filter((one) => one.name === name).map((one) => one.value);
  const [first, second] = asked;
  if (first?.type === ItemType.DateTime && second?.type === ItemType.DateTime) {
    const [from, to] = first.value < second.value ? [first.value, second.value] : [second.value, first.value];
    return values.some(({ type, value }) => type === ItemType.DateTime && value >= from && value <= to);
  }
  return asked.every((item) =>
    values.some((value) =>
      name === "Cryptographic Usage Mask" && item.type === ItemType.Integer && value.type === ItemType.Integer
        ? (value.value & item.value) === item.value
        : hexOf(value) === hexOf(item),
    ),
  );
}

/** Whether a key has all the attributes that a Locate asks. Destroyed keys only where the State is asked for. */
export function isLocated(key: StoredKey, asked: readonly Attribute[], version: ProtocolVersion): boolean {
  if (key.state === "Destroyed" && !asked.some(({ name }) => name === "State")) return false;
  const own = attributesOf(key, version);
  const byName = Map.groupBy(asked, ({ name }) => name);
  return [...byName].every(([name, group]) =>
    matchesAll(
      own,
      name,
      group.map(({ value }) => value),
    ),
  );
}

function invalid(message: string): KmipFailure {
  return new KmipFailure(ResultReason.InvalidField, message);
}

/**
 * The key that the template of a Create asks for.
 * @throws InvalidField, MissingData
 */
export function newKeyOf(
  template: readonly Attribute[],
): Required<Pick<NewKey, "algorithm" | "lengthBits" | "usage" | "state">> & KeyChange {
  const number = attributeValue(template, "Cryptographic Algorithm");
  const algorithm = (Object.keys(algorithms) as KeyAlgorithm[]).find((name) => algorithms[name] === number);
  const lengthBits = attributeValue(template, "Cryptographic Length");
  const mask = attributeValue(template, "Cryptographic Usage Mask");
  if (number === undefined || lengthBits === undefined || mask === undefined)
    throw new KmipFailure(
      ResultReason.MissingData,
      "Create needs a Cryptographic Algorithm, a Cryptographic Length and a Cryptographic Usage Mask",
    );
  if (algorithm === undefined || createdLengths[algorithm]?.includes(lengthBits) !== true)
    throw invalid("no such algorithm and length");
  const activation = attributeValue(template, "Activation Date");
  const active = activation !== undefined && activation <= BigInt(Math.floor(Date.now() / 1000));
  return {
    algorithm,
    lengthBits,
    usage: usages.filter((usage) => (mask & CryptographicUsageMask[usage]) !== 0),
    state: active ? "Active" : "PreActive",
    names: attributeValues(template, "Name").map(({ value }) => value),
    attributes: Object.fromEntries(
      [...Map.groupBy(template.filter(isClients), ({ name }) => name)].map(([name, group]) => [
        name,
        group.map(({ value }) => hexOf(value)),
      ]),
    ),
  };
}

function isClients({ name }: Attribute): boolean {
  return name !== "Name" && !readOnly.has(name);
}

function checkWritable(name: string): void {
  if (readOnly.has(name))
    throw new KmipFailure(ResultReason.PermissionDenied, `${name} is the server's to set`);
}

/** The values of an attribute in the form in which the store keeps them. */
function valuesOf(key: StoredKey, name: string): readonly string[] {
  return name === "Name" ? key.names : (key.attributes[name] ?? []);
}

function toChange(key: StoredKey, name: string, values: readonly string[]): KeyChange {
  if (name === "Name") return { names: values };
  const { [name]: _, ...others } = key.attributes;
  return { attributes: values.length === 0 ? others : { ...others, [name]: values } };
}

function storedForm(one: Attribute): string {
  if (one.name !== "Name") return hexOf(one.value);
  const name = attributeValue([one], "Name");
  if (name === undefined || name.value === "") throw invalid("an empty Name");
  return name.value;
}

/** A change with the attribute as it is afterwards, or as it was where it is deleted. */
export interface AttributeChange {
  readonly change: KeyChange;
  readonly attribute: Attribute;
}

/** Add Attribute: one value more. */
export function addAttribute(key: StoredKey, added: Attribute): AttributeChange {
  checkWritable(added.name);
  const before = valuesOf(key, added.name);
  if (before.length > 0 && single.has(added.name))
    throw new KmipFailure(ResultReason.IllegalOperation, `${added.name} has a value already`);
  return {
    change: toChange(key, added.name, [...before, storedForm(added)]),
    attribute: { ...added, index: before.length },
  };
}

function checkIndex(values: readonly string[], name: string, index: number): void {
  if (values.length === 0) throw new KmipFailure(ResultReason.ItemNotFound, `there is no ${name}`);
  if (index < 0 || index >= values.length)
    throw new KmipFailure(ResultReason.IndexOutOfBounds, `there is no ${name} of index ${index}`);
}

/** Modify Attribute: another value in the place of one. */
export function modifyAttribute(key: StoredKey, modified: Attribute): AttributeChange {
  const { name, index = 0 } = modified;
  checkWritable(name);
  const before = valuesOf(key, name);
  checkIndex(before, name, index);
  return { change: toChange(key, name, before.with(index, storedForm(modified))), attribute: modified };
}

/** Delete Attribute: one value less. */
export function deleteAttribute(
  key: StoredKey,
  name: string,
  index: number,
  version: ProtocolVersion,
): AttributeChange {
  checkWritable(name);
  const before = valuesOf(key, name);
  checkIndex(before, name, index);
  const deleted = attributesOf(key, version).filter((one) => one.name === name)[index];
  if (deleted === undefined) throw new KmipFailure(ResultReason.ItemNotFound, `there is no ${name}`);
  return { change: toChange(key, name, before.toSpliced(index, 1)), attribute: deleted };
}
