/** Activate, KMIP 1.4 section 4.19: makes a Pre-Active object Active. */
import { optional, required, structure, textString } from "../grammar.ts";
import { Operation } from "../spec/enumerations.ts";
import { Tag } from "../spec/tags.ts";
import { defineOperation } from "./operation.ts";

/**
 * Request:  [Unique Identifier] (absent: the ID placeholder)
 * Response: Unique Identifier
 */
export const activateOperation = defineOperation({
  operation: Operation.Activate,
  name: "Activate",
  since: "1.0",
  request: structure({ uniqueIdentifier: optional(Tag.UniqueIdentifier, textString) }),
  response: structure({ uniqueIdentifier: required(Tag.UniqueIdentifier, textString) }),
});
