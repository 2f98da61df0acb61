/**
 * The enumerations and bit masks of managed objects and their attributes, KMIP 1.4 sections 9.1.3.2 and 9.1.3.3.
 * Without the values that only 2.0 has.
 */

/** Section 9.1.3.2.12. */
export const ObjectType = {
  Certificate: 0x01,
  SymmetricKey: 0x02,
  PublicKey: 0x03,
  PrivateKey: 0x04,
  SplitKey: 0x05,
  Template: 0x06,
  SecretData: 0x07,
  OpaqueObject: 0x08,
  // KMIP 1.2.
  PGPKey: 0x09,
} as const;
export type ObjectType = (typeof ObjectType)[keyof typeof ObjectType];

/** Section 9.1.3.2.18. */
export const State = {
  PreActive: 0x01,
  Active: 0x02,
  Deactivated: 0x03,
  Compromised: 0x04,
  Destroyed: 0x05,
  DestroyedCompromised: 0x06,
} as const;
export type State = (typeof State)[keyof typeof State];

/** Section 9.1.3.2.11. */
export const NameType = { UninterpretedTextString: 0x01, URI: 0x02 } as const;
export type NameType = (typeof NameType)[keyof typeof NameType];

/** KMIP 1.2. */
export const AlternativeNameType = {
  UninterpretedTextString: 0x01,
  URI: 0x02,
  ObjectSerialNumber: 0x03,
  EmailAddress: 0x04,
  DNSName: 0x05,
  X500DistinguishedName: 0x06,
  IPAddress: 0x07,
} as const;
export type AlternativeNameType = (typeof AlternativeNameType)[keyof typeof AlternativeNameType];

/** KMIP 1.1. */
export const ObjectGroupMember = { GroupMemberFresh: 0x01, GroupMemberDefault: 0x02 } as const;
export type ObjectGroupMember = (typeof ObjectGroupMember)[keyof typeof ObjectGroupMember];

/** Section 9.1.3.2.19. */
export const RevocationReasonCode = {
  Unspecified: 0x01,
  KeyCompromise: 0x02,
  CACompromise: 0x03,
  AffiliationChanged: 0x04,
  Superseded: 0x05,
  CessationOfOperation: 0x06,
  PrivilegeWithdrawn: 0x07,
} as const;
export type RevocationReasonCode = (typeof RevocationReasonCode)[keyof typeof RevocationReasonCode];

/** Section 9.1.3.2.20. */
export const LinkType = {
  CertificateLink: 0x101,
  PublicKeyLink: 0x102,
  PrivateKeyLink: 0x103,
  DerivationBaseObjectLink: 0x104,
  DerivedKeyLink: 0x105,
  ReplacementObjectLink: 0x106,
  ReplacedObjectLink: 0x107,
  // KMIP 1.2.
  ParentLink: 0x108,
  ChildLink: 0x109,
  PreviousLink: 0x10a,
  NextLink: 0x10b,
  // KMIP 1.4.
  PKCS12CertificateLink: 0x10c,
  PKCS12PasswordLink: 0x10d,
} as const;
export type LinkType = (typeof LinkType)[keyof typeof LinkType];

/** Section 9.1.3.2.31. */
export const UsageLimitsUnit = { Byte: 0x01, Object: 0x02 } as const;
export type UsageLimitsUnit = (typeof UsageLimitsUnit)[keyof typeof UsageLimitsUnit];

/** Section 9.1.3.2.23. */
export const ValidityIndicator = { Valid: 0x01, Invalid: 0x02, Unknown: 0x03 } as const;
export type ValidityIndicator = (typeof ValidityIndicator)[keyof typeof ValidityIndicator];

/** Section 9.1.3.2.6. */
export const CertificateType = { X509: 0x01, PGP: 0x02 } as const;
export type CertificateType = (typeof CertificateType)[keyof typeof CertificateType];

/** Section 9.1.3.2.22. */
export const CertificateRequestType = { CRMF: 0x01, PKCS10: 0x02, PEM: 0x03, PGP: 0x04 } as const;
export type CertificateRequestType = (typeof CertificateRequestType)[keyof typeof CertificateRequestType];

/** Section 9.1.3.2.9. */
export const SecretDataType = { Password: 0x01, Seed: 0x02 } as const;
export type SecretDataType = (typeof SecretDataType)[keyof typeof SecretDataType];

/** Section 9.1.3.2.3. */
export const KeyFormatType = {
  Raw: 0x01,
  Opaque: 0x02,
  PKCS1: 0x03,
  PKCS8: 0x04,
  X509: 0x05,
  ECPrivateKey: 0x06,
  TransparentSymmetricKey: 0x07,
  TransparentDSAPrivateKey: 0x08,
  TransparentDSAPublicKey: 0x09,
  TransparentRSAPrivateKey: 0x0a,
  TransparentRSAPublicKey: 0x0b,
  TransparentDHPrivateKey: 0x0c,
  TransparentDHPublicKey: 0x0d,
  TransparentECDSAPrivateKey: 0x0e,
  TransparentECDSAPublicKey: 0x0f,
  TransparentECDHPrivateKey: 0x10,
  TransparentECDHPublicKey: 0x11,
  TransparentECMQVPrivateKey: 0x12,
  TransparentECMQVPublicKey: 0x13,
  // KMIP 1.3.
  TransparentECPrivateKey: 0x14,
  TransparentECPublicKey: 0x15,
  // KMIP 1.4.
  PKCS12: 0x16,
} as const;
export type KeyFormatType = (typeof KeyFormatType)[keyof typeof KeyFormatType];

/** Section 9.1.3.2.2. */
export const KeyCompressionType = {
  ECPublicKeyTypeUncompressed: 0x01,
  ECPublicKeyTypeX9_62CompressedPrime: 0x02,
  ECPublicKeyTypeX9_62CompressedChar2: 0x03,
  ECPublicKeyTypeX9_62Hybrid: 0x04,
} as const;
export type KeyCompressionType = (typeof KeyCompressionType)[keyof typeof KeyCompressionType];

/** KMIP 1.2. */
export const KeyValueLocationType = { UninterpretedTextString: 0x01, URI: 0x02 } as const;
export type KeyValueLocationType = (typeof KeyValueLocationType)[keyof typeof KeyValueLocationType];

/** KMIP 1.4. */
export const KeyWrapType = { NotWrapped: 0x01, AsRegistered: 0x02 } as const;
export type KeyWrapType = (typeof KeyWrapType)[keyof typeof KeyWrapType];

/** Section 9.1.3.2.4. */
export const WrappingMethod = {
  Encrypt: 0x01,
  MACSign: 0x02,
  EncryptThenMACSign: 0x03,
  MACSignThenEncrypt: 0x04,
  TR31: 0x05,
} as const;
export type WrappingMethod = (typeof WrappingMethod)[keyof typeof WrappingMethod];

/** KMIP 1.1. */
export const EncodingOption = { NoEncoding: 0x01, TTLVEncoding: 0x02 } as const;
export type EncodingOption = (typeof EncodingOption)[keyof typeof EncodingOption];

/** Section 9.1.3.2.8. */
export const SplitKeyMethod = {
  XOR: 0x01,
  PolynomialSharingGF2To16: 0x02,
  PolynomialSharingPrimeField: 0x03,
  // KMIP 1.2.
  PolynomialSharingGF2To8: 0x04,
} as const;
export type SplitKeyMethod = (typeof SplitKeyMethod)[keyof typeof SplitKeyMethod];

/** Bits of a Cryptographic Usage Mask, section 9.1.3.3.1. */
export const CryptographicUsageMask = {
  Sign: 0x000001,
  Verify: 0x000002,
  Encrypt: 0x000004,
  Decrypt: 0x000008,
  WrapKey: 0x000010,
  UnwrapKey: 0x000020,
  Export: 0x000040,
  MACGenerate: 0x000080,
  MACVerify: 0x000100,
  DeriveKey: 0x000200,
  ContentCommitment: 0x000400,
  KeyAgreement: 0x000800,
  CertificateSign: 0x001000,
  CRLSign: 0x002000,
  GenerateCryptogram: 0x004000,
  ValidateCryptogram: 0x008000,
  TranslateEncrypt: 0x010000,
  TranslateDecrypt: 0x020000,
  TranslateWrap: 0x040000,
  TranslateUnwrap: 0x080000,
} as const;

/** Bits of a Storage Status Mask, section 9.1.3.3.2. */
export const StorageStatusMask = { OnlineStorage: 0x01, ArchivalStorage: 0x02 } as const;
