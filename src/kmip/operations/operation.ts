/**
 * What an operation is here: its number, its name, and the grammars of its Request Payload and Response Payload
 * (KMIP 1.4 section 4). Each operation has a file of its own beside this one, for both directions: the client writes
 * requests and reads responses with it, the KMS of the tests does the reverse.
 */
import type { StructureCodec } from "../grammar.ts";
import { parseVersion, type ProtocolVersion, type VersionText } from "../version.ts";

/** An operation, with what its two payloads are when written and when read. */
export interface OperationDefinition<
  RequestRead = unknown,
  RequestWrite = never,
  ResponseRead = unknown,
  ResponseWrite = never,
> {
  /** The Operation enumeration, section 9.1.3.2.27. */
  readonly operation: number;
  /** The specification's name, as `Get Attributes`. */
  readonly name: string;
  /** The first version that has the operation. Not enforced here: a server says Operation Not Supported. */
  readonly since: ProtocolVersion;
  readonly request: StructureCodec<RequestRead, RequestWrite>;
  readonly response: StructureCodec<ResponseRead, ResponseWrite>;
}

/** The same, with its version as text. */
type Declaration<RequestRead, RequestWrite, ResponseRead, ResponseWrite> = Omit<
  OperationDefinition<RequestRead, RequestWrite, ResponseRead, ResponseWrite>,
  "since"
> & { readonly since: VersionText };

/** Declares an operation, with its types inferred from the grammars. */
export function defineOperation<RequestRead, RequestWrite, ResponseRead, ResponseWrite>(
  declaration: Declaration<RequestRead, RequestWrite, ResponseRead, ResponseWrite>,
): OperationDefinition<RequestRead, RequestWrite, ResponseRead, ResponseWrite> {
  return Object.freeze({ ...declaration, since: parseVersion(declaration.since) });
}
