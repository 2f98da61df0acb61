/** Revoke, KMIP 1.4 section 4.20: makes an object Deactivated, or Compromised, according to the reason. */
import { revocationReason } from "../attributes.ts";
import { dateTime, optional, required, structure, textString } from "../grammar.ts";
import { Operation } from "../spec/enumerations.ts";
import { Tag } from "../spec/tags.ts";
import { defineOperation } from "./operation.ts";

/**
 * Request:  [Unique Identifier] (absent: the ID placeholder) Revocation Reason, [Compromise Occurrence Date]
 * Response: Unique Identifier
 */
export const revokeOperation = defineOperation({
  operation: Operation.Revoke,
  name: "Revoke",
  since: "1.0",
  request: structure({
    uniqueIdentifier: optional(Tag.UniqueIdentifier, textString),
    revocationReason: required(Tag.RevocationReason, revocationReason),
    compromiseOccurrenceDate: optional(Tag.CompromiseOccurrenceDate, dateTime),
  }),
  response: structure({ uniqueIdentifier: required(Tag.UniqueIdentifier, textString) }),
});
