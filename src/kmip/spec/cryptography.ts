/**
 * The enumerations of algorithms and of their parameters, KMIP 1.4 section 9.1.3.2. Without the values
 * that only 2.0 has.
 */

/** Section 9.1.3.2.13. */
export const CryptographicAlgorithm = {
  DES: 0x01,
  TripleDES: 0x02,
  AES: 0x03,
  RSA: 0x04,
  DSA: 0x05,
  ECDSA: 0x06,
  HMACSHA1: 0x07,
  HMACSHA224: 0x08,
  HMACSHA256: 0x09,
  HMACSHA384: 0x0a,
  HMACSHA512: 0x0b,
  HMACMD5: 0x0c,
  DH: 0x0d,
  ECDH: 0x0e,
  ECMQV: 0x0f,
  Blowfish: 0x10,
  Camellia: 0x11,
  CAST5: 0x12,
  IDEA: 0x13,
  MARS: 0x14,
  RC2: 0x15,
  RC4: 0x16,
  RC5: 0x17,
  SKIPJACK: 0x18,
  Twofish: 0x19,
  // KMIP 1.2.
  EC: 0x1a,
  // KMIP 1.3.
  OneTimePad: 0x1b,
  // KMIP 1.4.
  ChaCha20: 0x1c,
  Poly1305: 0x1d,
  ChaCha20Poly1305: 0x1e,
  SHA3_224: 0x1f,
  SHA3_256: 0x20,
  SHA3_384: 0x21,
  SHA3_512: 0x22,
  HMACSHA3_224: 0x23,
  HMACSHA3_256: 0x24,
  HMACSHA3_384: 0x25,
  HMACSHA3_512: 0x26,
  SHAKE128: 0x27,
  SHAKE256: 0x28,
} as const;
export type CryptographicAlgorithm = (typeof CryptographicAlgorithm)[keyof typeof CryptographicAlgorithm];

/** Section 9.1.3.2.14. */
export const BlockCipherMode = {
  CBC: 0x01,
  ECB: 0x02,
  PCBC: 0x03,
  CFB: 0x04,
  OFB: 0x05,
  CTR: 0x06,
  CMAC: 0x07,
  CCM: 0x08,
  GCM: 0x09,
  CBCMAC: 0x0a,
  XTS: 0x0b,
  AESKeyWrapPadding: 0x0c,
  NISTKeyWrap: 0x0d,
  X9_102AESKW: 0x0e,
  X9_102TDKW: 0x0f,
  X9_102AKW1: 0x10,
  X9_102AKW2: 0x11,
  // KMIP 1.4.
  AEAD: 0x12,
} as const;
export type BlockCipherMode = (typeof BlockCipherMode)[keyof typeof BlockCipherMode];

/** Section 9.1.3.2.15. */
export const PaddingMethod = {
  None: 0x01,
  OAEP: 0x02,
  PKCS5: 0x03,
  SSL3: 0x04,
  Zeros: 0x05,
  ANSIX923: 0x06,
  ISO10126: 0x07,
  PKCS1V15: 0x08,
  X931: 0x09,
  PSS: 0x0a,
} as const;
export type PaddingMethod = (typeof PaddingMethod)[keyof typeof PaddingMethod];

/** Section 9.1.3.2.16. */
export const HashingAlgorithm = {
  MD2: 0x01,
  MD4: 0x02,
  MD5: 0x03,
  SHA1: 0x04,
  SHA224: 0x05,
  SHA256: 0x06,
  SHA384: 0x07,
  SHA512: 0x08,
  RIPEMD160: 0x09,
  Tiger: 0x0a,
  Whirlpool: 0x0b,
  // KMIP 1.2.
  SHA512_224: 0x0c,
  SHA512_256: 0x0d,
  // KMIP 1.4.
  SHA3_224: 0x0e,
  SHA3_256: 0x0f,
  SHA3_384: 0x10,
  SHA3_512: 0x11,
} as const;
export type HashingAlgorithm = (typeof HashingAlgorithm)[keyof typeof HashingAlgorithm];

/** Section 9.1.3.2.17. */
export const KeyRoleType = {
  BDK: 0x01,
  CVK: 0x02,
  DEK: 0x03,
  MKAC: 0x04,
  MKSMC: 0x05,
  MKSMI: 0x06,
  MKDAC: 0x07,
  MKDN: 0x08,
  MKCP: 0x09,
  MKOTH: 0x0a,
  KEK: 0x0b,
  MAC16609: 0x0c,
  MAC97971: 0x0d,
  MAC97972: 0x0e,
  MAC97973: 0x0f,
  MAC97974: 0x10,
  MAC97975: 0x11,
  ZPK: 0x12,
  PVKIBM: 0x13,
  PVKPVV: 0x14,
  PVKOTH: 0x15,
  // KMIP 1.4.
  DUKPT: 0x16,
  IV: 0x17,
  TRKBK: 0x18,
} as const;
export type KeyRoleType = (typeof KeyRoleType)[keyof typeof KeyRoleType];

/** Section 9.1.3.2.7; KMIP 1.1. */
export const DigitalSignatureAlgorithm = {
  MD2WithRSAEncryption: 0x01,
  MD5WithRSAEncryption: 0x02,
  SHA1WithRSAEncryption: 0x03,
  SHA224WithRSAEncryption: 0x04,
  SHA256WithRSAEncryption: 0x05,
  SHA384WithRSAEncryption: 0x06,
  SHA512WithRSAEncryption: 0x07,
  RSASSAPSS: 0x08,
  DSAWithSHA1: 0x09,
  DSAWithSHA224: 0x0a,
  DSAWithSHA256: 0x0b,
  ECDSAWithSHA1: 0x0c,
  ECDSAWithSHA224: 0x0d,
  ECDSAWithSHA256: 0x0e,
  ECDSAWithSHA384: 0x0f,
  ECDSAWithSHA512: 0x10,
  // KMIP 1.4.
  SHA3_256WithRSAEncryption: 0x11,
  SHA3_384WithRSAEncryption: 0x12,
  SHA3_512WithRSAEncryption: 0x13,
} as const;
export type DigitalSignatureAlgorithm =
  (typeof DigitalSignatureAlgorithm)[keyof typeof DigitalSignatureAlgorithm];

/** Section 9.1.3.2.21. */
export const DerivationMethod = {
  PBKDF2: 0x01,
  Hash: 0x02,
  HMAC: 0x03,
  Encrypt: 0x04,
  NIST800_108C: 0x05,
  NIST800_108F: 0x06,
  NIST800_108DPI: 0x07,
  // KMIP 1.4.
  AsymmetricKey: 0x08,
} as const;
export type DerivationMethod = (typeof DerivationMethod)[keyof typeof DerivationMethod];

/** KMIP 1.4. */
export const MaskGenerator = {
  MGF1: 0x01,
} as const;
export type MaskGenerator = (typeof MaskGenerator)[keyof typeof MaskGenerator];

/** KMIP 1.3. */
export const RNGAlgorithm = {
  Unspecified: 0x01,
  FIPS186_2: 0x02,
  DRBG: 0x03,
  NRBG: 0x04,
  ANSIX931: 0x05,
  ANSIX962: 0x06,
} as const;
export type RNGAlgorithm = (typeof RNGAlgorithm)[keyof typeof RNGAlgorithm];

/** KMIP 1.3. */
export const RNGMode = {
  Unspecified: 0x01,
  SharedInstantiation: 0x02,
  NonSharedInstantiation: 0x03,
} as const;
export type RNGMode = (typeof RNGMode)[keyof typeof RNGMode];

/** KMIP 1.3. */
export const DRBGAlgorithm = {
  Unspecified: 0x01,
  DualEC: 0x02,
  Hash: 0x03,
  HMAC: 0x04,
  CTR: 0x05,
} as const;
export type DRBGAlgorithm = (typeof DRBGAlgorithm)[keyof typeof DRBGAlgorithm];

/** KMIP 1.3. */
export const FIPS186Variation = {
  Unspecified: 0x01,
  GPXOriginal: 0x02,
  GPXChangeNotice: 0x03,
  XOriginal: 0x04,
  XChangeNotice: 0x05,
  KOriginal: 0x06,
  KChangeNotice: 0x07,
} as const;
export type FIPS186Variation = (typeof FIPS186Variation)[keyof typeof FIPS186Variation];

/** Section 9.1.3.2.5. */
export const RecommendedCurve = {
  P192: 0x01,
  K163: 0x02,
  B163: 0x03,
  P224: 0x04,
  K233: 0x05,
  B233: 0x06,
  P256: 0x07,
  K283: 0x08,
  B283: 0x09,
  P384: 0x0a,
  K409: 0x0b,
  B409: 0x0c,
  P521: 0x0d,
  K571: 0x0e,
  B571: 0x0f,
  // KMIP 1.2.
  SECP112R1: 0x10,
  SECP112R2: 0x11,
  SECP128R1: 0x12,
  SECP128R2: 0x13,
  SECP160K1: 0x14,
  SECP160R1: 0x15,
  SECP160R2: 0x16,
  SECP192K1: 0x17,
  SECP224K1: 0x18,
  SECP256K1: 0x19,
  SECT113R1: 0x1a,
  SECT113R2: 0x1b,
  SECT131R1: 0x1c,
  SECT131R2: 0x1d,
  SECT163R1: 0x1e,
  SECT193R1: 0x1f,
  SECT193R2: 0x20,
  SECT239K1: 0x21,
  ANSIX9P192V2: 0x22,
  ANSIX9P192V3: 0x23,
  ANSIX9P239V1: 0x24,
  ANSIX9P239V2: 0x25,
  ANSIX9P239V3: 0x26,
  ANSIX9C2PNB163V1: 0x27,
  ANSIX9C2PNB163V2: 0x28,
  ANSIX9C2PNB163V3: 0x29,
  ANSIX9C2PNB176V1: 0x2a,
  ANSIX9C2TNB191V1: 0x2b,
  ANSIX9C2TNB191V2: 0x2c,
  ANSIX9C2TNB191V3: 0x2d,
  ANSIX9C2PNB208W1: 0x2e,
  ANSIX9C2TNB239V1: 0x2f,
  ANSIX9C2TNB239V2: 0x30,
  ANSIX9C2TNB239V3: 0x31,
  ANSIX9C2PNB272W1: 0x32,
  ANSIX9C2PNB304W1: 0x33,
  ANSIX9C2TNB359V1: 0x34,
  ANSIX9C2PNB368W1: 0x35,
  ANSIX9C2TNB431R1: 0x36,
  BRAINPOOLP160R1: 0x37,
  BRAINPOOLP160T1: 0x38,
  BRAINPOOLP192R1: 0x39,
  BRAINPOOLP192T1: 0x3a,
  BRAINPOOLP224R1: 0x3b,
  BRAINPOOLP224T1: 0x3c,
  BRAINPOOLP256R1: 0x3d,
  BRAINPOOLP256T1: 0x3e,
  BRAINPOOLP320R1: 0x3f,
  BRAINPOOLP320T1: 0x40,
  BRAINPOOLP384R1: 0x41,
  BRAINPOOLP384T1: 0x42,
  BRAINPOOLP512R1: 0x43,
  BRAINPOOLP512T1: 0x44,
} as const;
export type RecommendedCurve = (typeof RecommendedCurve)[keyof typeof RecommendedCurve];
