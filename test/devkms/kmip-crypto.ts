/**
 * Encrypt and Decrypt of the embedded KMS, KMIP 1.4 sections 4.29 and 4.30: AES-GCM by node:crypto, with the tag in its
 * own field from 1.4 on and at the end of Data before. Leaves out every other mode, and messages in several parts.
 */
import { type CipherGCMTypes, createCipheriv, createDecipheriv, randomBytes } from "node:crypto";
import type { CryptographicParameters } from "../../src/kmip/attributes.ts";
import type {
  DecryptRequest,
  DecryptResponse,
  EncryptRequest,
  EncryptResponse,
} from "../../src/kmip/operations/index.ts";
import { BlockCipherMode, CryptographicAlgorithm, ResultReason } from "../../src/kmip/spec/enumerations.ts";
import { isAtLeast, parseVersion } from "../../src/kmip/version.ts";
import type { KeyUsage, StoredKey } from "./key-store.ts";
import type { WantedLengths } from "./kmip-quirks.ts";
import { findKey, type KmipContext, KmipFailure } from "./kmip-context.ts";

const hasTagField = parseVersion("1.4");
/** What NIST SP 800-38D recommends, and what an IV made here has. */
const randomIvBytes = 12;
const defaultTagBytes = 16;

/** Whether the tag has a field of its own. */
function hasField({ version, faults }: KmipContext): boolean {
  return isAtLeast(version, hasTagField) && !faults.kmip.tagInData;
}

function invalid(message: string): KmipFailure {
  return new KmipFailure(ResultReason.InvalidField, message);
}

/** @throws PermissionDenied, as PyKMIP does, where the key may not be used so; InvalidField where it is no AES key */
function usableKey(context: KmipContext, id: string | undefined, usage: KeyUsage): StoredKey {
  const key = findKey(context, id);
  if (key.objectType !== "SymmetricKey" || key.algorithm !== "AES") throw invalid("not an AES key");
  if (key.state !== "Active")
    throw new KmipFailure(ResultReason.PermissionDenied, `the key is ${key.state}, not Active`);
  checkDates(key, usage);
  if (!key.usage.includes(usage))
    throw new KmipFailure(ResultReason.PermissionDenied, `the usage mask has no ${usage}`);
  return key;
}

/** Section 3.22: the dates say when a key may protect and process. */
function checkDates({ dates }: StoredKey, usage: KeyUsage): void {
  const now = new Date();
  const { protectStop, processStart, deactivation } = dates;
  if (deactivation !== undefined && deactivation <= now)
    throw new KmipFailure(ResultReason.PermissionDenied, "the key is deactivated");
  if (usage === "Encrypt" && protectStop !== undefined && protectStop <= now)
    throw new KmipFailure(ResultReason.PermissionDenied, "the key may not protect any more");
  if (usage === "Decrypt" && processStart !== undefined && processStart > now)
    throw new KmipFailure(ResultReason.PermissionDenied, "the key may not process yet");
}

/** Whether IV Length and Tag Length are as this server wants them. */
function areLengthsRight({ ivLength, tagLength }: CryptographicParameters, wanted: WantedLengths): boolean {
  const table: Record<WantedLengths, readonly [number | undefined, number | undefined]> = {
    bytes: [12, 16],
    absent: [undefined, undefined],
    bits: [96, 128],
    "IV in bits": [96, 16],
    "tag in bits": [12, 128],
  };
  const [iv, tag] = table[wanted];
  return ivLength === iv && tagLength === tag;
}

function checkParameters(
  parameters: CryptographicParameters | undefined,
  { lengths }: KmipContext["faults"]["kmip"],
): number {
  if (parameters !== undefined && lengths !== undefined) {
    if (!areLengthsRight(parameters, lengths)) throw invalid("IV Length or Tag Length");
    return defaultTagBytes;
  }
  if (parameters?.blockCipherMode !== BlockCipherMode.GCM)
    throw invalid("only the Block Cipher Mode GCM is known");
  const { cryptographicAlgorithm = CryptographicAlgorithm.AES, tagLength = defaultTagBytes } = parameters;
  if (cryptographicAlgorithm !== CryptographicAlgorithm.AES)
    throw invalid("the algorithm is not that of the key");
  if (tagLength < 12 || tagLength > 16) throw invalid("a Tag Length is 12 to 16 bytes");
  return tagLength;
}

function checkWhole(request: EncryptRequest | DecryptRequest): void {
  const { correlationValue, initIndicator = false, finalIndicator = false } = request;
  if (correlationValue !== undefined || initIndicator !== finalIndicator)
    throw new KmipFailure(ResultReason.FeatureNotSupported, "messages in several parts are not supported");
}

function cipherOf(key: StoredKey): CipherGCMTypes {
  return `aes-${key.lengthBits}-gcm` as CipherGCMTypes;
}

/** Encrypts; the IV is the client's, or made here where it asks for a random one. */
export function encrypt(request: EncryptRequest, context: KmipContext): EncryptResponse {
  const key = usableKey(context, request.uniqueIdentifier, "Encrypt");
  const authTagLength = checkParameters(request.cryptographicParameters, context.faults.kmip);
  checkWhole(request);
  const isRandom = request.ivCounterNonce === undefined && request.cryptographicParameters?.randomIV === true;
  const iv = isRandom ? randomBytes(randomIvBytes) : request.ivCounterNonce;
  if (iv === undefined || iv.length === 0) throw invalid("GCM needs an IV/Counter/Nonce");
  const cipher = createCipheriv(cipherOf(key), key.secret, iv, { authTagLength });
  if (request.authenticatedEncryptionAdditionalData !== undefined)
    cipher.setAAD(request.authenticatedEncryptionAdditionalData);
  const data = Buffer.concat([cipher.update(request.data), cipher.final()]);
  const tag = cipher.getAuthTag();
  return {
    uniqueIdentifier: key.id,
    ...(hasField(context) ? { data, authenticatedEncryptionTag: tag } : { data: Buffer.concat([data, tag]) }),
    ...(isRandom ? { ivCounterNonce: iv } : {}),
  };
}

/** Takes data and tag apart, wherever the version puts the tag. */
function splitTag(request: DecryptRequest, tagBytes: number, context: KmipContext): [Uint8Array, Uint8Array] {
  const { data, authenticatedEncryptionTag: tag } = request;
  if (!hasField(context)) {
    if (data.length < tagBytes) throw invalid("Data is shorter than a tag");
    return [data.subarray(0, -tagBytes), data.subarray(-tagBytes)];
  }
  if (tag === undefined) throw invalid("there is no Authenticated Encryption Tag");
  if (tag.length !== tagBytes) throw invalid("the Authenticated Encryption Tag is not of the Tag Length");
  return [data, tag];
}

/** Decrypts; CryptographicFailure where anything is not as Encrypt left it. */
export function decrypt(request: DecryptRequest, context: KmipContext): DecryptResponse {
  const key = usableKey(context, request.uniqueIdentifier, "Decrypt");
  const authTagLength = checkParameters(request.cryptographicParameters, context.faults.kmip);
  checkWhole(request);
  const iv = request.ivCounterNonce;
  if (iv === undefined || iv.length === 0) throw invalid("GCM needs an IV/Counter/Nonce");
  const [data, tag] = splitTag(request, authTagLength, context);
  const decipher = createDecipheriv(cipherOf(key), key.secret, iv, { authTagLength });
  decipher.setAuthTag(tag);
  if (request.authenticatedEncryptionAdditionalData !== undefined)
    decipher.setAAD(request.authenticatedEncryptionAdditionalData);
  try {
    const opened = Buffer.concat([decipher.update(data), decipher.final()]);
    return { uniqueIdentifier: key.id, data: context.faults.decryptsTo ?? opened };
  } catch {
    throw new KmipFailure(ResultReason.CryptographicFailure, "the data does not authenticate");
  }
}
