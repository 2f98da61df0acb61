/**
 * What the operations of the embedded KMS's KMIP face share: the request around them, the ID placeholder
 * (KMIP 1.4 section 4), the look-up of a key, and how one of them fails.
 */
import { ResultReason } from "../../src/kmip/spec/enumerations.ts";
import { formatVersion, isAtLeast, type ProtocolVersion } from "../../src/kmip/version.ts";
import type { Faults } from "./faults.ts";
import type { KeyStore, StoredKey } from "./key-store.ts";

/** An operation that fails, with the Result Reason that says so. */
export class KmipFailure extends Error {
  override readonly name = "KmipFailure";
  readonly reason: ResultReason;

  constructor(reason: ResultReason, message: string) {
    super(message);
    this.reason = reason;
  }
}

/** One request being carried out. */
export interface KmipContext {
  readonly keys: KeyStore;
  readonly faults: Faults;
  /** The request's version, and the response's. */
  readonly version: ProtocolVersion;
  /** The best version of this server. */
  readonly maxVersion: ProtocolVersion;
  /** The ID placeholder: the key that the batch is about. */
  placeholder: string | undefined;
}

/** Sets the ID placeholder, where this server is told to keep one. */
export function setPlaceholder(context: KmipContext, id: string | undefined): void {
  context.placeholder = context.faults.noPlaceholder ? undefined : id;
}

/**
 * The key that an operation is about: the one named, or the placeholder's.
 * @throws ItemNotFound, PermissionDenied
 */
export function findKey(context: KmipContext, uniqueIdentifier: string | undefined): StoredKey {
  const id = uniqueIdentifier ?? context.placeholder;
  if (id === undefined)
    throw new KmipFailure(ResultReason.ItemNotFound, "no Unique Identifier, and no ID placeholder");
  const key = context.keys.get(id);
  if (key === undefined) throw new KmipFailure(ResultReason.ItemNotFound, `no object ${id}`);
  if (context.faults.deniedKeys.has(id))
    throw new KmipFailure(ResultReason.PermissionDenied, `access to ${id} is denied`);
  return key;
}

/** The failure of an operation that the version of the request does not know yet. */
export function notInVersion(what: string, version: ProtocolVersion): KmipFailure {
  const message = `${what} is not in KMIP ${formatVersion(version)}`;
  return new KmipFailure(ResultReason.OperationNotSupported, message);
}

/** Whether a server speaks a version of KMIP 1. */
export function isOwnVersion(version: ProtocolVersion, maxVersion: ProtocolVersion, faults: Faults): boolean {
  const { versions } = faults.kmip;
  if (versions !== undefined) return versions.some((own) => own === formatVersion(version));
  return version.major === 1 && version.minor >= 0 && isAtLeast(maxVersion, version);
}
