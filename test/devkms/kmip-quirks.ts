/**
 * What real KMIP servers do that the specification does not foresee, or leaves open: switches of the embedded KMS, each
 * taken from a public report. All are off by default, and may change while the KMS runs.
 */
import type { Item } from "../../src/kmip/ttlv/item.ts";
import type { VersionText } from "../../src/kmip/version.ts";

/** How a server treats a version that is not its own. */
export type VersionRefusal =
  | "InvalidMessage"
  | "OperationNotSupported"
  | "GeneralFailure"
  /** Closes the connection in place of a reply. */
  | "hang-up"
  /** Replies Invalid Message, and closes the connection. */
  | "hang-up after a word"
  /** Never replies. */
  | "silence";

/** How a server wants the lengths of IV and tag in Cryptographic Parameters; Invalid Field for everything else. */
export type WantedLengths = "bytes" | "absent" | "bits" | "IV in bits" | "tag in bits";

/** The switches. */
export interface KmipQuirks {
  /** Speaks these versions only. Default: all up to the face's `maxVersion`. */
  versions: readonly VersionText[] | undefined;
  /** Default: InvalidMessage. */
  versionRefusal: VersionRefusal;
  /** The version in the header of such a refusal. Default: the one asked in. */
  refusalHeader: "asked" | "1.0" | "2.1";
  /** Ends each connection after its first reply. */
  closesAfterReply: boolean;
  /** Locate gives the oldest key, whatever the Name. */
  locateIgnoresName: boolean;
  /** Locate gives each identifier twice. */
  locateRepeats: boolean;
  /** Refuses a Get Attributes with this Result Reason where the key has not one of the attributes that are named. */
  refusesUnset: "ItemNotFound" | "InvalidField" | undefined;
  /** Get Attributes gives no Name. */
  tellsNoName: boolean;
  /** The type in which State, Object Type and Cryptographic Algorithm are told. Default: Enumeration. */
  enumerationsAs: "Integer" | "Text String" | undefined;
  /** Adds a Message Extension without its Criticality Indicator to each reply. */
  addsExtension: boolean;
  /** The version in the header of each reply. Default: the request's. */
  replyHeader: "2.0" | undefined;
  /** What is taken for GCM. Default: whatever comes. */
  lengths: WantedLengths | undefined;
  /** The tag travels at the end of Data, from KMIP 1.4 on too. */
  tagInData: boolean;
  /** Wants this Credential in each request: Authentication Not Successful without. */
  credential: { readonly username: string; readonly password: string } | undefined;
  /** Wants no Credential for Discover Versions. */
  discoversWithoutCredential: boolean;
  /** Each reply is the one to the request before, from the second on. */
  slips: boolean;
  /**
   * Writes each reply anew: for what a server does that no other switch has. Gets the Response Message and what was asked
   * for, as `["Encrypt"]`.
   */
  rewrites: ((reply: Item, operations: readonly string[]) => Item) | undefined;
}

/** A server that does everything as the specification has it. */
export function noQuirks(): KmipQuirks {
  return {
    versions: undefined,
    versionRefusal: "InvalidMessage",
    refusalHeader: "asked",
    closesAfterReply: false,
    locateIgnoresName: false,
    locateRepeats: false,
    refusesUnset: undefined,
    tellsNoName: false,
    enumerationsAs: undefined,
    addsExtension: false,
    replyHeader: undefined,
    lengths: undefined,
    tagInData: false,
    credential: undefined,
    discoversWithoutCredential: false,
    slips: false,
    rewrites: undefined,
  };
}
