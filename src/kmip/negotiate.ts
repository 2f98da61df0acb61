/**
 * Which version of KMIP to speak to a server: Discover Versions (KMIP 1.4 section 4.26), sent in one version after
 * another until the server reads it, and remembered. Servers refuse a version that is not theirs in many ways: with
 * a Result Reason, by closing the connection, with or without a reply before, or by not answering at all.
 */
import { KmipResultError, NetworkError, ProviderError, TimeoutError, toProviderError } from "../errors.ts";
import { call, type Call } from "./batch.ts";
import { discoverVersionsOperation } from "./operations/index.ts";
import {
  compareVersions,
  formatVersion,
  isAtLeast,
  parseVersion,
  type ProtocolVersion,
  supportedVersions,
} from "./version.ts";

/** What a server replied to Discover Versions. */
export interface Discovered {
  /** The version in the header of the reply. Proves nothing where the reply is a refusal. */
  readonly version: ProtocolVersion;
  readonly answer: KmipResultError | readonly ProtocolVersion[];
}

/** Sends one Discover Versions under a version, and reads the reply or the refusal. */
export type Discover = (version: ProtocolVersion, request: Call) => Promise<Discovered>;

/** How a {@link Negotiator} is made. */
export interface NegotiatorOptions {
  /**
   * For how long a reply is waited for before the next version is tried, in ms; twice as long once every version got no
   * reply, since the server may be slow. Default: 1000.
   */
  readonly silenceMs?: number;
  /** The time, in ms. Default: `performance.now()`. */
  readonly now?: () => number;
}

/** Agrees on versions, and remembers them by server. */
export interface Negotiator {
  /**
   * The version agreed with `server` in the last hour, without a message; otherwise the newest version that both sides speak,
   * with as many messages on this connection as it takes. Where this throws, the connection must be closed: it may owe
   * a reply. After CLOSED or TIMEOUT the next call, on a new connection, goes on with the next version.
   * @param server names it in messages, and is the key of what is remembered.
   * @throws KMIP_VERSION where no version is common; KMIP_RESULT where the server refuses for another reason; TIMEOUT
   *   where there is no reply in a short time; what `discover` throws.
   */
  negotiate(server: string, discover: Discover): Promise<ProtocolVersion>;
  /** The version agreed with `server`, where it is remembered. */
  agreed(server: string): ProtocolVersion | undefined;
  /** Forgets `server`: for one that was replaced, or that refuses messages of the version agreed. */
  forget(server: string): void;
}

/**
 * The versions in which a server is asked, in this order. 1.2 is read by nearly every server that can Encrypt. The last
 * ones cannot, and are asked so that the message is true.
 */
const usual = parseVersion("1.2");
const oldest = parseVersion("1.0");
const askedIn: readonly ProtocolVersion[] = [
  usual,
  ...(["1.4", "1.3", "1.1"] as const).map(parseVersion),
  oldest,
];

/** Result Reasons by which servers say that they do not know the operation, which 1.0 has not. */
const unknownOperation: ReadonlySet<string> = new Set(["Operation Not Supported", "Feature Not Supported"]);
/** Result Reasons by which servers refuse a version. */
const refusesVersion: ReadonlySet<string> = new Set([
  ...unknownOperation,
  "Invalid Message",
  "General Failure",
]);

const firstSilenceMs = 1000;
const longestSilenceMs = 4000;

/** The first version with Encrypt and Decrypt. */
const encryptSince = parseVersion("1.2");
/** How long an agreement is remembered; one without Encrypt for less, since the server may be upgraded. */
const rememberMs = 3_600_000;
const rememberWithoutEncryptMs = 30_000;

/** How a server treated one version. */
type Refusal =
  | { readonly kind: "reply"; readonly header: ProtocolVersion; readonly error: KmipResultError }
  | { readonly kind: "closed" | "silent"; readonly error: ProviderError };

/** The negotiation with one server, over as many connections as it takes. */
interface Progress {
  agreed: { readonly version: ProtocolVersion; readonly until: number } | undefined;
  /** How the versions asked in this round were refused. Shared by connections that negotiate at the same time. */
  readonly refusals: Map<ProtocolVersion, Refusal>;
  /** The versions that are being asked now, by one of these connections each. */
  readonly asking: Set<ProtocolVersion>;
  /** All versions were tried before, in vain. */
  hasFailed: boolean;
  silenceMs: number;
}

function newProgress(silenceMs: number): Progress {
  return { agreed: undefined, refusals: new Map(), asking: new Set(), hasFailed: false, silenceMs };
}

/** Makes a negotiator that knows no server yet. */
export function createNegotiator(options: NegotiatorOptions = {}): Negotiator {
  const servers = new Map<string, Progress>();
  const request = call(discoverVersionsOperation, { protocolVersions: supportedVersions });
  const { silenceMs = firstSilenceMs, now = () => performance.now() } = options;
  const progressOf = (server: string): Progress => {
    const known = servers.get(server);
    if (known !== undefined) return known;
    const progress = newProgress(silenceMs);
    servers.set(server, progress);
    return progress;
  };

  const agreed = (server: string): ProtocolVersion | undefined => {
    const found = servers.get(server)?.agreed;
    return found !== undefined && now() < found.until ? found.version : undefined;
  };

  return {
    agreed,
    forget: (server) => void servers.delete(server),
    negotiate: async (server, discover) => {
      const known = agreed(server);
      if (known !== undefined) return known;
      const progress = progressOf(server);
      const version = await ask(server, progress, (spoken) => discover(spoken, request));
      const forMs = isAtLeast(version, encryptSince) ? rememberMs : rememberWithoutEncryptMs;
      servers.set(server, { ...newProgress(silenceMs), agreed: { version, until: now() + forMs } });
      return version;
    },
  };
}

/** Asks in one version after another, on one connection. */
async function ask(
  server: string,
  progress: Progress,
  discover: (version: ProtocolVersion) => Promise<Discovered>,
): Promise<ProtocolVersion> {
  for (let isFirst = true; ; isFirst = false) {
    const { refusals } = progress;
    const version = nextVersion(progress);
    const refusal = await askIn(version, progress, discover, isFirst);
    if (!("kind" in refusal)) return newestOf(refusal, server);
    if (refusal.kind === "reply" && !refusesVersion.has(refusal.error.reason)) throw refusal.error;
    refusals.set(version, refusal);
    if (askedIn.every((each) => refusals.has(each))) {
      const all = askedIn.flatMap((each) => refusals.get(each) ?? []);
      if (needsProof(all) && refusal.kind !== "reply") {
        // Proved on the next connection, which asks in 1.0 again.
        refusals.delete(oldest);
        throw refusal.error;
      }
      refusals.clear();
      progress.hasFailed = true;
      const recovered = needsProof(all) ? await askAgain(progress, discover, server) : undefined;
      if (all.some(({ kind }) => kind === "silent"))
        progress.silenceMs = Math.min(progress.silenceMs * 2, longestSilenceMs);
      return recovered ?? conclude(server, all);
    }
    // A reply that is still owed would be taken for the next one's.
    if (refusal.kind !== "reply") throw progress.hasFailed ? exhausted(server, refusal) : refusal.error;
  }
}

/** Connections at the same time ask in different versions: where one gets no reply, another may. */
function nextVersion({ refusals, asking }: Progress): ProtocolVersion {
  const left = askedIn.filter((each) => !refusals.has(each));
  return left.find((each) => !asking.has(each)) ?? left[0] ?? oldest;
}

/** Whether a server that replies to 1.0 alone may have been away when it was asked in the other versions. */
function needsProof(refusals: readonly Refusal[]): boolean {
  return refusals[0]?.kind !== "reply" && refusals.at(-1)?.kind === "reply";
}

/** Asks in the usual version once more, on a connection that has just replied. Undefined where that is refused again. */
async function askAgain(
  progress: Progress,
  discover: (version: ProtocolVersion) => Promise<Discovered>,
  server: string,
): Promise<ProtocolVersion | undefined> {
  const again = await askIn(usual, progress, discover, true);
  return "kind" in again ? undefined : newestOf(again, server);
}

/** The versions that the server reports, or how it refused this one. */
async function askIn(
  version: ProtocolVersion,
  progress: Progress,
  discover: (version: ProtocolVersion) => Promise<Discovered>,
  isFirst: boolean,
): Promise<Refusal | readonly ProtocolVersion[]> {
  progress.asking.add(version);
  try {
    const { version: header, answer } = await inTime(discover(version), progress.silenceMs);
    if (!(answer instanceof KmipResultError))
      // It names none, and replies in the version asked all the same.
      return answer.length === 0 && compareVersions(header, version) === 0 ? [version] : answer;
    // No right to ask for versions is none to be told them: that the request was read is known all the same.
    if (answer.reason === "Permission Denied" && version === usual) return [version];
    return { kind: "reply", header, error: answer };
  } catch (error) {
    const failure = toProviderError(error);
    if (failure instanceof SilenceError) return { kind: "silent", error: failure };
    // A server that closes after its refusal has not judged the version that was asked on the closed connection.
    if (failure.code === "CLOSED" && isFirst) return { kind: "closed", error: failure };
    throw failure;
  } finally {
    progress.asking.delete(version);
  }
}

/** No reply within `silenceMs`; not the end of the caller's time. */
class SilenceError extends TimeoutError {
  constructor() {
    super("connect", "no reply to the first KMIP message");
  }
}

async function inTime<T>(reply: Promise<T>, ms: number): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new SilenceError()), ms);
  // Rejects later, when the connection is closed.
  reply.catch(() => undefined);
  try {
    return await Promise.race([reply, promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** What it means that every version was refused. */
function conclude(server: string, refusals: readonly Refusal[]): ProtocolVersion {
  const replies = refusals.filter((refusal) => refusal.kind === "reply");
  const last = refusals.at(-1);
  const odd = oddOne(refusals.slice(0, -1));
  if (odd !== undefined) throw odd.error;
  // It reads messages of 1.0, which has no Discover Versions.
  const reads10 = last?.kind === "reply" && unknownOperation.has(last.error.reason);
  const [first] = replies;
  if (first === undefined || last === undefined) throw exhausted(server, last ?? refusals[0]);
  const isUnknown = replies.every(({ error }) => unknownOperation.has(error.reason));
  const isSame = replies.every(({ header }) => compareVersions(header, first.header) === 0);
  // It does not know the operation, and always replies in the same version of its own.
  if (reads10 && isUnknown && isSame && replies.length === refusals.length && isSpoken(first.header))
    return first.header;
  if (reads10) return oldest;
  const { reason, resultMessage } = first.error;
  if (reason === "General Failure") throw first.error;
  const said = resultMessage === "" ? reason : `${reason}: ${resultMessage}`;
  throw new ProviderError("KMIP_VERSION", `${server} refuses KMIP 1.0, 1.1, 1.2, 1.3 and 1.4 (${said})`, {
    details: { endpoint: server, reason },
  });
}

/**
 * A server refuses in one manner. Where it refused some versions by a reply and was silent or closed the connection at
 * another, that one may be its own, and the server slow or restarting: nothing is concluded.
 */
function oddOne(refusals: readonly Refusal[]): Refusal | undefined {
  const odd = refusals.find(({ kind }) => kind !== "reply");
  return refusals.every(({ kind }) => kind === odd?.kind) ? undefined : odd;
}

function isSpoken(version: ProtocolVersion): boolean {
  return version.major === 1 && isAtLeast(version, oldest) && version.minor <= 4;
}

/** The failure of a server that reads no version: its last one, in words that say so. */
function exhausted(server: string, refusal: Refusal | undefined): ProviderError {
  if (refusal?.kind !== "closed") return refusal?.error ?? new SilenceError();
  const { error } = refusal;
  const message = `${server} closes the connection on a message of KMIP 1.0, 1.1, 1.2, 1.3 and 1.4; it may have refused the client certificate (--client-cert)`;
  return new NetworkError("CLOSED", message, {
    endpoint: server,
    sent: true,
    cause: error,
    clientCertificate: error instanceof NetworkError ? error.clientCertificate : undefined,
  });
}

function newestOf(theirs: readonly ProtocolVersion[], server: string): ProtocolVersion {
  const common = supportedVersions.find((ours) =>
    theirs.some((version) => compareVersions(version, ours) === 0),
  );
  if (common !== undefined) return common;
  const supported = theirs.length === 0 ? "none of them" : `only ${theirs.map(formatVersion).join(", ")}`;
  throw new ProviderError(
    "KMIP_VERSION",
    `this program supports KMIP 1.0 to 1.4; ${server} supports ${supported}`,
    {
      details: { endpoint: server },
    },
  );
}
