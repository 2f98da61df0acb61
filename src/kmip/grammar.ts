/**
 * A grammar for KMIP structures: one declaration of fields gives the encoder, the decoder and the types.
 * Fields are written in the order of the declaration, which is the specification's. They are read in any order, and
 * items that a declaration does not name (a vendor's, a newer version's) are ignored.
 * Leaves out what a value means: that enumeration values are known, that lengths fit.
 */
import { ProviderError } from "../errors.ts";
import { tagIdentifier, tagName } from "./spec/tags.ts";
import { type Item, ItemType } from "./ttlv/item.ts";
import { type ProtocolVersion, parseVersion, requireVersion, type VersionText } from "./version.ts";

/** How the value of one item is read and written. Both directions throw ProviderError only. */
export interface Codec<Read, Write = Read> {
  /**
   * @param path where the item is, for the error: `ResponseMessage/BatchItem[0]/Operation`.
   * @throws KMIP_UNEXPECTED where the item is of another type, or lacks what is required in it.
   */
  decode(item: Item, path: string): Read;
  /** @throws KMIP_VERSION where something in the value is newer than `version`. */
  encode(tag: number, value: Write, version: ProtocolVersion): Item;
}

/** How often a field occurs in its structure: once, at most once, or any number of times. */
export type Presence = "required" | "optional" | "repeated";

/** A field of a structure. Made by {@link required}, {@link optional} and {@link repeated}. */
export interface Field<Read, Write, Occurs extends Presence> {
  readonly tag: number;
  readonly codec: Codec<Read, Write>;
  readonly presence: Occurs;
  /** The version that brought the field; absent where 1.0 had it. Checked when writing, forgiven when reading. */
  readonly since?: ProtocolVersion;
}

/** The fields of a structure by the names that they have in TypeScript, in the order of the specification. */
export type Fields = Readonly<Record<string, Field<unknown, never, Presence>>>;

type NamesOf<All extends Fields, Occurs extends Presence> = {
  [Name in keyof All]: All[Name]["presence"] extends Occurs ? Name : never;
}[keyof All];
type FieldRead<Declared> = Declared extends Field<infer Read, infer _, Presence> ? Read : never;
type FieldWrite<Declared> = Declared extends Field<infer _, infer Write, Presence> ? Write : never;
type Flat<Type> = { [Name in keyof Type]: Type[Name] };

/** What decoding a structure gives: an absent optional field is not there, a repeated one is an array. */
export type Decoded<All extends Fields> = Flat<
  { readonly [Name in NamesOf<All, "required">]: FieldRead<All[Name]> } & {
    readonly [Name in NamesOf<All, "optional">]?: FieldRead<All[Name]>;
  } & { readonly [Name in NamesOf<All, "repeated">]: readonly FieldRead<All[Name]>[] }
>;

/** What encoding a structure takes: like {@link Decoded}, and what may be absent may be undefined. */
export type Encodable<All extends Fields> = Flat<
  { readonly [Name in NamesOf<All, "required">]: FieldWrite<All[Name]> } & {
    readonly [Name in NamesOf<All, "optional">]?: FieldWrite<All[Name]> | undefined;
  } & { readonly [Name in NamesOf<All, "repeated">]?: readonly FieldWrite<All[Name]>[] | undefined }
>;

/** A {@link Codec} of a structure, which also reads and writes the items in it without the structure around them. */
export interface StructureCodec<Read, Write = Read> extends Codec<Read, Write> {
  decodeItems(items: readonly Item[], path: string): Read;
  encodeItems(value: Write, version: ProtocolVersion): readonly Item[];
}

/** What `codec` reads. */
export type ReadOf<AnyCodec> = AnyCodec extends Codec<infer Read, never> ? Read : never;
/** What `codec` writes. */
export type WriteOf<AnyCodec> = AnyCodec extends Codec<unknown, infer Write> ? Write : never;

const typeNames = new Map<number, string>(
  Object.entries(ItemType).map(([name, type]) => [type, name.replaceAll(/\B[A-Z]/g, " $&")]),
);

/** An error for a message that is TTLV and not the expected KMIP: KMIP_UNEXPECTED, with the path. */
export function unexpected(path: string, complaint: string): ProviderError {
  return new ProviderError("KMIP_UNEXPECTED", `${path}: ${complaint}`, { details: { path } });
}

type ValueByType = { [Each in Item as Each["type"]]: Each["value"] };

/** The value of an item of this type; the path is for the complaint about another. */
function valueOf<Type extends ItemType>(item: Item, type: Type, path: string): ValueByType[Type] {
  if (item.type === type) return item.value as ValueByType[Type];
  throw unexpected(path, `is of type ${typeNames.get(item.type)}, not ${typeNames.get(type)}`);
}

function primitive<Type extends ItemType>(type: Type): Codec<ValueByType[Type]> {
  return {
    decode: (item, path) => valueOf(item, type, path),
    encode: (tag, value) => ({ tag, type, value }) as Item,
  };
}

/** Integer: signed, 32 bits; also what the specification's bit masks are. */
export const integer = primitive(ItemType.Integer);
/** Long Integer: signed, 64 bits. */
export const longInteger = primitive(ItemType.LongInteger);
/** Enumeration: any value; the known ones are in spec/. Read from an Integer as well, as some servers write it. */
export const enumeration: Codec<number> = {
  ...primitive(ItemType.Enumeration),
  decode: (item, path) =>
    item.type === ItemType.Integer && item.value >= 0
      ? item.value
      : valueOf(item, ItemType.Enumeration, path),
};
/** Boolean. */
export const boolean = primitive(ItemType.Boolean);
/** Text String. */
export const textString = primitive(ItemType.TextString);
/** Date-Time: seconds since 1970. */
export const dateTime = primitive(ItemType.DateTime);
/** Interval: seconds. */
export const interval = primitive(ItemType.Interval);
/** Byte String. */
export const byteString = primitive(ItemType.ByteString);
/** Any item, kept as it is; encoding puts the field's tag on it. */
export const anyItem: Codec<Item> = {
  decode: (item) => item,
  encode: (tag, item) => ({ ...item, tag }),
};
/** The items of a structure that is not interpreted. */
export const anyStructure: StructureCodec<readonly Item[]> = {
  decode: (item, path) => valueOf(item, ItemType.Structure, path),
  encode: (tag, value) => ({ tag, type: ItemType.Structure, value }),
  decodeItems: (items) => items,
  encodeItems: (items) => items,
};

function fieldMaker<Occurs extends Presence>(presence: Occurs) {
  return <Read, Write>(tag: number, codec: Codec<Read, Write>): Field<Read, Write, Occurs> => ({
    tag,
    codec,
    presence,
  });
}

/** A field that is always there. */
export const required = fieldMaker("required");
/** A field that may be there. */
export const optional = fieldMaker("optional");
/** A field that may be there any number of times. */
export const repeated = fieldMaker("repeated");

/** A field that only `version` and newer have. */
export function since<Read, Write, Occurs extends Exclude<Presence, "required">>(
  version: VersionText,
  field: Field<Read, Write, Occurs>,
): Field<Read, Write, Occurs> {
  return { ...field, since: parseVersion(version) };
}

interface Entry extends Field<unknown, unknown, Presence> {
  readonly name: string;
  readonly step: string;
}

type Values = Record<string, unknown>;

/**
 * A structure of these fields, in the order of the specification.
 * Decoding throws KMIP_UNEXPECTED where a required field is missing, one appears twice that may appear once, or one is of
 * the wrong type.
 */
export function structure<const All extends Fields>(
  fields: All,
): StructureCodec<Decoded<All>, Encodable<All>> {
  const entries = Object.entries(fields).map(([name, field]): Entry => ({
    ...(field as Field<unknown, unknown, Presence>),
    name,
    step: tagIdentifier(field.tag),
  }));
  const byTag = new Map(entries.map((entry) => [entry.tag, entry]));

  const decodeItems = (items: readonly Item[], path: string): Decoded<All> => {
    const values: Values = {};
    for (const item of items) {
      const entry = byTag.get(item.tag);
      if (entry !== undefined) decodeField(entry, item, values, path);
    }
    complete(entries, values, path);
    return values as Decoded<All>;
  };
  const encodeItems = (value: Encodable<All>, version: ProtocolVersion): readonly Item[] => {
    const items: Item[] = [];
    for (const entry of entries) encodeField(entry, (value as Values)[entry.name], version, items);
    return items;
  };

  return {
    decodeItems,
    encodeItems,
    decode: (item, path) => decodeItems(valueOf(item, ItemType.Structure, path), path),
    encode: (tag, value, version) => ({ tag, type: ItemType.Structure, value: encodeItems(value, version) }),
  };
}

function decodeField(entry: Entry, item: Item, values: Values, path: string): void {
  const place = `${path}/${entry.step}`;
  if (entry.presence === "repeated") {
    const list = (values[entry.name] ??= []) as unknown[];
    list.push(entry.codec.decode(item, `${place}[${list.length}]`));
    return;
  }
  if (Object.hasOwn(values, entry.name)) throw unexpected(place, "appears twice");
  values[entry.name] = entry.codec.decode(item, place);
}

function complete(entries: readonly Entry[], values: Values, path: string): void {
  for (const { name, presence, step } of entries) {
    if (presence === "optional" || Object.hasOwn(values, name)) continue;
    if (presence === "required") throw unexpected(`${path}/${step}`, "is missing");
    values[name] = [];
  }
}

function encodeField(entry: Entry, value: unknown, version: ProtocolVersion, items: Item[]): void {
  const { presence, tag, codec } = entry;
  if (value === undefined || (presence === "repeated" && (value as unknown[]).length === 0)) {
    if (presence === "required") throw unexpected(entry.step, "is required and missing");
    return;
  }
  if (entry.since !== undefined) requireVersion(tagName(tag), entry.since, version);
  if (presence !== "repeated") items.push(codec.encode(tag, value, version));
  else for (const one of value as unknown[]) items.push(codec.encode(tag, one, version));
}
