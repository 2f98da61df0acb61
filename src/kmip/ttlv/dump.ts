/**
 * A message as text, one line an item, in the specification's words. For people who look for a fault: nothing that
 * could be a secret is in it, only its length. What may be shown is listed; what is not listed is not shown.
 */
import { shownIdentifier, withoutPayload } from "../../text/untrusted.ts";
import { enumerationName, isMask, maskNames } from "../spec/enumerations.ts";
import { isKnownTag, Tag, tagByName, tagName } from "../spec/tags.ts";
import { type Item, ItemType, type StructureItem } from "./item.ts";
import { headerBytes, paddedBytes } from "./limits.ts";

/** How a dump is bounded. */
export interface DumpOptions {
  /** The text is cut behind this many characters. Default: 64 Ki. */
  readonly maxChars?: number;
}

const defaultMaxChars = 1 << 16;
/** A hand-made item may be deeper than any that was decoded. */
const maxDumpDepth = 32;
const maxTextChars = 256;

/** Replaced whole by their length, whatever their type: keys, and what proves who somebody is. */
const sealed: ReadonlySet<number> = new Set([
  Tag.AttestationAssertion,
  Tag.AttestationMeasurement,
  Tag.AuthenticatedEncryptionAdditionalData,
  Tag.AuthenticatedEncryptionTag,
  Tag.CredentialValue,
  Tag.CRTCoefficient,
  Tag.D,
  Tag.Data,
  Tag.DerivationData,
  Tag.IVCounterNonce,
  Tag.InitializationVector,
  Tag.Key,
  Tag.KeyBlock,
  Tag.KeyMaterial,
  Tag.KeyValue,
  Tag.MACData,
  Tag.MACSignature,
  Tag.Nonce,
  Tag.NonceValue,
  Tag.OpaqueDataValue,
  Tag.P,
  Tag.Password,
  Tag.PrimeExponentP,
  Tag.PrimeExponentQ,
  Tag.PrivateExponent,
  Tag.Q,
  Tag.Salt,
  Tag.SignatureData,
  Tag.Username,
  Tag.VendorExtension,
  Tag.X,
]);

/** The Byte Strings that are shown: identifiers, and what a certificate makes public. */
const publicBytes: ReadonlySet<number> = new Set([
  Tag.AsynchronousCorrelationValue,
  Tag.CertificateRequest,
  Tag.CertificateSerialNumber,
  Tag.CertificateValue,
  Tag.IssuerAlternativeName,
  Tag.IssuerDistinguishedName,
  Tag.SubjectAlternativeName,
  Tag.SubjectDistinguishedName,
  Tag.UniqueBatchItemID,
]);

/** What the surroundings of an item say of it. */
interface Context {
  readonly depth: number;
  /** In a Credential, an extension or a custom attribute, whose content is the sender's own business. */
  readonly isPrivate: boolean;
  /** In a Response Message: a server may echo a plaintext in any of its fields. */
  readonly isReply: boolean;
  /** The tag that gives an Attribute Value its meaning: "State" in the Attribute Name makes 2 read "Active". */
  readonly attribute: number | undefined;
}

/** Bytes of the value as encoded, without its padding. */
function valueBytes(item: Item): number {
  switch (item.type) {
    case ItemType.Structure:
      return item.value.reduce((sum, child) => sum + headerBytes + paddedBytes(valueBytes(child)), 0);
    case ItemType.TextString:
      return Buffer.byteLength(item.value);
    case ItemType.ByteString:
    case ItemType.BigInteger:
      return item.value.length;
    case ItemType.Integer:
    case ItemType.Enumeration:
    case ItemType.Interval:
      return 4;
    default:
      return 8;
  }
}

const lengthOnly = (item: Item): string => `<${valueBytes(item)} bytes>`;

/** Quoted, cut, and without a character that could forge a line or turn the text around. */
function quoted(text: string): string {
  const cut = text.length > maxTextChars ? `${text.slice(0, maxTextChars)}…` : text;
  return JSON.stringify(cut).replaceAll(
    /[\u007F-\u009F\u061C\u200B-\u200F\u2028-\u202E\u2066-\u2069\uFEFF]/g,
    (char) => `\\u${char.codePointAt(0)?.toString(16).padStart(4, "0")}`,
  );
}

/** ISO 8601; as seconds where that has no such date. */
function dateTime(seconds: bigint): string {
  const date = new Date(Number(seconds) * 1000);
  return Number.isNaN(date.getTime()) ? `${seconds} s since 1970` : date.toISOString().replace(".000Z", "Z");
}

function integer(tag: number, value: number): string {
  if (!isMask(tag)) return String(value);
  return value === 0 ? "none" : maskNames(tag, value).join(", ");
}

function hex(bytes: Uint8Array): string {
  const shown = Buffer.from(bytes.subarray(0, maxTextChars / 2)).toString("hex");
  return bytes.length > maxTextChars / 2 ? `0x${shown}… (${bytes.length} bytes)` : `0x${shown}`;
}

/** A text of a reply: identifiers and short names as they are, of others only words; of a Result Message never more. */
function replyText(tag: number, text: string): string {
  const shown = tag === Tag.ResultMessage ? undefined : shownIdentifier(text);
  return shown ?? withoutPayload(text);
}

/** The bytes of a reply that are shown at most, in an identifier of a server's own: no seed is as short. */
const maxReplyIdBytes = 16;

function isPublic(
  { tag, value }: { readonly tag: number; readonly value: Uint8Array },
  isReply: boolean,
): boolean {
  const isId = tag === Tag.UniqueBatchItemID || tag === Tag.AsynchronousCorrelationValue;
  return publicBytes.has(tag) && !(isReply && isId && value.length > maxReplyIdBytes);
}

/** A value on one line. `tag` is what the value means, which for an Attribute Value is the attribute. */
function valueText(item: Exclude<Item, StructureItem>, tag: number, isReply: boolean): string {
  switch (item.type) {
    case ItemType.Enumeration:
      return enumerationName(tag, item.value);
    case ItemType.Integer:
      return integer(tag, item.value);
    case ItemType.DateTime:
      return dateTime(item.value);
    case ItemType.Interval:
      return `${item.value} s`;
    case ItemType.TextString:
      return quoted(isReply || item.tag === Tag.ResultMessage ? replyText(item.tag, item.value) : item.value);
    case ItemType.ByteString:
      return isPublic(item, isReply) ? hex(item.value) : lengthOnly(item);
    case ItemType.BigInteger:
      return lengthOnly(item);
    default:
      return String(item.value);
  }
}

/** Types of so few values that none can be a secret, and the two fields that only say which attribute it is. */
function isHarmless(item: Item): boolean {
  const { type, tag } = item;
  if (type === ItemType.Enumeration || type === ItemType.Boolean || type === ItemType.DateTime) return true;
  return tag === Tag.AttributeName || tag === Tag.AttributeIndex;
}

/** What an Attribute's name says of its value: which tag it stands for, and whether it is a custom one. */
function attributeContext(item: StructureItem, context: Context): Context {
  const name = item.value.find((child) => child.tag === Tag.AttributeName);
  const attribute = name?.type === ItemType.TextString ? tagByName(name.value) : undefined;
  return { ...context, attribute, isPrivate: context.isPrivate || attribute === undefined };
}

/** What the items in a Structure are to be read as. */
function inside(item: StructureItem, context: Context): Context {
  const isPrivate = context.isPrivate || item.tag === Tag.Credential || !isKnownTag(item.tag);
  const isReply = context.isReply || item.tag === Tag.ResponseMessage;
  const next: Context = { depth: context.depth + 1, isPrivate, isReply, attribute: undefined };
  return item.tag === Tag.Attribute ? attributeContext(item, next) : next;
}

/** Gives the lines one at a time, so that a dump can stop at its bound. */
function* lines(item: Item, context: Context): Generator<string> {
  const indent = "  ".repeat(context.depth);
  const name = tagName(item.tag);
  const tag = item.tag === Tag.AttributeValue ? (context.attribute ?? item.tag) : item.tag;
  if (sealed.has(tag)) return yield `${indent}${name}: ${lengthOnly(item)}`;
  if (item.type !== ItemType.Structure) {
    const isHidden = (context.isPrivate || !isKnownTag(tag)) && !isHarmless(item);
    return yield `${indent}${name}: ${isHidden ? lengthOnly(item) : valueText(item, tag, context.isReply)}`;
  }
  yield `${indent}${name}`;
  if (context.depth >= maxDumpDepth) return yield `${indent}  …`;
  const childContext = inside(item, context);
  for (const child of item.value) yield* lines(child, childContext);
}

/**
 * The text of an item and of all in it, lines separated by a newline. Keys, data, nonces, tags, credentials, what is in
 * extensions and custom attributes, and every Byte String that is not known to be public appear as their length. So does
 * what a reply has in a text or an identifier that is longer than a UUID, and is no word.
 */
export function dumpItem(item: Item, options: DumpOptions = {}): string {
  const maxChars = options.maxChars ?? defaultMaxChars;
  let text = "";
  for (const line of lines(item, { depth: 0, isPrivate: false, isReply: false, attribute: undefined })) {
    const longer = text === "" ? line : `${text}\n${line}`;
    if (longer.length > maxChars) return `${longer.slice(0, maxChars)}…`;
    text = longer;
  }
  return text;
}
