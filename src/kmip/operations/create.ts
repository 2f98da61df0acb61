/** Create, KMIP 1.4 section 4.1: has the server make a symmetric key, which then stays in it. */
import { templateAttribute } from "../attributes.ts";
import { enumeration, optional, required, structure, textString } from "../grammar.ts";
import { Operation } from "../spec/enumerations.ts";
import { Tag } from "../spec/tags.ts";
import { defineOperation } from "./operation.ts";

/**
 * Request:  Object Type, Template-Attribute
 * Response: Object Type, Unique Identifier, [Template-Attribute] (what the server set of its own accord)
 */
export const createOperation = defineOperation({
  operation: Operation.Create,
  name: "Create",
  since: "1.0",
  request: structure({
    objectType: required(Tag.ObjectType, enumeration),
    templateAttribute: required(Tag.TemplateAttribute, templateAttribute),
  }),
  response: structure({
    objectType: required(Tag.ObjectType, enumeration),
    uniqueIdentifier: required(Tag.UniqueIdentifier, textString),
    templateAttribute: optional(Tag.TemplateAttribute, templateAttribute),
  }),
});
