/**
 * Protocol Version, KMIP 1.4 section 6.1: the versions spoken here, their order, their spelling.
 * Which of them a connection uses is agreed in negotiate.ts.
 */
import { ProviderError } from "../errors.ts";

/** Protocol Version, KMIP 1.4 section 6.1. A peer may name any; {@link supportedVersions} are spoken here. */
export interface ProtocolVersion {
  /** Protocol Version Major, signed 32 bits on the wire. */
  readonly major: number;
  /** Protocol Version Minor, signed 32 bits on the wire. */
  readonly minor: number;
}

/** How people write the versions that are spoken here. */
export type VersionText = "1.0" | "1.1" | "1.2" | "1.3" | "1.4";

/** Every version spoken here, the newest first: the order in which Discover Versions wants them. */
export const supportedVersions: readonly ProtocolVersion[] = Object.freeze(
  [4, 3, 2, 1, 0].map((minor) => Object.freeze({ major: 1, minor })),
);

/** `1.4`. */
export function formatVersion(version: ProtocolVersion): string {
  return `${version.major}.${version.minor}`;
}

/**
 * Reads `1.4`.
 * @throws KMIP_VERSION where this is not a version spoken here.
 */
export function parseVersion(text: string): ProtocolVersion {
  const found = supportedVersions.find((version) => formatVersion(version) === text);
  if (found === undefined)
    throw new ProviderError("KMIP_VERSION", `KMIP ${text} is not spoken here (1.0 to 1.4 are)`);
  return found;
}

/** Below 0 where `a` is the older, above 0 where it is the newer, 0 where they are the same. For `sort`. */
export function compareVersions(a: ProtocolVersion, b: ProtocolVersion): number {
  return a.major - b.major || a.minor - b.minor;
}

/** Whether `version` is `minimum` or newer. */
export function isAtLeast(version: ProtocolVersion, minimum: ProtocolVersion): boolean {
  return compareVersions(version, minimum) >= 0;
}

/** Whether `version` is one of {@link supportedVersions}. */
export function isSupportedVersion(version: ProtocolVersion): boolean {
  return supportedVersions.some((supported) => compareVersions(supported, version) === 0);
}

/**
 * Holds a thing of the specification back from a peer that can't know it.
 * @param what its specification name, for the message.
 * @throws KMIP_VERSION where `version` is older than `since`.
 */
export function requireVersion(what: string, since: ProtocolVersion, version: ProtocolVersion): void {
  if (isAtLeast(version, since)) return;
  throw new ProviderError(
    "KMIP_VERSION",
    `${what} exists from KMIP ${formatVersion(since)} on; KMIP ${formatVersion(version)} is in use`,
    { details: { what, since: formatVersion(since), version: formatVersion(version) } },
  );
}
