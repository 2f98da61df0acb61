/**
 * Which version of KMIP to speak on a connection: Discover Versions (KMIP 1.4 section 4.26), sent as 1.1, the
 * version that brought it. A server that does not know the operation, or only older messages, speaks 1.0.
 */
import { KmipResultError, ProviderError, toProviderError } from "../errors.ts";
import { call, type Call } from "./batch.ts";
import { discoverVersionsOperation } from "./operations/index.ts";
import {
  compareVersions,
  formatVersion,
  isAtLeast,
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
const newest = parseVersion("1.4");

/** The Result Reasons with which servers say "I do not know this operation" or "this version". */
const unknownOperation: ReadonlySet<string> = new Set(["Operation Not Supported", "Feature Not Supported"]);
const unknownReasons: ReadonlySet<string> = new Set([...unknownOperation, "Invalid Message"]);

/** Agrees on versions, and remembers in which one each server is to be asked. */
export interface Negotiator {
  /**
   * Agrees on the newest version that both sides speak.
   * @param server for the message, and to be known by.
   * @throws KMIP_VERSION where there is none; KMIP_RESULT where the server refuses for another reason; what `discover` throws.
   */
  negotiate(server: string, discover: Discover): Promise<ProtocolVersion>;
}

/** Makes a negotiator that knows no server yet. */
export function createNegotiator(): Negotiator {
  const beginnings = new Map<string, ProtocolVersion>();
  const request = call(discoverVersionsOperation, { protocolVersions: supportedVersions });
  return {
    negotiate: async (server, discover) => {
      const first = beginnings.get(server) ?? firstToKnow;
      const asked = [first];
      for (let spoken = first; ; asked.push(spoken)) {
        const { version, answer } = await discover(spoken, request).catch((error: unknown) => {
          // Some servers hang up on a version that is not theirs, after a word or without: the next connection
          // begins where this one ended, or with the other end of what is spoken here.
          if (toProviderError(error).code === "CLOSED")
            beginnings.set(server, spoken === first ? otherThan(spoken) : spoken);
          throw error;
        });
        const next = answer instanceof KmipResultError ? betterThan(asked, version) : undefined;
        if (next !== undefined) {
          spoken = next;
          continue;
        }
        beginnings.set(server, spoken);
        return answer instanceof KmipResultError
          ? versionOfRefusal(version, answer)
          : newestOf(answer, server);
      }
    },
  };
}

function otherThan(version: ProtocolVersion): ProtocolVersion {
  return compareVersions(version, firstToKnow) === 0 ? newest : firstToKnow;
}

/** In which version to ask again a server that refused in `told`: in its own, or in the usual one. */
function betterThan(asked: readonly ProtocolVersion[], told: ProtocolVersion): ProtocolVersion | undefined {
  return [told, firstToKnow].find(
    (version) =>
      isSupportedVersion(version) &&
      isAtLeast(version, firstToKnow) &&
      asked.every((other) => compareVersions(other, version) !== 0),
  );
}

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
  const common = supportedVersions.find((ours) =>
    theirs.some((version) => compareVersions(version, ours) === 0),
  );
  if (common !== undefined) return common;
  const told = theirs.length === 0 ? "none of them" : `only ${theirs.map(formatVersion).join(", ")}`;
  throw new ProviderError("KMIP_VERSION", `KMIP 1.0 to 1.4 are spoken here; ${server} speaks ${told}`, {
    details: { endpoint: server },
  });
}
