/**
 * Query, KMIP 1.4 section 4.25: what a server is and can do. Server Information and the structures that 1.1 to 1.3
 * added are given as the items in them.
 */
import { anyStructure, enumeration, optional, repeated, since, structure, textString } from "../grammar.ts";
import { Operation } from "../spec/enumerations.ts";
import { Tag } from "../spec/tags.ts";
import { defineOperation } from "./operation.ts";

/**
 * Request:  Query Function+
 * Response: Operation* Object Type* [Vendor Identification] [Server Information] Application Namespace*
 *           1.1: Extension Information*
 *           1.2: Attestation Type*
 *           1.3: RNG Parameters* Profile Information* Validation Information* Capability Information*
 *                Client Registration Method*
 */
export const queryOperation = defineOperation({
  operation: Operation.Query,
  name: "Query",
  since: "1.0",
  request: structure({ queryFunctions: repeated(Tag.QueryFunction, enumeration) }),
  response: structure({
    operations: repeated(Tag.Operation, enumeration),
    objectTypes: repeated(Tag.ObjectType, enumeration),
    vendorIdentification: optional(Tag.VendorIdentification, textString),
    serverInformation: optional(Tag.ServerInformation, anyStructure),
    applicationNamespaces: repeated(Tag.ApplicationNamespace, textString),
    extensionInformation: since("1.1", repeated(Tag.ExtensionInformation, anyStructure)),
    attestationTypes: since("1.2", repeated(Tag.AttestationType, enumeration)),
    rngParameters: since("1.3", repeated(Tag.RNGParameters, anyStructure)),
    profileInformation: since("1.3", repeated(Tag.ProfileInformation, anyStructure)),
    validationInformation: since("1.3", repeated(Tag.ValidationInformation, anyStructure)),
    capabilityInformation: since("1.3", repeated(Tag.CapabilityInformation, anyStructure)),
    clientRegistrationMethods: since("1.3", repeated(Tag.ClientRegistrationMethod, enumeration)),
  }),
});
