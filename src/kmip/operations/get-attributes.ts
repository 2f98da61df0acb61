/** Get Attributes, KMIP 1.4 section 4.12: the attributes of an object; never its key material. */
import { attributeStructure } from "../attributes.ts";
import { optional, repeated, required, structure, textString } from "../grammar.ts";
import { Operation } from "../spec/enumerations.ts";
import { Tag } from "../spec/tags.ts";
import { defineOperation } from "./operation.ts";

/**
 * Request:  [Unique Identifier] (absent: the ID placeholder) Attribute Name* (none: all)
 * Response: Unique Identifier, Attribute* (an attribute that the object has not is left out)
 */
export const getAttributesOperation = defineOperation({
  operation: Operation.GetAttributes,
  name: "Get Attributes",
  since: "1.0",
  request: structure({
    uniqueIdentifier: optional(Tag.UniqueIdentifier, textString),
    attributeNames: repeated(Tag.AttributeName, textString),
  }),
  response: structure({
    uniqueIdentifier: required(Tag.UniqueIdentifier, textString),
    attributes: repeated(Tag.Attribute, attributeStructure),
  }),
});
