/**
 * The key, through the encryptor that serve uses: protocol version, found, kind, state, usage, and a round trip of
 * random bytes. The encryptor's error codes show which of them failed; the later ones have not been checked.
 */
import { randomBytes } from "node:crypto";
import type { Config } from "../../config/config.ts";
import type { Encryptor, KeyInfo, Wrapped } from "../../encryptors/encryptor.ts";
import { NetworkError, ProviderError, toProviderError } from "../../errors.ts";
import type { TlsMaterial } from "../../net/tls.ts";
import { contextFor, withEncryptor } from "../encryptor.ts";
import { dateAdvice, dateWarnings } from "../../server/key/key-dates.ts";
import { allSkipped, failed, ok, skipped, warning, type Finding } from "./finding.ts";
import { checkEarlierValue } from "./earlier-value.ts";

/** The checks of this file, in the order in which they build on one another. */
const names = ["protocol", "key", "kind", "state", "usage", "round trip"] as const;
type Name = (typeof names)[number];

/** What kube-apiserver has wrapped: a seed of 32 bytes. */
const seedBytes = 32;

/** All of this file's checks, not tried. */
export function skipKey(because: string): Finding[] {
  return allSkipped(names, because);
}

/** What a server has wrapped, for another to unwrap. */
export interface Sample {
  /** The server's name, for messages. */
  readonly by: string;
  readonly keyId: string;
  readonly wrapped: Wrapped;
  readonly seed: Buffer;
}

/** What came of the checks of the key at one server. */
export interface KeyChecked {
  readonly findings: readonly Finding[];
  /** Present where every check passed. */
  readonly sample?: Sample;
}

/**
 * Checks the key at the only server of `config`.
 * @param server its name, for messages
 * @param other what another server of the same list has wrapped: a failover to this one has to read it
 */
export async function checkKey(
  config: Config,
  material: TlsMaterial,
  server: string,
  other?: Sample,
): Promise<KeyChecked> {
  let agreed = "";
  const work = async (encryptor: Encryptor): Promise<KeyChecked> => {
    const key = await encryptor.resolveKey(contextFor(config)).catch(toProviderError);
    if (key instanceof ProviderError) return { findings: explainResolve(key, agreed, encryptor.protocol) };
    const { keyId } = key;
    const { finding, sample } = await roundTrip(encryptor, keyId, config, server);
    const findings = [
      ok("protocol", agreed),
      ok("key", describeKey(key)),
      ok("kind", key.lengthBits === undefined ? "AES" : `AES, ${key.lengthBits} bits`),
      ok("state", "active"),
      ok("usage", "Encrypt and Decrypt"),
      ...keyDates(key),
      finding,
    ];
    if (sample === undefined) return { findings };
    if (other !== undefined) findings.push(await sameKey(encryptor, keyId, other, config));
    const earlier = await checkEarlierValue(encryptor, keyId, config.stateDir, contextFor(config));
    if (earlier !== undefined) findings.push(earlier);
    return { findings, sample };
  };
  return withEncryptor(config, material, work, (event) => {
    if (event.type === "connection" && event.change === "opened") agreed = event.message;
  });
}

/** A finding for each date that is near; that the KMS refuses by now is what the round trip shows. */
function keyDates({ dates = {} }: KeyInfo): Finding[] {
  return dateWarnings(dates).map(({ message }) => warning("key dates", message, dateAdvice));
}

function describeKey({ keyId, name }: KeyInfo): string {
  return name === undefined ? keyId : `${keyId} ("${name}")`;
}

/** Which check an error of resolveKey failed, and what it says of those before. */
function explainResolve(error: ProviderError, agreed: string, protocol: Config["protocol"]): Finding[] {
  const culprit = failedCheck(error);
  const at = names.indexOf(culprit);
  return names.map((name, index) => {
    // The REST driver checks the usage before the state.
    const isUnseen = index > at || (name === "state" && protocol === "rest");
    if (index === at) return failed(name, error.message, adviceFor(error) ?? advice[name]);
    if (isUnseen) return skipped(name, `${culprit} failed`);
    return ok(name, seenBefore(name, error, agreed));
  });
}

/** What is known of a check when a later one fails. */
function seenBefore(name: Name, { details: { keyId } }: ProviderError, agreed: string): string {
  switch (name) {
    case "protocol":
      // A refusal of the first message agrees on nothing.
      return agreed === "" ? "the KMS answers" : agreed;
    case "key":
      return typeof keyId === "string" ? keyId : "found";
    case "kind":
      return "AES";
    default:
      return "active";
  }
}

const advice: Readonly<Record<Name, string>> = {
  protocol: "compare --protocol and --serv-addr with the KMS, and read its log",
  key: "compare --encryption-key-id or --encryption-key-label (and --okms-id) with the KMS, and this client's rights",
  kind: "make a symmetric AES key for Encrypt and Decrypt, and give its identifier or label",
  state:
    "activate it, or have it restored in the KMS; choose another key only if nothing is encrypted with this one",
  usage: "make a key whose usage is both Encrypt and Decrypt",
  "round trip": "let this client certificate use the key for Encrypt and Decrypt, and read the KMS's log",
};

const busyAdvice = "the KMS is overloaded or failing: try again in a minute, and read its log";
const slowAdvice =
  "TLS works, so something listens there: if it is the KMS, it hangs or is slower than --timeout: read its log; else compare --protocol and the port of --serv-addr";
const certificateAdvice =
  "have the KMS accept this client certificate: check its CA, its rights and its dates there; else compare --protocol and the port of --serv-addr";
const pageAdvice =
  "something other than the API answers, such as a proxy, a load balancer, a login or a KMIP port: compare --protocol and --serv-addr with the KMS";

const refusedAdvice =
  "the KMS refuses for a reason of its own, which is no word about the key: read its log, or ask its operator";

const nameAdvice =
  "give --serv-addr a name that the server has, no IP address, or --serv-name that name: it compares the name in TLS with the request's";

/** What to do about a failure that says more than the check that it failed; undefined: it does not. */
function adviceFor(error: ProviderError): string | undefined {
  if (error.details["status"] === 421) return nameAdvice;
  if (isBusy(error)) return busyAdvice;
  if (isElsewhere(error)) return pageAdvice;
  if (error.kind === "timeout") return slowAdvice;
  if (error.code === "KMIP_RESULT") return refusedAdvice;
  return error instanceof NetworkError && error.clientCertificate !== undefined
    ? certificateAdvice
    : undefined;
}

/** A redirect, or a page: it is not the API that answers. */
function isElsewhere(error: ProviderError): boolean {
  if (error.code === "REST_BODY") return true;
  const { status } = error.details;
  return error.code === "REST_STATUS" && typeof status === "number" && status < 400;
}

/** The KMS answers, but not now: nothing is known of the key. */
function isBusy({ code, retryable }: ProviderError): boolean {
  return retryable && code === "REST_STATUS";
}

function failedCheck(error: ProviderError): Name {
  if (isBusy(error) || isElsewhere(error)) return "protocol";
  if (error.details["operation"] === "Discover Versions") return "protocol";
  const { code, message } = error;
  switch (code) {
    case "KEY_NOT_FOUND":
    case "KEY_AMBIGUOUS":
    case "KEY_ACCESS_DENIED":
    case "KMIP_RESULT":
    case "REST_STATUS":
      return "key";
    case "KEY_NOT_ACTIVE":
      return "state";
    case "KEY_UNUSABLE":
      return /may not be used for|it is not for/.test(message) ? "usage" : "kind";
    default:
      return "protocol";
  }
}

/** Wraps random bytes, and unwraps them; a sample of them where that succeeded. */
async function roundTrip(
  encryptor: Encryptor,
  keyId: string,
  config: Config,
  by: string,
): Promise<{ readonly finding: Finding; readonly sample?: Sample }> {
  const name = "round trip";
  const seed = randomBytes(seedBytes);
  const started = performance.now();
  try {
    const wrapped = await encryptor.encrypt(seed, keyId, contextFor(config));
    const encrypted = performance.now();
    const opened = await encryptor.decrypt({ ...wrapped, keyId }, contextFor(config));
    const ended = performance.now();
    if (!seed.equals(opened))
      return { finding: failed(name, otherBytes, "do not use this KMS, and inform its operator") };
    const decryptMs = ended - encrypted;
    const message = `Encrypt ${inMs(encrypted - started)}, Decrypt ${inMs(decryptMs)}`;
    const finding = decryptMs < slowMs ? ok(name, message) : warning(name, message, decryptAdvice);
    return { finding, sample: { by, keyId, wrapped, seed } };
  } catch (error) {
    return { finding: failed(name, toProviderError(error).message, advice[name]) };
  }
}

/** A Decrypt that takes longer is worth a warning, in ms; as in docs/alerts.yaml. */
const slowMs = 1000;
const decryptAdvice =
  "kube-apiserver waits 3 s for a Decrypt by default, and makes thousands at its start: check the latency of the KMS and of the network";

const otherBytes = "Decrypt gave other bytes than Encrypt was given";

const shareAdvice =
  "give --serv-addr only servers that share their keys: after a failover to this one kube-apiserver could not read its Secrets";

/** Unwraps what another server has wrapped: servers of one list must hold the same key under the same identifier. */
async function sameKey(encryptor: Encryptor, keyId: string, other: Sample, config: Config): Promise<Finding> {
  const name = "same key";
  try {
    const opened = await encryptor.decrypt({ ...other.wrapped, keyId: other.keyId }, contextFor(config));
    if (!other.seed.equals(opened)) return failed(name, otherBytes, shareAdvice);
  } catch (error) {
    return failed(
      name,
      `cannot decrypt what ${other.by} encrypted: ${toProviderError(error).message}`,
      shareAdvice,
    );
  }
  if (keyId !== other.keyId)
    return failed(name, `resolves to key ${keyId}, and at ${other.by} to key ${other.keyId}`, shareAdvice);
  return ok(name, `decrypts what ${other.by} encrypted`);
}

function inMs(duration: number): string {
  return `${duration.toFixed(1)} ms`;
}
