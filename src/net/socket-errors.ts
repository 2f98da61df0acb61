/**
 * What a socket, TLS or undici failure means, in words for the person on call: one NetworkError with the
 * endpoint and what to check. Shared by the KMIP and the REST client, so that both say the same.
 */
import { type CertificateSuspicion, NetworkError } from "../errors.ts";

interface Meaning {
  readonly code: "CONNECT" | "TLS" | "CLOSED";
  readonly text: string;
  readonly clientCertificate?: CertificateSuspicion;
}

/**
 * Wraps whatever a socket (or undici, or fetch) threw.
 * @param error the failure, `cause` chains and AggregateErrors included
 * @param endpoint `host:port` of the server
 * @param sent whether any byte of the request may have reached the server
 */
export function describeSocketError(error: unknown, endpoint: string, sent: boolean): NetworkError {
  if (error instanceof NetworkError) return error;
  const root = rootOf(error);
  const { code, text, clientCertificate } = meaningOf(root, endpoint) ?? fallback(root, endpoint, sent);
  // undici keeps what it could not parse in such an error: it may be part of a reply with a plaintext.
  const cause = isUnreadable(root) ? {} : { cause: root };
  return new NetworkError(code, text, { endpoint, sent, clientCertificate, ...cause });
}

/**
 * Wraps what ended a dial before the handshake was done: undefined where the server hung up. One that does so after it has
 * answered gives no reason; a client certificate that it does not take is the likely one. Before that it has seen none.
 * @param bytesRead how much of the handshake the server had sent
 */
export function describeDialError(error: unknown, endpoint: string, bytesRead: number): NetworkError {
  const isSilent = error === undefined || codeOf(error) === "ECONNRESET";
  if (!isSilent) return describeSocketError(error, endpoint, false);
  const clientCertificate = bytesRead > 0 ? "may be refused" : undefined;
  const text =
    bytesRead > 0
      ? "during the TLS handshake; it may have refused the client certificate (--client-cert)"
      : "before the TLS handshake: probably a load balancer or a firewall, which has no healthy server behind it, does not admit this host, or expects the PROXY protocol";
  return new NetworkError("CONNECT", `${endpoint} closed the connection ${text}`, {
    endpoint,
    sent: false,
    clientCertificate,
    cause: error,
  });
}

/** The failure at the bottom: below fetch's `fetch failed`, and the most telling one of several addresses. */
function rootOf(error: unknown): unknown {
  let current = error;
  for (let depth = 0; depth < 8; depth += 1) {
    const below = belowOf(current);
    if (below === undefined) return current;
    current = below;
  }
  return current;
}

function belowOf(error: unknown): unknown {
  if (error instanceof AggregateError && error.errors.length > 0)
    return error.errors.find((one) => meaningOf(one, "")?.code === "TLS") ?? error.errors[0];
  if (!(error instanceof Error) || error.cause === undefined) return undefined;
  const isTelling = meaningOf(error, "") !== undefined && codeOf(error) !== "UND_ERR_SOCKET";
  return isTelling ? undefined : error.cause;
}

function meaningOf(error: unknown, endpoint: string): Meaning | undefined {
  const code = codeOf(error);
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID") return otherName(error, endpoint);
  const known = socketMeanings[code] ?? certificateMeanings[code];
  if (known !== undefined) return { code: known.code, text: known.text.replaceAll("{}", endpoint) };
  if (isUnreadable(error)) return { code: "CLOSED", text: `${endpoint} answered with what is no HTTP reply` };
  return (
    verificationMeaning(code, messageOf(error), endpoint) ?? tlsMeaning(code, messageOf(error), endpoint)
  );
}

/** Node's and undici's error codes; `{}` is the endpoint. */
const socketMeanings: Readonly<Record<string, Meaning>> = {
  ECONNREFUSED: { code: "CONNECT", text: "nothing listens on {} (connection refused)" },
  ENOTFOUND: { code: "CONNECT", text: "the host name of {} is not known to DNS" },
  EAI_AGAIN: { code: "CONNECT", text: "DNS gives no answer for {} at present" },
  EHOSTUNREACH: { code: "CONNECT", text: "no route to {} (host unreachable)" },
  ENETUNREACH: { code: "CONNECT", text: "no route to {} (network unreachable)" },
  ETIMEDOUT: { code: "CONNECT", text: "{} does not answer (connection timed out)" },
  UND_ERR_CONNECT_TIMEOUT: { code: "CONNECT", text: "{} does not answer (connection timed out)" },
  EMFILE: { code: "CONNECT", text: "no file descriptor left to connect to {}: raise the open-files limit" },
  ECONNRESET: { code: "CLOSED", text: "{} reset the connection" },
  EPIPE: { code: "CLOSED", text: "{} closed the connection" },
  UND_ERR_SOCKET: { code: "CLOSED", text: "{} closed the connection" },
  UND_ERR_DESTROYED: { code: "CLOSED", text: "the connection to {} was closed here" },
  UND_ERR_CLOSED: { code: "CLOSED", text: "the connection to {} was closed here" },
};

const untrusted =
  "the certificate of {} does not chain to a trusted authority: give the right CA bundle with --ca";

/** OpenSSL's verification results, as Node gives them in `code`; `{}` is the endpoint. */
const certificateMeanings: Readonly<Record<string, Meaning>> = {
  SELF_SIGNED_CERT_IN_CHAIN: { code: "TLS", text: untrusted },
  DEPTH_ZERO_SELF_SIGNED_CERT: { code: "TLS", text: untrusted },
  UNABLE_TO_GET_ISSUER_CERT: { code: "TLS", text: untrusted },
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: { code: "TLS", text: untrusted },
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: { code: "TLS", text: untrusted },
  CERT_UNTRUSTED: { code: "TLS", text: untrusted },
  CERT_SIGNATURE_FAILURE: { code: "TLS", text: untrusted },
  INVALID_CA: { code: "TLS", text: untrusted },
  INVALID_PURPOSE: { code: "TLS", text: "the certificate of {} is not meant for a server" },
  CERT_HAS_EXPIRED: { code: "TLS", text: "the certificate of {} has expired" },
  CERT_NOT_YET_VALID: {
    code: "TLS",
    text: "the certificate of {} is not valid yet: compare the clocks of both machines",
  },
  CERT_REVOKED: { code: "TLS", text: "the certificate of {} is revoked" },
};

/** Verification results that Node names without a code (`UNSPECIFIED`): OpenSSL's words for them are in the message. */
const weakCertificates: readonly (readonly [RegExp, string])[] = [
  [/EE certificate key too weak/i, "the certificate of {} has a key that is too weak (RSA below 2048 bits)"],
  [
    /CA certificate key too weak/i,
    "a CA that issued the certificate of {} has a key that is too weak (RSA below 2048 bits)",
  ],
  [
    /CA signature digest algorithm too weak/i,
    "the certificate of {}, or of a CA that issued it, is signed with a digest that is too weak (SHA-1)",
  ],
];
const reissue =
  "the operator of the KMS must have it reissued, with RSA of 2048 bits or EC P-256, and SHA-256";

/** What else OpenSSL's verification of a chain can come to (node:crypto, X509_V_ERR_*). */
const otherVerification =
  /^(?:UNSPECIFIED|UNABLE_TO_\w+|CRL_\w+|ERROR_IN_CERT_\w+|ERROR_IN_CRL_\w+|CERT_\w+|PATH_LENGTH_EXCEEDED|HOSTNAME_MISMATCH|INVALID_\w+|SUBTREE_\w+|EXCLUDED_VIOLATION|PERMITTED_VIOLATION)$/;

function verificationMeaning(code: string, message: string, endpoint: string): Meaning | undefined {
  if (!otherVerification.test(code)) return undefined;
  const weak = weakCertificates.find(([pattern]) => pattern.test(message))?.[1];
  const text =
    weak === undefined
      ? `the certificate of {} cannot be verified (${printable(message)})`
      : `${weak}: ${reissue}`;
  return { code: "TLS", text: text.replaceAll("{}", endpoint) };
}

const refusal = "{} refused the client certificate (--client-cert)";

/** Alerts of the server and faults of the handshake: OpenSSL's reason is in the code or the message. */
const handshakeMeanings: readonly (readonly [RegExp, string, CertificateSuspicion?])[] = [
  [/ALERT[_ ]CERTIFICATE[_ ]EXPIRED/i, `${refusal}: it has expired`, "refused"],
  [/ALERT[_ ]CERTIFICATE[_ ]REVOKED/i, `${refusal}: it is revoked`, "refused"],
  [/ALERT[_ ]UNKNOWN[_ ]CA/i, `${refusal}: it does not trust its authority`, "refused"],
  [
    /ALERT[_ ](CERTIFICATE[_ ](REQUIRED|UNKNOWN)|(BAD|UNSUPPORTED)[_ ]CERTIFICATE|ACCESS[_ ]DENIED)/i,
    refusal,
    "refused",
  ],
  [/WRONG[_ ]VERSION[_ ]NUMBER|HTTP[_ ]REQUEST|PACKET[_ ]LENGTH[_ ]TOO[_ ]LONG/i, "{} does not speak TLS"],
  [/UNRECOGNIZED[_ ]NAME/i, "{} does not know the server name that --serv-addr or --serv-name gives"],
  [/NO[_ ]APPLICATION[_ ]PROTOCOL/i, "{} speaks neither HTTP/2 nor HTTP/1.1"],
  [/PROTOCOL[_ ]VERSION|UNSUPPORTED[_ ]PROTOCOL/i, "{} offers no TLS version of 1.2 or later"],
  [
    /ALERT[_ ]HANDSHAKE[_ ]FAILURE/i,
    "{} refused the TLS handshake: no common cipher, or the client certificate (--client-cert) is not accepted",
    "may be refused",
  ],
  [/KEY[_ ]VALUES[_ ]MISMATCH/i, "--client-key does not belong to --client-cert"],
];

function tlsMeaning(code: string, message: string, endpoint: string): Meaning | undefined {
  const isTls = code.startsWith("ERR_SSL_") || code.startsWith("ERR_TLS_") || code.startsWith("ERR_OSSL_");
  if (!isTls && code !== "EPROTO") return undefined;
  const match = handshakeMeanings.find(([pattern]) => pattern.test(code) || pattern.test(message));
  const [, text, clientCertificate] = match ?? [undefined, `TLS with {} failed (${reasonIn(message, code)})`];
  return {
    code: "TLS",
    text: text.replaceAll("{}", endpoint),
    ...(clientCertificate && { clientCertificate }),
  };
}

/** With the certificate's own names, which show the mistake; Node's message leaves some of them out. */
function otherName(error: unknown, endpoint: string): Meaning {
  const { cert } = error as { readonly cert?: { subjectaltname?: string } };
  if (cert !== undefined && cert.subjectaltname === undefined)
    return {
      code: "TLS",
      text: `the certificate of ${endpoint} has no Subject Alternative Name: a Common Name alone is not accepted`,
    };
  const listed = printable(cert?.subjectaltname ?? "").replaceAll("Address:", "");
  const whose = listed === "" ? "another host" : listed.replaceAll("DNS:", "");
  return { code: "TLS", text: `the certificate of ${endpoint} is for ${whose}, not for this host` };
}

function fallback(error: unknown, endpoint: string, sent: boolean): Meaning {
  const why = printable(messageOf(error)) || "no reason given";
  return sent
    ? { code: "CLOSED", text: `the connection to ${endpoint} was lost (${why})` }
    : { code: "CONNECT", text: `cannot connect to ${endpoint} (${why})` };
}

/** `…:error:0A000412:SSL routines:ssl3_read_bytes:REASON:…` → `REASON`. */
function reasonIn(message: string, code: string): string {
  return printable(/SSL routines:[^:]*:([^:]+)/.exec(message)?.[1] ?? code);
}

/**
 * Whether undici could not read a reply: it is not HTTP, or came out of turn, as an unasked 100 Continue. The error keeps a
 * part of it, which may be a plaintext: it must not be logged.
 */
export function isUnreadable(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  return (
    error.name === "HTTPParserError" || (error.name === "SocketError" && error.message === "bad response")
  );
}

/** Cut and cleared of control characters: part of it may come from the other side. */
function printable(text: string): string {
  return text
    .replaceAll(/[^\x20-\x7e]+/g, " ")
    .trim()
    .slice(0, 200);
}

function codeOf(error: unknown): string {
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
  return typeof code === "string" ? code : "";
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
