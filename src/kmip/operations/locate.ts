/**
 * Locate, KMIP 1.4 section 4.9: the identifiers of the objects that have all of these attributes. A server that keeps
 * the ID placeholder sets it where exactly one object was found.
 */
import { attributeStructure } from "../attributes.ts";
import { enumeration, integer, optional, repeated, since, structure, textString } from "../grammar.ts";
import { Operation } from "../spec/enumerations.ts";
import { Tag } from "../spec/tags.ts";
import { defineOperation } from "./operation.ts";

/**
 * Request:  [Maximum Items] 1.3: [Offset Items], [Storage Status Mask] 1.1: [Object Group Member], Attribute*
 * Response: 1.3: [Located Items], Unique Identifier*
 */
export const locateOperation = defineOperation({
  operation: Operation.Locate,
  name: "Locate",
  since: "1.0",
  request: structure({
    maximumItems: optional(Tag.MaximumItems, integer),
    offsetItems: since("1.3", optional(Tag.OffsetItems, integer)),
    storageStatusMask: optional(Tag.StorageStatusMask, integer),
    objectGroupMember: since("1.1", optional(Tag.ObjectGroupMember, enumeration)),
    attributes: repeated(Tag.Attribute, attributeStructure),
  }),
  response: structure({
    /** How many there are in all, where Maximum Items kept some back. */
    locatedItems: since("1.3", optional(Tag.LocatedItems, integer)),
    uniqueIdentifiers: repeated(Tag.UniqueIdentifier, textString),
  }),
});
