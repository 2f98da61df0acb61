/** Destroy, KMIP 1.4 section 4.21: has the server forget an object's key material, for good. */
import { optional, required, structure, textString } from "../grammar.ts";
import { Operation } from "../spec/enumerations.ts";
import { Tag } from "../spec/tags.ts";
import { defineOperation } from "./operation.ts";

/**
 * Request:  [Unique Identifier] (absent: the ID placeholder)
 * Response: Unique Identifier
 */
export const destroyOperation = defineOperation({
  operation: Operation.Destroy,
  name: "Destroy",
  since: "1.0",
  request: structure({ uniqueIdentifier: optional(Tag.UniqueIdentifier, textString) }),
  response: structure({ uniqueIdentifier: required(Tag.UniqueIdentifier, textString) }),
});
