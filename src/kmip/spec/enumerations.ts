/**
 * Every enumeration and bit mask of KMIP 1.0 to 1.4, and the names in which a log or a dump reads: which table
 * belongs to which tag, and the specification's spelling. Extensions (0x8…) and values of 2.0 read as numbers.
 */
import {
  BlockCipherMode,
  CryptographicAlgorithm,
  DerivationMethod,
  DigitalSignatureAlgorithm,
  DRBGAlgorithm,
  FIPS186Variation,
  HashingAlgorithm,
  KeyRoleType,
  MaskGenerator,
  PaddingMethod,
  RecommendedCurve,
  RNGAlgorithm,
  RNGMode,
} from "./cryptography.ts";
import { hexadecimal, spaced } from "./names.ts";
import {
  AlternativeNameType,
  CertificateRequestType,
  CertificateType,
  CryptographicUsageMask,
  EncodingOption,
  KeyCompressionType,
  KeyFormatType,
  KeyValueLocationType,
  KeyWrapType,
  LinkType,
  NameType,
  ObjectGroupMember,
  ObjectType,
  RevocationReasonCode,
  SecretDataType,
  SplitKeyMethod,
  State,
  StorageStatusMask,
  UsageLimitsUnit,
  ValidityIndicator,
  WrappingMethod,
} from "./objects.ts";
import { profileNames } from "./profile-names.ts";
import {
  AttestationType,
  BatchErrorContinuationOption,
  CancellationResult,
  ClientRegistrationMethod,
  CredentialType,
  DestroyAction,
  Operation,
  PutFunction,
  QueryFunction,
  ResultReason,
  ResultStatus,
  ShreddingAlgorithm,
  UnwrapMode,
  ValidationAuthorityType,
  ValidationType,
} from "./protocol.ts";
import { Tag } from "./tags.ts";

export * from "./cryptography.ts";
export * from "./objects.ts";
export * from "./protocol.ts";

type Names = ReadonlyMap<number, string>;

/** Value to name; `spelled` has the names that cannot be derived from the identifier. */
function named(
  table: Readonly<Record<string, number>>,
  spelled: Readonly<Record<string, string>> = {},
): Names {
  const pairs = Object.entries(table);
  return new Map(pairs.map(([identifier, value]) => [value, spelled[identifier] ?? spaced(identifier)]));
}

/** A table of which every name is one word: the identifier as it is, or as `spell` changes it. */
function verbatim(
  table: Readonly<Record<string, number>>,
  spell: (identifier: string) => string = (identifier) => identifier,
): Names {
  return new Map(Object.entries(table).map(([identifier, value]) => [value, spell(identifier)]));
}

/** `SHA3_256` is "SHA3-256", `HMACSHA256` is "HMAC-SHA256", `SHAKE128` is "SHAKE-128". */
function algorithmSpelling(identifier: string): string {
  if (identifier === "TripleDES") return "3DES";
  if (identifier === "OneTimePad") return "One Time Pad";
  return identifier
    .replace("_", "-")
    .replace(/^HMAC(?=.)/, "HMAC-")
    .replace(/^SHAKE/, "SHAKE-");
}

/** `SHA256` is "SHA-256", `SHA512_224` is "SHA-512/224", `SHA3_256` is "SHA-3-256". */
function hashSpelling(identifier: string): string {
  if (identifier.startsWith("SHA3_")) return identifier.replace("SHA3_", "SHA-3-");
  return identifier.replace("_", "/").replace(/^(SHA|RIPEMD)/, "$1-");
}

/** `SHA256WithRSAEncryption` is "SHA-256 with RSA Encryption". */
function signatureSpelling(identifier: string): string {
  if (identifier === "RSASSAPSS") return "RSASSA-PSS";
  return identifier
    .replace("With", " with ")
    .replace("RSAEncryption", "RSA Encryption")
    .replace(/SHA3_/, "SHA3-")
    .replace(/SHA(?=(1|224|256|384|512)\b)/, "SHA-");
}

const enumerations: ReadonlyMap<number, Names> = new Map<number, Names>([
  [
    Tag.AlternativeNameType,
    named(AlternativeNameType, { X500DistinguishedName: "X.500 Distinguished Name" }),
  ],
  [Tag.AttestationType, named(AttestationType)],
  [Tag.BatchErrorContinuationOption, named(BatchErrorContinuationOption)],
  [
    Tag.BlockCipherMode,
    verbatim(BlockCipherMode, (identifier) =>
      identifier === "CBCMAC" ? "CBC-MAC" : identifier.replace("X9_102", "X9.102 "),
    ),
  ],
  [Tag.CancellationResult, named(CancellationResult, { UnableToCancel: "Unable to Cancel" })],
  [Tag.CertificateRequestType, named(CertificateRequestType, { PKCS10: "PKCS#10" })],
  [Tag.CertificateType, named(CertificateType, { X509: "X.509" })],
  [
    Tag.ClientRegistrationMethod,
    named(ClientRegistrationMethod, {
      ServerPreGenerated: "Server Pre-Generated",
      ServerOnDemand: "Server On-Demand",
    }),
  ],
  [Tag.CredentialType, named(CredentialType, { UsernameAndPassword: "Username and Password" })],
  [Tag.CryptographicAlgorithm, verbatim(CryptographicAlgorithm, algorithmSpelling)],
  [
    Tag.DerivationMethod,
    named(DerivationMethod, {
      NIST800_108C: "NIST800-108-C",
      NIST800_108F: "NIST800-108-F",
      NIST800_108DPI: "NIST800-108-DPI",
    }),
  ],
  [Tag.DestroyAction, named(DestroyAction)],
  [Tag.DigitalSignatureAlgorithm, verbatim(DigitalSignatureAlgorithm, signatureSpelling)],
  [Tag.DRBGAlgorithm, named(DRBGAlgorithm, { DualEC: "Dual-EC" })],
  [Tag.EncodingOption, named(EncodingOption)],
  [
    Tag.FIPS186Variation,
    named(FIPS186Variation, {
      GPXOriginal: "GP x-Original",
      GPXChangeNotice: "GP x-Change Notice",
      XOriginal: "x-Original",
      XChangeNotice: "x-Change Notice",
      KOriginal: "k-Original",
      KChangeNotice: "k-Change Notice",
    }),
  ],
  [Tag.HashingAlgorithm, verbatim(HashingAlgorithm, hashSpelling)],
  [
    Tag.KeyCompressionType,
    named(KeyCompressionType, {
      ECPublicKeyTypeX9_62CompressedPrime: "EC Public Key Type X9.62 Compressed Prime",
      ECPublicKeyTypeX9_62CompressedChar2: "EC Public Key Type X9.62 Compressed Char2",
      ECPublicKeyTypeX9_62Hybrid: "EC Public Key Type X9.62 Hybrid",
    }),
  ],
  [
    Tag.KeyFormatType,
    named(KeyFormatType, { PKCS1: "PKCS#1", PKCS8: "PKCS#8", X509: "X.509", PKCS12: "PKCS#12" }),
  ],
  [Tag.KeyRoleType, verbatim(KeyRoleType)],
  [Tag.KeyValueLocationType, named(KeyValueLocationType)],
  [Tag.KeyWrapType, named(KeyWrapType)],
  [
    Tag.LinkType,
    named(LinkType, {
      PKCS12CertificateLink: "PKCS#12 Certificate Link",
      PKCS12PasswordLink: "PKCS#12 Password Link",
    }),
  ],
  [Tag.MaskGenerator, verbatim(MaskGenerator)],
  [Tag.NameType, named(NameType)],
  [Tag.ObjectGroupMember, named(ObjectGroupMember)],
  [Tag.ObjectType, named(ObjectType)],
  [
    Tag.Operation,
    named(Operation, { ReKey: "Re-key", ReCertify: "Re-certify", ReKeyKeyPair: "Re-key Key Pair" }),
  ],
  [
    Tag.PaddingMethod,
    named(PaddingMethod, {
      ANSIX923: "ANSI X9.23",
      ISO10126: "ISO 10126",
      PKCS1V15: "PKCS1 v1.5",
      X931: "X9.31",
    }),
  ],
  [Tag.ProfileName, profileNames],
  [Tag.PutFunction, named(PutFunction)],
  [Tag.QueryFunction, named(QueryFunction, { QueryRNGs: "Query RNGs" })],
  [Tag.RecommendedCurve, verbatim(RecommendedCurve, (curve) => curve.replace(/^([PKB])(\d)/, "$1-$2"))],
  [Tag.ResultReason, named(ResultReason, { IndexOutOfBounds: "Index Out of Bounds" })],
  [Tag.ResultStatus, named(ResultStatus)],
  [Tag.RevocationReasonCode, named(RevocationReasonCode, { CessationOfOperation: "Cessation of Operation" })],
  [
    Tag.RNGAlgorithm,
    named(RNGAlgorithm, { FIPS186_2: "FIPS 186-2", ANSIX931: "ANSI X9.31", ANSIX962: "ANSI X9.62" }),
  ],
  [Tag.RNGMode, named(RNGMode, { NonSharedInstantiation: "Non-Shared Instantiation" })],
  [Tag.SecretDataType, named(SecretDataType)],
  [Tag.ShreddingAlgorithm, named(ShreddingAlgorithm)],
  [
    Tag.SplitKeyMethod,
    named(SplitKeyMethod, {
      PolynomialSharingGF2To16: "Polynomial Sharing GF (2^16)",
      PolynomialSharingGF2To8: "Polynomial Sharing GF (2^8)",
    }),
  ],
  [Tag.State, named(State, { PreActive: "Pre-Active" })],
  [Tag.UnwrapMode, named(UnwrapMode)],
  [Tag.UsageLimitsUnit, named(UsageLimitsUnit)],
  [Tag.ValidationAuthorityType, named(ValidationAuthorityType, { NISTCMVP: "NIST CMVP" })],
  [Tag.ValidationType, named(ValidationType)],
  [Tag.ValidityIndicator, named(ValidityIndicator)],
  [
    Tag.WrappingMethod,
    named(WrappingMethod, {
      MACSign: "MAC/sign",
      EncryptThenMACSign: "Encrypt then MAC/sign",
      MACSignThenEncrypt: "MAC/sign then encrypt",
      TR31: "TR-31",
    }),
  ],
]);

const masks: ReadonlyMap<number, Names> = new Map([
  [Tag.CryptographicUsageMask, named(CryptographicUsageMask)],
  [Tag.StorageStatusMask, named(StorageStatusMask)],
]);

/** The specification's name of a value under a tag, as "Item Not Found"; `0x8000000a` where it has none. */
export function enumerationName(tag: number, value: number): string {
  return enumerations.get(tag)?.get(value) ?? hexadecimal(value);
}

/** The value with this name under a tag; case, spaces and hyphens do not matter. Undefined where no value has the name. */
export function enumerationValue(tag: number, name: string): number | undefined {
  const wanted = lettersOf(name);
  const found = [...(enumerations.get(tag) ?? [])].find(([, each]) => lettersOf(each) === wanted);
  return found?.[0];
}

function lettersOf(name: string): string {
  return name.toLowerCase().replaceAll(/[^a-z\d]/g, "");
}

/** Whether an Integer under this tag is a bit mask. */
export function isMask(tag: number): boolean {
  return masks.has(tag);
}

/**
 * The names of the bits set in a mask, as `["Encrypt", "Decrypt"]`, lowest first; the bits without a name follow
 * as one number, as `0x80000000`. Empty for 0.
 */
export function maskNames(tag: number, value: number): string[] {
  const names: string[] = [];
  let rest = value;
  for (const [bit, name] of masks.get(tag) ?? []) {
    if ((rest & bit) === 0) continue;
    names.push(name);
    rest &= ~bit;
  }
  if (rest !== 0) names.push(hexadecimal(rest));
  return names;
}
