/** Add Attribute, KMIP 1.4 section 4.14: gives an object one more attribute. */
import { attributeStructure } from "../attributes.ts";
import { optional, required, structure, textString } from "../grammar.ts";
import { Operation } from "../spec/enumerations.ts";
import { Tag } from "../spec/tags.ts";
import { defineOperation } from "./operation.ts";

/**
 * Request:  [Unique Identifier] (absent: the ID placeholder) Attribute
 * Response: Unique Identifier, Attribute (with the index that the server gave it)
 */
export const addAttributeOperation = defineOperation({
  operation: Operation.AddAttribute,
  name: "Add Attribute",
  since: "1.0",
  request: structure({
    uniqueIdentifier: optional(Tag.UniqueIdentifier, textString),
    attribute: required(Tag.Attribute, attributeStructure),
  }),
  response: structure({
    uniqueIdentifier: required(Tag.UniqueIdentifier, textString),
    attribute: required(Tag.Attribute, attributeStructure),
  }),
});
