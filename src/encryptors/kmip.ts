/**
 * The KMIP driver: wraps and unwraps with an AES key in a KMIP server, in the Go original's formats to the byte (AES
 * GCM, the IV an annotation, the tag at the end of the ciphertext). Encrypt and Decrypt: KMIP 1.4 sections 4.29, 4.30.
 */
import { randomBytes } from "node:crypto";
import { KmipResultError, ProviderError } from "../errors.ts";
import {
  BlockCipherMode,
  call,
  createKmipClient,
  CryptographicAlgorithm,
  decryptOperation,
  encryptOperation,
  type EncryptResponse,
  isAtLeast,
  type KmipClientOptions,
  parseVersion,
  type ProtocolVersion,
} from "../kmip/index.ts";
import type {
  CallContext,
  Encryptor,
  KeySelector,
  KmsObserver,
  UnwrapRequest,
  Wrapped,
} from "./encryptor.ts";
import { asKeyFailure } from "./kmip-failures.ts";
import { createKeyResolver, explainDenial } from "./kmip-key.ts";
import { maxCiphertextBytes, maxKeyIdBytes } from "./limits.ts";

/** How the driver is made. What is not given is as in the client's options. */
export interface KmipEncryptorOptions extends Omit<KmipClientOptions, "onEvent"> {
  readonly key: KeySelector;
  readonly onEvent?: KmsObserver | undefined;
}

const algAnnotation = "alg.okms.ovh.com";
const ivAnnotation = "iv.okms.ovh.com";
const algorithmName = "AES_GCM";
const ivBytes = 12;
const tagBytes = 16;

const cryptographicParameters = {
  blockCipherMode: BlockCipherMode.GCM,
  cryptographicAlgorithm: CryptographicAlgorithm.AES,
  ivLength: ivBytes,
  tagLength: tagBytes,
};

/** The first version with a field for the tag, Authenticated Encryption Tag. */
const tagFieldSince = parseVersion("1.4");

/**
 * Makes the driver. It connects at the first call; before the first `setTlsMaterial` every call fails.
 * @throws CONFIG where no server is given.
 */
export function createKmipEncryptor(options: KmipEncryptorOptions): Encryptor {
  // A server that has no Encrypt is of no use, however well it answers: another of the list may have it.
  const client = createKmipClient({ ...options, needs: [encryptOperation, decryptOperation] });
  const resolveKey = createKeyResolver(client, options.key);
  /** Some servers of 1.4 know no field for the tag: they give it in Data, and want it there. */
  let hasTagField = true;
  /** Whether any server has spoken a version with that field. */
  let knowsTagField = false;

  /** Throws what the refusal means for the key. */
  const refuse = async (error: unknown, keyId: string, context: CallContext): Promise<never> => {
    const failure = asKeyFailure(error, keyId);
    const isDenied = failure instanceof ProviderError && failure.code === "KEY_ACCESS_DENIED";
    throw isDenied ? await explainDenial(client, keyId, failure, context) : failure;
  };

  const encrypt = async (plaintext: Uint8Array, keyId: string, context: CallContext): Promise<Wrapped> => {
    checkPlaintext(plaintext);
    const { iv, version, answer } = await client
      .send((spoken) => {
        const fresh = randomBytes(ivBytes);
        const request = {
          uniqueIdentifier: keyId,
          cryptographicParameters,
          data: plaintext,
          ivCounterNonce: fresh,
        };
        return {
          calls: [call(encryptOperation, request)],
          read: (reply) => ({ iv: fresh, version: spoken, answer: reply.payload(0, encryptOperation) }),
        };
      }, context)
      .catch((error: unknown) => refuse(error, keyId, context));
    checkIdentity(keyId, answer.uniqueIdentifier);
    const ciphertext = sealedData(answer, plaintext.length);
    if (isAtLeast(version, tagFieldSince)) hasTagField = answer.authenticatedEncryptionTag !== undefined;
    return {
      ciphertext,
      annotations: {
        [algAnnotation]: Buffer.from(algorithmName),
        [ivAnnotation]: usedIv(iv, answer.ivCounterNonce),
      },
    };
  };

  /** One Decrypt with the tag in a field of its own, where the version has one, or in Data. */
  const decryptWith = async (
    { keyId, ciphertext }: UnwrapRequest,
    iv: Uint8Array,
    inField: boolean,
    context: CallContext,
  ): Promise<Uint8Array> => {
    const { data } = await client.send((version) => {
      knowsTagField ||= isAtLeast(version, tagFieldSince);
      const sealed = inField ? splitForVersion(ciphertext, version) : { data: ciphertext };
      const request = { uniqueIdentifier: keyId, cryptographicParameters, ivCounterNonce: iv, ...sealed };
      return {
        calls: [call(decryptOperation, request)],
        read: (reply) => reply.payload(0, decryptOperation),
      };
    }, context);
    if (data.length !== ciphertext.length - tagBytes)
      throw broken(`Decrypt gave ${data.length} bytes for ${ciphertext.length - tagBytes}`);
    return data;
  };

  const decrypt = async (request: UnwrapRequest, context: CallContext): Promise<Uint8Array> => {
    const iv = checkUnwrapRequest(request);
    const inField = hasTagField;
    try {
      return await decryptWith(request, iv, inField, context);
    } catch (error) {
      if (!isTampering(error)) return refuse(error, request.keyId, context);
      // Or the server wants the tag elsewhere, and nothing has shown where yet.
      const data = knowsTagField
        ? await decryptWith(request, iv, !inField, context).catch(() => undefined)
        : undefined;
      if (data === undefined) return refuse(asTampering(error), request.keyId, context);
      hasTagField = !inField;
      return data;
    }
  };

  return {
    protocol: "kmip",
    resolveKey,
    encrypt,
    decrypt,
    setTlsMaterial: client.setTlsMaterial,
    connections: client.counts,
    close: client.close,
  };
}

function checkPlaintext(plaintext: Uint8Array): void {
  if (plaintext.length === 0)
    throw new ProviderError("REQUEST_PLAINTEXT_EMPTY", "there is nothing to encrypt");
  if (plaintext.length + tagBytes > maxCiphertextBytes)
    throw new ProviderError(
      "RESPONSE_TOO_LARGE",
      `the ciphertext of ${plaintext.length} bytes is longer than the ${maxCiphertextBytes} that kube-apiserver takes`,
    );
}

/** Another key's ciphertext under this key's key_id could never be read again. */
function checkIdentity(keyId: string, told: string): void {
  if (told !== keyId) throw broken(`Encrypt was asked of key ${keyId} and answered by key ${told}`);
}

/** Data ‖ tag, wherever the server put the tag: its own field has it from 1.4 on, and not in every server. */
function sealedData({ data, authenticatedEncryptionTag: tag }: EncryptResponse, length: number): Uint8Array {
  if (data.length === length + tagBytes && (tag === undefined || endsWith(data, tag))) return data;
  if (data.length === length && tag?.length === tagBytes) return Buffer.concat([data, tag]);
  throw broken(`Encrypt gave ${data.length} bytes and a tag of ${tag?.length ?? 0} for ${length} bytes`);
}

/** A server may choose an IV of its own in spite of ours; then that is the one to keep. */
function usedIv(ours: Uint8Array, theirs: Uint8Array | undefined): Uint8Array {
  if (theirs === undefined || theirs.length === 0) return ours;
  if (theirs.length === ivBytes) return theirs;
  throw broken(`Encrypt gave an IV of ${theirs.length} bytes, not ${ivBytes}`);
}

/** Checks all that can be checked without the key; gives the IV. */
function checkUnwrapRequest({ keyId, ciphertext, annotations }: UnwrapRequest): Uint8Array {
  const keyIdLength = Buffer.byteLength(keyId);
  if (keyIdLength === 0 || keyIdLength > maxKeyIdBytes)
    throw new ProviderError("REQUEST_KEY_ID_INVALID", `key_id has ${keyIdLength} bytes, not 1 to 1024`);
  checkCiphertextLength(ciphertext.length);
  // Where it is missing the Go original takes it for AES_GCM, too.
  const alg = annotations[algAnnotation];
  if (alg !== undefined && Buffer.compare(alg, Buffer.from(algorithmName)) !== 0)
    throw new ProviderError(
      "REQUEST_ALG_UNSUPPORTED",
      `the annotation ${algAnnotation} is another: only ${algorithmName} is known`,
    );
  const iv = annotations[ivAnnotation];
  if (iv === undefined)
    throw new ProviderError("REQUEST_IV_MISSING", `the annotation ${ivAnnotation} is missing`);
  if (iv.length !== ivBytes)
    throw new ProviderError(
      "REQUEST_IV_LENGTH",
      `the annotation ${ivAnnotation} has ${iv.length} bytes, not ${ivBytes}`,
    );
  return iv;
}

function checkCiphertextLength(length: number): void {
  if (length === 0) throw new ProviderError("REQUEST_CIPHERTEXT_EMPTY", "there is nothing to decrypt");
  if (length < tagBytes)
    throw new ProviderError(
      "REQUEST_CIPHERTEXT_TOO_SHORT",
      `a ciphertext of ${length} bytes is shorter than its authentication tag of ${tagBytes}`,
    );
  if (length > maxCiphertextBytes)
    throw new ProviderError(
      "REQUEST_CIPHERTEXT_TOO_LONG",
      `a ciphertext of ${length} bytes is longer than ${maxCiphertextBytes}`,
    );
}

/** Before 1.4 data and tag travel as one byte string. */
function splitForVersion(
  ciphertext: Uint8Array,
  version: ProtocolVersion,
): { readonly data: Uint8Array; readonly authenticatedEncryptionTag?: Uint8Array } {
  if (!isAtLeast(version, tagFieldSince)) return { data: ciphertext };
  const end = ciphertext.length - tagBytes;
  return { data: ciphertext.subarray(0, end), authenticatedEncryptionTag: ciphertext.subarray(end) };
}

/** The only thing that makes a Decrypt fail in its cryptography is a ciphertext, IV or tag that is not what it was. */
function isTampering(error: unknown): boolean {
  return error instanceof KmipResultError && error.reason === "Cryptographic Failure";
}

function asTampering(error: unknown): ProviderError {
  return new ProviderError(
    "REQUEST_CIPHERTEXT_INVALID",
    "the KMS finds the ciphertext changed, or made with another key",
    { cause: error },
  );
}

function endsWith(bytes: Uint8Array, end: Uint8Array): boolean {
  return Buffer.compare(bytes.subarray(bytes.length - end.length), end) === 0;
}

function broken(what: string): ProviderError {
  return new ProviderError("KMIP_UNEXPECTED", `the KMIP server's reply makes no sense: ${what}`);
}
