/**
 * Discover Versions, KMIP 1.4 section 4.26: which versions of the protocol a server speaks. A server that does not know
 * the operation speaks 1.0.
 */
import { integer, repeated, required, structure } from "../grammar.ts";
import { Operation } from "../spec/enumerations.ts";
import { Tag } from "../spec/tags.ts";
import { defineOperation } from "./operation.ts";

/** Protocol Version, section 6.1. */
export const protocolVersion = structure({
  major: required(Tag.ProtocolVersionMajor, integer),
  minor: required(Tag.ProtocolVersionMinor, integer),
});

/**
 * Request:  Protocol Version* (the client's, the best first; none asks for all of the server's)
 * Response: Protocol Version* (those that both speak, the server's best first)
 */
export const discoverVersionsOperation = defineOperation({
  operation: Operation.DiscoverVersions,
  name: "Discover Versions",
  since: "1.1",
  request: structure({ protocolVersions: repeated(Tag.ProtocolVersion, protocolVersion) }),
  response: structure({ protocolVersions: repeated(Tag.ProtocolVersion, protocolVersion) }),
});
