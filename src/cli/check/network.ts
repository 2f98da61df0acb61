/**
 * The way to each server, by itself and not through the encryptor, so that it is clear which step fails: name and
 * TCP, then TLS with the client certificate and the server's name checked.
 */
import { connect as connectTcp, isIP } from "node:net";
import type { Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import type { TLSSocket } from "node:tls";
import type { Config } from "../../config/config.ts";
import { isRestAddress, type ServerAddress } from "../../net/address.ts";
import { watchDial } from "../../net/dial-stage.ts";
import { describeDialError, describeSocketError } from "../../net/socket-errors.ts";
import { secureContextOf, serverVerification, type TlsMaterial } from "../../net/tls.ts";
import { failed, ok, skipped } from "./finding.ts";
import type { Finding } from "./finding.ts";

/**
 * How long a server has to refuse the client certificate after a handshake, in round trips and at least and most
 * in ms: in TLS 1.3 it does so only when the client thinks that all is done.
 */
const refusal = { roundTrips: 4, minMs: 100, maxMs: 1000 } as const;

/** What came of the way to one server. */
export interface NetworkChecked {
  readonly findings: readonly Finding[];
  /** Whether requests can be sent there. */
  readonly isReachable: boolean;
}

/** Checks the way to one server of the configuration. */
export async function checkServer(
  server: ServerAddress,
  config: Pick<Config, "timeoutMs">,
  material: TlsMaterial | undefined,
): Promise<NetworkChecked> {
  const names = { tcp: `tcp ${server.name}`, tls: `tls ${server.name}` };
  const started = performance.now();
  const deadline = AbortSignal.timeout(config.timeoutMs);
  const tcp = await reach(server, deadline);
  if ("failure" in tcp) {
    const advice = "compare --serv-addr, and look at DNS, routes and firewalls between this host and the KMS";
    const findings = [failed(names.tcp, tcp.failure, advice), skipped(names.tls, "tcp failed")];
    return { findings, isReachable: false };
  }
  const roundTripMs = performance.now() - started;
  const { remoteAddress } = tcp.socket;
  const reached = ok(names.tcp, `connected to ${remoteAddress ?? "the server"} in ${since(started)}`);
  try {
    if (isRestAddress(server) && server.origin.startsWith("http:"))
      return { findings: [reached], isReachable: true };
    if (material === undefined)
      return { findings: [reached, skipped(names.tls, "the files failed")], isReachable: false };
    const tls = await shakeHands(tcp.socket, server, { material, roundTripMs, deadline });
    return { findings: [reached, { ...tls, name: names.tls }], isReachable: tls.status !== "failed" };
  } finally {
    tcp.socket.destroy();
  }
}

type Reached = { readonly socket: Socket } | { readonly failure: string };

function reach({ name, host, port }: ServerAddress, deadline: AbortSignal): Promise<Reached> {
  return new Promise((resolve) => {
    const socket = connectTcp({ host, port });
    const waitsFor = watchDial(socket, host);
    const onDeadline = (): void => {
      socket.destroy();
      resolve({ failure: `${name} does not answer within --timeout (${waitsFor()})` });
    };
    deadline.addEventListener("abort", onDeadline, { once: true });
    socket.once("connect", () => {
      deadline.removeEventListener("abort", onDeadline);
      resolve({ socket });
    });
    socket.once("error", (error) => {
      resolve({ failure: describeSocketError(error, name, false).message });
    });
  });
}

interface Handshake {
  readonly material: TlsMaterial;
  /** How long the TCP connection took. */
  readonly roundTripMs: number;
  readonly deadline: AbortSignal;
}

/** A finding without its name. */
function shakeHands(
  socket: Socket,
  { name, host }: ServerAddress,
  { material, roundTripMs, deadline }: Handshake,
): Promise<Finding> {
  const { promise, resolve } = Promise.withResolvers<Finding>();
  const started = performance.now();
  const { roundTrips, minMs, maxMs } = refusal;
  const fail = (message: string): void => {
    resolve(failed("", message, adviceFor(message)));
  };
  const tls = connectTls({
    socket,
    host,
    ...(isIP(host) === 0 && { servername: host }),
    secureContext: secureContextOf(material),
    ...serverVerification,
  });
  tls.on("error", (error) => {
    fail(describeDialError(error, name).message);
  });
  tls.once("close", () => {
    fail(`${name} closed the connection when it had seen the client certificate`);
  });
  tls.once("secureConnect", () => {
    const seen = ok("", describeSession(tls, since(started)));
    // Reading is what makes an alert known.
    tls.resume();
    setTimeout(resolve, Math.min(Math.max(roundTrips * roundTripMs, minMs), maxMs), seen);
  });
  deadline.addEventListener("abort", () => {
    fail(`${name} does not end the TLS handshake within --timeout`);
  });
  return promise;
}

function adviceFor(message: string): string {
  if (message.includes("--client-cert") || message.includes("client certificate"))
    return "have the KMS accept this client certificate: its authority, its rights, its dates";
  if (message.includes("--ca")) return "ask the KMS's operator for the CA of its server certificate";
  if (message.includes("is for ")) return "give --serv-addr one of the names in the server's certificate";
  if (message.includes("does not speak TLS")) return "compare the port of --serv-addr with the KMS's";
  return "compare --serv-addr with the KMS's, and look at its log";
}

function describeSession(tls: TLSSocket, took: string): string {
  const { valid_to: end } = tls.getPeerCertificate();
  const until = end === undefined ? "" : `, server certificate valid until ${new Date(end).toISOString()}`;
  return `${tls.getProtocol() ?? "TLS"} in ${took}, chain and name verified${until}`;
}

function since(started: number): string {
  return `${(performance.now() - started).toFixed(1)} ms`;
}
