/**
 * Attributes of KMIP 1.0 to 1.4 (specification 1.4 sections 2.1.1 and 3) and the structures that operations share with
 * them. An attribute stays an item until its value is asked for by name, so that a vendor's attribute, or one of a wrong
 * type, does no harm to a message. Leaves out the structures of certificates, split keys and usage limits.
 */
import {
  anyItem,
  boolean,
  byteString,
  type Codec,
  dateTime,
  enumeration,
  integer,
  interval,
  optional,
  type ReadOf,
  repeated,
  required,
  since,
  structure,
  textString,
  type WriteOf,
} from "./grammar.ts";
import { enumerationValue, NameType } from "./spec/enumerations.ts";
import { Tag } from "./spec/tags.ts";
import { type Item, ItemType } from "./ttlv/item.ts";
import { parseVersion, type ProtocolVersion, requireVersion, type VersionText } from "./version.ts";

/** Name, section 3.2: the value, and a Name Type. */
const nameAttribute = structure({
  value: required(Tag.NameValue, textString),
  type: required(Tag.NameType, enumeration),
});
/** Name, section 3.2. */
export type Name = ReadOf<typeof nameAttribute>;

/** Cryptographic Parameters, section 3.6. The last five fields are those of RSA with padding. */
export const cryptographicParameters = structure({
  blockCipherMode: optional(Tag.BlockCipherMode, enumeration),
  paddingMethod: optional(Tag.PaddingMethod, enumeration),
  hashingAlgorithm: optional(Tag.HashingAlgorithm, enumeration),
  keyRoleType: optional(Tag.KeyRoleType, enumeration),
  digitalSignatureAlgorithm: since("1.2", optional(Tag.DigitalSignatureAlgorithm, enumeration)),
  cryptographicAlgorithm: since("1.2", optional(Tag.CryptographicAlgorithm, enumeration)),
  randomIV: since("1.2", optional(Tag.RandomIV, boolean)),
  /** The Go original sends bytes. */
  ivLength: since("1.2", optional(Tag.IVLength, integer)),
  /** The Go original sends bytes. */
  tagLength: since("1.2", optional(Tag.TagLength, integer)),
  fixedFieldLength: since("1.2", optional(Tag.FixedFieldLength, integer)),
  invocationFieldLength: since("1.2", optional(Tag.InvocationFieldLength, integer)),
  counterLength: since("1.2", optional(Tag.CounterLength, integer)),
  initialCounterValue: since("1.2", optional(Tag.InitialCounterValue, integer)),
  saltLength: since("1.4", optional(Tag.SaltLength, integer)),
  maskGenerator: since("1.4", optional(Tag.MaskGenerator, enumeration)),
  maskGeneratorHashingAlgorithm: since("1.4", optional(Tag.MaskGeneratorHashingAlgorithm, enumeration)),
  pSource: since("1.4", optional(Tag.PSource, byteString)),
  trailerField: since("1.4", optional(Tag.TrailerField, integer)),
});
/** Cryptographic Parameters, section 3.6. */
export type CryptographicParameters = WriteOf<typeof cryptographicParameters>;

/** Revocation Reason, section 3.31. */
export const revocationReason = structure({
  code: required(Tag.RevocationReasonCode, enumeration),
  message: optional(Tag.RevocationMessage, textString),
});

const digest = structure({
  hashingAlgorithm: required(Tag.HashingAlgorithm, enumeration),
  digestValue: optional(Tag.DigestValue, byteString),
  keyFormatType: since("1.1", optional(Tag.KeyFormatType, enumeration)),
});
const link = structure({
  type: required(Tag.LinkType, enumeration),
  linkedObjectIdentifier: required(Tag.LinkedObjectIdentifier, textString),
});
const applicationSpecificInformation = structure({
  namespace: required(Tag.ApplicationNamespace, textString),
  data: optional(Tag.ApplicationData, textString),
});
const alternativeName = structure({
  value: required(Tag.AlternativeNameValue, textString),
  type: required(Tag.AlternativeNameType, enumeration),
});

/** Reads what is of another type than the specification's, where the meaning is plain; writes the specification's. */
function forgiving<Value>(codec: Codec<Value>, read: (item: Item) => Value | undefined): Codec<Value> {
  return { encode: codec.encode, decode: (item, path) => read(item) ?? codec.decode(item, path) };
}

/** An Enumeration; some servers send an Integer, or a Text String with the name or the number. */
function forgivingEnumeration(tag: number): Codec<number> {
  return forgiving(enumeration, (item) => {
    if (item.type === ItemType.Integer) return item.value >>> 0;
    if (item.type !== ItemType.TextString) return undefined;
    return /^(?:0x[\da-f]{1,8}|\d{1,9})$/i.test(item.value)
      ? Number(item.value)
      : enumerationValue(tag, item.value);
  });
}

/** An Integer; some servers send a Long Integer, or an Enumeration. */
const forgivingInteger = forgiving(integer, (item) => {
  if (item.type === ItemType.Enumeration) return item.value | 0;
  return item.type === ItemType.LongInteger ? Number(item.value) : undefined;
});

/** A Date-Time; some servers send the seconds as a Long Integer. */
const forgivingDate = forgiving(dateTime, (item) =>
  item.type === ItemType.LongInteger ? item.value : undefined,
);

/** A Name; some servers send the value alone. */
const forgivingName = forgiving<Name>(nameAttribute, (item) =>
  item.type === ItemType.TextString
    ? { value: item.value, type: NameType.UninterpretedTextString }
    : undefined,
);

interface AttributeType<Read, Write> {
  readonly codec: Codec<Read, Write>;
  readonly since: VersionText;
}

function attributeType<Read, Write>(
  codec: Codec<Read, Write>,
  from: VersionText = "1.0",
): AttributeType<Read, Write> {
  return { codec, since: from };
}

/** The attributes whose values are understood here, by their specification names. */
const attributeTypes = {
  "Unique Identifier": attributeType(textString),
  Name: attributeType(forgivingName),
  "Object Type": attributeType(forgivingEnumeration(Tag.ObjectType)),
  "Cryptographic Algorithm": attributeType(forgivingEnumeration(Tag.CryptographicAlgorithm)),
  "Cryptographic Length": attributeType(forgivingInteger),
  "Cryptographic Parameters": attributeType(cryptographicParameters),
  Digest: attributeType(digest),
  "Operation Policy Name": attributeType(textString),
  "Cryptographic Usage Mask": attributeType(forgivingInteger),
  "Lease Time": attributeType(interval),
  State: attributeType(forgivingEnumeration(Tag.State)),
  "Initial Date": attributeType(forgivingDate),
  "Activation Date": attributeType(forgivingDate),
  "Process Start Date": attributeType(forgivingDate),
  "Protect Stop Date": attributeType(forgivingDate),
  "Deactivation Date": attributeType(forgivingDate),
  "Destroy Date": attributeType(forgivingDate),
  "Compromise Occurrence Date": attributeType(forgivingDate),
  "Compromise Date": attributeType(forgivingDate),
  "Revocation Reason": attributeType(revocationReason),
  "Archive Date": attributeType(forgivingDate),
  "Object Group": attributeType(textString),
  Fresh: attributeType(boolean, "1.1"),
  Link: attributeType(link),
  "Application Specific Information": attributeType(applicationSpecificInformation),
  "Contact Information": attributeType(textString),
  "Last Change Date": attributeType(forgivingDate),
  "Alternative Name": attributeType(alternativeName, "1.2"),
  "Key Value Present": attributeType(boolean, "1.2"),
  "Original Creation Date": attributeType(forgivingDate, "1.2"),
  Description: attributeType(textString, "1.4"),
  Comment: attributeType(textString, "1.4"),
  Sensitive: attributeType(boolean, "1.4"),
  "Always Sensitive": attributeType(boolean, "1.4"),
  Extractable: attributeType(boolean, "1.4"),
  "Never Extractable": attributeType(boolean, "1.4"),
} as const;

/** The name of an attribute whose value is understood here. */
export type AttributeName = keyof typeof attributeTypes;
/** The value of an attribute, by its name. */
export type AttributeValue<Named extends AttributeName> =
  (typeof attributeTypes)[Named] extends AttributeType<infer Read, never> ? Read : never;

/** Attribute, section 2.1.1: Attribute Name, Attribute Index (absent is 0), Attribute Value. */
export const attributeStructure = structure({
  name: required(Tag.AttributeName, textString),
  index: optional(Tag.AttributeIndex, integer),
  value: required(Tag.AttributeValue, anyItem),
});
/** An attribute as it travels: made by {@link attribute}, understood by {@link attributeValues}. */
export type Attribute = ReadOf<typeof attributeStructure>;

/** Template-Attribute, section 2.1.8: names of templates (deprecated since 1.3), and attributes. */
export const templateAttribute = structure({
  names: repeated(Tag.Name, nameAttribute),
  attributes: repeated(Tag.Attribute, attributeStructure),
});

/** Whether the value of the attribute `name` is understood here. */
export function isAttributeName(name: string): name is AttributeName {
  return Object.hasOwn(attributeTypes, name);
}

/**
 * Makes an attribute of the specification.
 * @param index which of several values of that name; absent is 0.
 * @throws KMIP_VERSION where the attribute, or something in its value, is newer than `version`.
 */
export function attribute<Named extends AttributeName>(
  name: Named,
  value: AttributeValue<Named>,
  version: ProtocolVersion,
  index?: number,
): Attribute {
  const { codec, since: from } = attributeTypes[name] as AttributeType<unknown, unknown>;
  requireVersion(`the attribute ${name}`, parseVersion(from), version);
  return indexed(name, codec.encode(Tag.AttributeValue, value, version), index);
}

/** Makes an attribute of any name and value, as `x-rack` with a Text String; the tag of `value` does not matter. */
export function customAttribute(name: string, value: Item, index?: number): Attribute {
  return indexed(name, { ...value, tag: Tag.AttributeValue }, index);
}

function indexed(name: string, value: Item, index: number | undefined): Attribute {
  return index === undefined ? { name, value } : { name, index, value };
}

/**
 * Every value of the attribute `name`, in the order of the message.
 * @throws KMIP_UNEXPECTED where one is of the wrong type.
 */
export function attributeValues<Named extends AttributeName>(
  attributes: readonly Attribute[],
  name: Named,
): AttributeValue<Named>[] {
  const { codec } = attributeTypes[name] as AttributeType<AttributeValue<Named>, never>;
  return attributes
    .filter((one) => one.name === name)
    .map((one) => codec.decode(one.value, `Attribute "${name}"`));
}

/**
 * The first value of the attribute `name`, or undefined.
 * @throws KMIP_UNEXPECTED where it is of the wrong type.
 */
export function attributeValue<Named extends AttributeName>(
  attributes: readonly Attribute[],
  name: Named,
): AttributeValue<Named> | undefined {
  return attributeValues(attributes, name)[0];
}
