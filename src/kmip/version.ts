/**
 * Protocol Version, KMIP 1.4 section 6.1: the supported versions, their order and their spelling.
 * Which of them a connection uses is agreed in negotiate.ts.
 */
import { ProviderError } from "../errors.ts";

/** Protocol Version, KMIP 1.4 section 6.1. A peer may name any; {@link supportedVersions} are supported. */
export interface ProtocolVersion {
  /** Protocol Version Major, signed 32 bits on the wire. */
  readonly major: number;
  /** Protocol Version Minor, signed 32 bits on the wire. */
  readonly minor: number;
}

/** The supported versions as text. */
export type VersionText = "1.0" | "1.1" | "1.2" | "1.3" | "1.4";

/** Every supported version, the newest first: the order that Discover Versions requires. */
export const supportedVersions: readonly ProtocolVersion[] = Object.freeze(
  [4, 3, 2, 1, 0].map((minor) => Object.freeze({ major: 1, minor })),
);

/** `1.4`. */
export function formatVersion(version: ProtocolVersion): string {
  return `${version.major}.${version.minor}`;
}

/**
 * Reads `1.4`.
 * @throws KMIP_VERSION where this is not a supported version.
 */
export function parseVersion(text: string): ProtocolVersion {
  const found = supportedVersions.find((version) => formatVersion(version) === text);
  if (found === undefined)
    throw new ProviderError("KMIP_VERSION", `KMIP ${text} is not supported (1.0 to 1.4 are)`);
  return found;
}

/** Negative where `a` is older, positive where it is newer, 0 where they are equal. For `sort`. */
export function compareVersions(a: ProtocolVersion, b: ProtocolVersion): number {
  return a.major - b.major || a.minor - b.minor;
}

/** Whether `version` is `minimum` or newer. */
export function isAtLeast(version: ProtocolVersion, minimum: ProtocolVersion): boolean {
  return compareVersions(version, minimum) >= 0;
}

/**
 * Checks that a part of the specification exists in a version.
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
