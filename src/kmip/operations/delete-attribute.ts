/** Delete Attribute, KMIP 1.4 section 4.16: takes an attribute, or one of its values, from an object. */
import { attributeStructure } from "../attributes.ts";
import { integer, optional, required, structure, textString } from "../grammar.ts";
import { Operation } from "../spec/enumerations.ts";
import { Tag } from "../spec/tags.ts";
import { defineOperation } from "./operation.ts";

/**
 * Request:  [Unique Identifier] (absent: the ID placeholder) Attribute Name, [Attribute Index] (absent: 0)
 * Response: Unique Identifier, Attribute (the one deleted)
 */
export const deleteAttributeOperation = defineOperation({
  operation: Operation.DeleteAttribute,
  name: "Delete Attribute",
  since: "1.0",
  request: structure({
    uniqueIdentifier: optional(Tag.UniqueIdentifier, textString),
    attributeName: required(Tag.AttributeName, textString),
    attributeIndex: optional(Tag.AttributeIndex, integer),
  }),
  response: structure({
    uniqueIdentifier: required(Tag.UniqueIdentifier, textString),
    attribute: required(Tag.Attribute, attributeStructure),
  }),
});
