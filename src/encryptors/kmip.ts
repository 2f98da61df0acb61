/**
 * The KMIP driver: wraps and unwraps with an AES key in a KMIP server, in the Go original's formats to the byte (AES
 * GCM, the IV an annotation, the tag at the end of the ciphertext). Encrypt and Decrypt: KMIP 1.4 sections 4.29, 4.30.
 */
import { randomBytes } from "node:crypto";
import { KmipResultError, ProviderError } from "../errors.ts";
import {
  call,
  createKmipClient,
  decryptOperation,
  encryptOperation,
  type EncryptResponse,
  isAtLeast,
  type KmipClient,
  type KmipClientOptions,
  parseVersion,
  type ProtocolVersion,
} from "../kmip/index.ts";
import type { Learned } from "../upstream/learned.ts";
import type {
  CallContext,
  Encryptor,
  KeySelector,
  KmsObserver,
  UnwrapRequest,
  Wrapped,
} from "./encryptor.ts";
import { credentialHeader, type KmipCredential } from "./kmip-credential.ts";
import { asKeyFailure } from "./kmip-failures.ts";
import { type Asked, FormSearch, ivBytes, parametersOf, remember, tagBytes } from "./kmip-habits.ts";
import { createKeyResolver, explainRefusal } from "./kmip-key.ts";
import { maxCiphertextBytes, maxKeyIdBytes } from "./limits.ts";

/** How the driver is made. What is not given is as in the client's options. */
export interface KmipEncryptorOptions extends Omit<KmipClientOptions, "onEvent"> {
  readonly key: KeySelector;
  /** User name and password, if the KMS requires them besides the client certificate. Default: none. */
  readonly credential?: KmipCredential | undefined;
  readonly onEvent?: KmsObserver | undefined;
}

const algAnnotation = "alg.okms.ovh.com";
const ivAnnotation = "iv.okms.ovh.com";
const algorithmName = "AES_GCM";
/** No reply that this driver needs is longer than some kilobytes. */
const maxReplyBytes = 64 * 1024;

/** The first version with a field for the tag, Authenticated Encryption Tag. */
const tagFieldSince = parseVersion("1.4");

/**
 * Makes the driver. It connects at the first call; before the first `setTlsMaterial` every call fails.
 * @throws CONFIG where no server is given.
 */
export function createKmipEncryptor(options: KmipEncryptorOptions): Encryptor {
  // A server without Encrypt is unusable even if it replies: another one of the list may have it.
  const client = createKmipClient({
    maxMessageBytes: maxReplyBytes,
    ...options,
    header: () => credentialHeader(options.credential),
    needs: [encryptOperation, decryptOperation],
  });
  const cipher = new KmipCipher(client);
  return {
    protocol: "kmip",
    resolveKey: createKeyResolver(client, options.key),
    encrypt: (plaintext, keyId, context) => cipher.encrypt(plaintext, keyId, context),
    decrypt: (request, context) => cipher.decrypt(request, context),
    setTlsMaterial: client.setTlsMaterial,
    connections: client.counts,
    close: client.close,
  };
}

/** Encrypt and Decrypt, in whatever form the server takes them. */
class KmipCipher {
  readonly #client: KmipClient;

  constructor(client: KmipClient) {
    this.#client = client;
  }

  async encrypt(plaintext: Uint8Array, keyId: string, context: CallContext): Promise<Wrapped> {
    checkPlaintext(plaintext);
    try {
      return await inAnyForm("Encrypt", (search) => this.#encryptSo(search, plaintext, keyId, context));
    } catch (error) {
      return this.#refuse("Encrypt", error, keyId, context);
    }
  }

  async decrypt(request: UnwrapRequest, context: CallContext): Promise<Uint8Array> {
    const iv = checkUnwrapRequest(request);
    try {
      return await inAnyForm("Decrypt", (search) => this.#decryptSo(search, request, iv, context));
    } catch (error) {
      return this.#refuse("Decrypt", isTampering(error) ? asTampering(error) : error, request.keyId, context);
    }
  }

  async #encryptSo(
    search: FormSearch,
    plaintext: Uint8Array,
    keyId: string,
    context: CallContext,
  ): Promise<Wrapped> {
    const { iv, asked, answer } = await this.#client.send((version, learned) => {
      // Fresh for each attempt: no IV is ever used for two messages under one key.
      const ivCounterNonce = randomBytes(ivBytes);
      const form = formOf(search, version, learned);
      const cryptographicParameters = parametersOf(form.habit);
      const request = { uniqueIdentifier: keyId, cryptographicParameters, data: plaintext, ivCounterNonce };
      return {
        calls: [call(encryptOperation, request)],
        read: (reply) => {
          search.answered(form);
          return { iv: ivCounterNonce, asked: form, answer: reply.payload(0, encryptOperation) };
        },
      };
    }, context);
    checkIdentity(keyId, answer.uniqueIdentifier);
    const ciphertext = sealedData(answer, plaintext.length);
    const annotations = {
      [algAnnotation]: Buffer.from(algorithmName),
      [ivAnnotation]: usedIv(iv, answer.ivCounterNonce),
    };
    const tag = answer.authenticatedEncryptionTag === undefined ? "data" : "field";
    remember({ ...asked, habit: { ...asked.habit, tag } });
    return { ciphertext, annotations };
  }

  async #decryptSo(
    search: FormSearch,
    { keyId, ciphertext }: UnwrapRequest,
    ivCounterNonce: Uint8Array,
    context: CallContext,
  ): Promise<Uint8Array> {
    const { asked, data } = await this.#client.send((version, learned) => {
      const form = formOf(search, version, learned);
      const cryptographicParameters = parametersOf(form.habit);
      const isSplit = form.hasTagField && form.habit.tag === "field";
      const sealed = isSplit ? splitTag(ciphertext) : { data: ciphertext };
      const request = { uniqueIdentifier: keyId, cryptographicParameters, ivCounterNonce, ...sealed };
      return {
        calls: [call(decryptOperation, request)],
        read: (reply) => {
          search.answered(form);
          return { asked: form, data: reply.payload(0, decryptOperation).data };
        },
      };
    }, context);
    if (data.length !== ciphertext.length - tagBytes)
      throw broken(`Decrypt gave ${data.length} bytes for ${ciphertext.length - tagBytes}`);
    remember(asked);
    return data;
  }

  /** Throws what the refusal means for the key. */
  async #refuse(
    operation: "Encrypt" | "Decrypt",
    error: unknown,
    keyId: string,
    context: CallContext,
  ): Promise<never> {
    const failure = asKeyFailure(error, keyId);
    throw failure === error ? error : await explainRefusal(this.#client, operation, keyId, failure, context);
  }
}

function formOf(search: FormSearch, version: ProtocolVersion, learned: Learned): Asked {
  return { learned, habit: search.habitFor(learned), hasTagField: isAtLeast(version, tagFieldSince) };
}

/** Asks in the form that the server is known to take, and where that is refused in the others. */
async function inAnyForm<T>(
  operation: "Encrypt" | "Decrypt",
  ask: (search: FormSearch) => Promise<T>,
): Promise<T> {
  const search = new FormSearch(operation);
  for (;;)
    try {
      return await ask(search);
    } catch (error) {
      const end = search.fail(error);
      if (end !== undefined) throw end.failure;
    }
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

/**
 * Another key's ciphertext under this key's key_id could never be read again. Some servers write identifiers in another
 * case than they were asked, or leave them out: then the proof by a Decrypt has to do. Theirs is not told: the request held
 * a plaintext, which they could echo here.
 */
function checkIdentity(keyId: string, usedKeyId = keyId): void {
  if (usedKeyId.toLowerCase() !== keyId.toLowerCase())
    throw broken(`Encrypt under key ${keyId} was done under another key`);
}

/** Data ‖ tag, wherever the server put the tag: its own field has it from 1.4 on, and not in every server. */
function sealedData({ data, authenticatedEncryptionTag: tag }: EncryptResponse, length: number): Uint8Array {
  if (data.length === length + tagBytes && (tag === undefined || endsWith(data, tag))) return data;
  if (data.length === length && tag?.length === tagBytes) return Buffer.concat([data, tag]);
  throw broken(`Encrypt gave ${data.length} bytes and a tag of ${tag?.length ?? 0} for ${length} bytes`);
}

/** The IV to store: a server may choose its own although one was sent. */
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
function splitTag(ciphertext: Uint8Array): {
  readonly data: Uint8Array;
  readonly authenticatedEncryptionTag: Uint8Array;
} {
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
  return new ProviderError("KMIP_UNEXPECTED", `the KMIP server's reply is not valid: ${what}`);
}
