/**
 * Encrypt, KMIP 1.4 section 4.29, with a key that stays in the server. Before 1.4 there is no field for the tag of an
 * authenticated cipher: servers put it at the end of Data.
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
 *           1.4: [Authenticated Encryption Additional Data]
 * Response: Unique Identifier, Data, [IV/Counter/Nonce] 1.3: [Correlation Value] 1.4: [Authenticated Encryption Tag]
 */
export const encryptOperation = defineOperation({
  operation: Operation.Encrypt,
  name: "Encrypt",
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
  }),
  response: structure({
    /** Required; some servers leave it out. */
    uniqueIdentifier: optional(Tag.UniqueIdentifier, textString),
    data: required(Tag.Data, byteString),
    ivCounterNonce: optional(Tag.IVCounterNonce, byteString),
    correlationValue: since("1.3", optional(Tag.CorrelationValue, byteString)),
    authenticatedEncryptionTag: since("1.4", optional(Tag.AuthenticatedEncryptionTag, byteString)),
  }),
});

/** What an Encrypt asks. */
export type EncryptRequest = WriteOf<typeof encryptOperation.request>;
/** What an Encrypt answers. */
export type EncryptResponse = ReadOf<typeof encryptOperation.response>;
