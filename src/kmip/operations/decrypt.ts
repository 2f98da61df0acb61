/**
 * Decrypt, KMIP 1.4 section 4.30, with a key that stays in the server. Before 1.4 the tag of an authenticated cipher
 * goes to the server at the end of Data.
 */
import { cryptographicParameters } from "../attributes.ts";
import {
  boolean,
  byteString,
  optional,
  type ReadOf,
  required,
  since,
  structure,
  textString,
  type WriteOf,
} from "../grammar.ts";
import { Operation } from "../spec/enumerations.ts";
import { Tag } from "../spec/tags.ts";
import { defineOperation } from "./operation.ts";

/**
 * Request:  [Unique Identifier] [Cryptographic Parameters] Data [IV/Counter/Nonce]
 *           1.3: [Correlation Value] [Init Indicator] [Final Indicator]
 *           1.4: [Authenticated Encryption Additional Data] [Authenticated Encryption Tag]
 * Response: Unique Identifier, Data, 1.3: [Correlation Value]
 */
export const decryptOperation = defineOperation({
  operation: Operation.Decrypt,
  name: "Decrypt",
  since: "1.2",
  request: structure({
    uniqueIdentifier: optional(Tag.UniqueIdentifier, textString),
    cryptographicParameters: optional(Tag.CryptographicParameters, cryptographicParameters),
    data: required(Tag.Data, byteString),
    ivCounterNonce: optional(Tag.IVCounterNonce, byteString),
    correlationValue: since("1.3", optional(Tag.CorrelationValue, byteString)),
    initIndicator: since("1.3", optional(Tag.InitIndicator, boolean)),
    finalIndicator: since("1.3", optional(Tag.FinalIndicator, boolean)),
    authenticatedEncryptionAdditionalData: since(
      "1.4",
      optional(Tag.AuthenticatedEncryptionAdditionalData, byteString),
    ),
    authenticatedEncryptionTag: since("1.4", optional(Tag.AuthenticatedEncryptionTag, byteString)),
  }),
  response: structure({
    /** Required; some servers leave it out. */
    uniqueIdentifier: optional(Tag.UniqueIdentifier, textString),
    data: required(Tag.Data, byteString),
    correlationValue: since("1.3", optional(Tag.CorrelationValue, byteString)),
  }),
});

/** What a Decrypt asks. */
export type DecryptRequest = WriteOf<typeof decryptOperation.request>;
/** What a Decrypt answers. */
export type DecryptResponse = ReadOf<typeof decryptOperation.response>;
