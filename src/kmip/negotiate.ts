/**
 * Which version of KMIP to speak on a connection: Discover Versions (KMIP 1.4 section 4.26), sent as 1.1, the
 * version that brought it. A server that does not know the operation, or only older messages, speaks 1.0.
 */
import { KmipResultError, ProviderError } from "../errors.ts";
import { call, type Call } from "./batch.ts";
import { discoverVersionsOperation } from "./operations/index.ts";
import {
  compareVersions,
  formatVersion,
  isSupportedVersion,
  parseVersion,
  type ProtocolVersion,
  supportedVersions,
} from "./version.ts";

/** What a server told of its versions. */
export interface Discovered {
  /** The version of the reply's header. */
  readonly version: ProtocolVersion;
  readonly answer: KmipResultError | readonly ProtocolVersion[];
}

/** Sends one Discover Versions under a version, and reads the reply or the refusal. */
export type Discover = (version: ProtocolVersion, request: Call) => Promise<Discovered>;

const oldest = parseVersion("1.0");
const firstToKnow = parseVersion("1.1");

/** The Result Reasons with which servers say "I do not know this operation" or "this version". */
const unknownOperation: ReadonlySet<string> = new Set(["Operation Not Supported", "Feature Not Supported"]);
const unknownReasons: ReadonlySet<string> = new Set([...unknownOperation, "Invalid Message"]);

/**
 * Agrees on the newest version that both sides speak.
 * @param server for the message.
 * @throws KMIP_VERSION where there is none; KMIP_RESULT where the server refuses for another reason; what `discover` throws.
 */
export async function negotiateVersion(server: string, discover: Discover): Promise<ProtocolVersion> {
  const request = call(discoverVersionsOperation, { protocolVersions: supportedVersions });
  let { version, answer } = await discover(firstToKnow, request);
  if (answer instanceof KmipResultError && isNewer(version))
    ({ version, answer } = await discover(version, request));
  return answer instanceof KmipResultError ? versionOfRefusal(version, answer) : newestOf(answer, server);
}

/** A server that speaks no version as old as 1.1 says so in a version of its own. */
function isNewer(version: ProtocolVersion): boolean {
  return isSupportedVersion(version) && compareVersions(version, firstToKnow) > 0;
}

function versionOfRefusal(version: ProtocolVersion, refusal: KmipResultError): ProtocolVersion {
  // Read under a newer version of its own, and the operation not known: then that version is spoken.
  if (unknownOperation.has(refusal.reason) && isNewer(version)) return version;
  if (unknownReasons.has(refusal.reason) || compareVersions(version, oldest) === 0) return oldest;
  throw refusal;
}

function newestOf(theirs: readonly ProtocolVersion[], server: string): ProtocolVersion {
  const newest = supportedVersions.find((ours) =>
    theirs.some((version) => compareVersions(version, ours) === 0),
  );
  if (newest !== undefined) return newest;
  const told = theirs.length === 0 ? "none of them" : `only ${theirs.map(formatVersion).join(", ")}`;
  throw new ProviderError("KMIP_VERSION", `KMIP 1.0 to 1.4 are spoken here; ${server} speaks ${told}`, {
    details: { endpoint: server },
  });
}
