/** Modify Attribute, KMIP 1.4 section 4.15: replaces the value of an attribute, named by its index where it has several. */
import { attributeStructure } from "../attributes.ts";
import { optional, required, structure, textString } from "../grammar.ts";
import { Operation } from "../spec/enumerations.ts";
import { Tag } from "../spec/tags.ts";
import { defineOperation } from "./operation.ts";

/**
 * Request:  [Unique Identifier] (absent: the ID placeholder) Attribute
 * Response: Unique Identifier, Attribute (as it is now)
 */
export const modifyAttributeOperation = defineOperation({
  operation: Operation.ModifyAttribute,
  name: "Modify Attribute",
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
