/**
 * The connection to each server, made here and not by the encryptor, so that it is clear which step fails: name and
 * TCP (or the proxy's tunnel), then TLS with the client certificate and the server's name verified.
 */
import { connect as connectTcp, type Socket } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";
import type { Config } from "../../config/config.ts";
import { isRestAddress, type Proxy, type ServerAddress } from "../../net/address.ts";
import { toProviderError } from "../../errors.ts";
import { watchDial } from "../../net/dial-stage.ts";
import { openTunnel } from "../../net/proxy.ts";
import { describeDialError } from "../../net/socket-errors.ts";
import { secureContextOf, serverVerification, type TlsMaterial } from "../../net/tls.ts";
import { failed, ok, skipped, type Finding } from "./finding.ts";

/**
 * How long a server has to refuse the client certificate after a handshake, in round trips and at least and most
 * in ms: in TLS 1.3 it does so only when the client thinks that all is done.
 */
const refusal = { roundTrips: 4, minMs: 100, maxMs: 1000 } as const;

/** What came of connecting to one server. */
export interface NetworkChecked {
  readonly findings: readonly Finding[];
  /** Whether requests can be sent there. */
  readonly isReachable: boolean;
}

/** Checks the connection to one server of the configuration. */
export async function checkServer(
  server: ServerAddress,
  config: Pick<Config, "timeoutMs">,
  material: TlsMaterial | undefined,
): Promise<NetworkChecked> {
  const names = { tcp: `tcp ${server.name}`, tls: `tls ${server.name}` };
  const started = performance.now();
  const deadline = AbortSignal.timeout(config.timeoutMs);
  const proxy = isRestAddress(server) ? server.proxy : undefined;
  const tcp = await (proxy === undefined ? reach(server, deadline) : tunnel(proxy, server, deadline));
  if ("failure" in tcp) {
    const advice = proxy === undefined ? reachAdvice : proxyAdvice;
    const findings = [failed(names.tcp, tcp.failure, advice), skipped(names.tls, "tcp failed")];
    return { findings, isReachable: false };
  }
  const roundTripMs = performance.now() - started;
  const { remoteAddress } = tcp.socket;
  const way = proxy === undefined ? `to ${remoteAddress ?? "the server"}` : `through the proxy ${proxy.name}`;
  const reached = ok(names.tcp, `connected ${way} in ${since(started)}`);
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

const reachAdvice = "compare --serv-addr, and check DNS, routes and firewalls between this host and the KMS";
const proxyAdvice =
  "compare HTTPS_PROXY with the proxy's address, let the proxy connect to the KMS, or add the KMS to NO_PROXY";

async function tunnel(proxy: Proxy, server: ServerAddress, deadline: AbortSignal): Promise<Reached> {
  const late = new Promise<Reached>((resolve) => {
    const failure = `the proxy ${proxy.name} does not answer within --timeout`;
    deadline.addEventListener("abort", () => resolve({ failure }), { once: true });
  });
  const made = openTunnel(proxy, server).then(
    (socket): Reached => ({ socket }),
    (error: unknown): Reached => ({ failure: toProviderError(error).message }),
  );
  return Promise.race([made, late]);
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
      resolve({ failure: describeDialError(error, name, 0).message });
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
  server: ServerAddress,
  { material, roundTripMs, deadline }: Handshake,
): Promise<Finding> {
  const { promise, resolve } = Promise.withResolvers<Finding>();
  const { name } = server;
  const started = performance.now();
  const { roundTrips, minMs, maxMs } = refusal;
  const fail = (message: string): void => {
    resolve(failed("", message, adviceFor(message)));
  };
  const tls = connectTls({
    socket,
    secureContext: secureContextOf(material),
    ...serverVerification(server),
  });
  tls.on("error", (error) => {
    fail(describeDialError(error, name, socket.bytesRead).message);
  });
  tls.once("close", () => {
    fail(`${name} closed the connection after it received the client certificate`);
  });
  tls.once("secureConnect", () => {
    const seen = ok("", describeSession(tls, server, since(started)));
    // Reading is what makes an alert known.
    tls.resume();
    setTimeout(resolve, Math.min(Math.max(roundTrips * roundTripMs, minMs), maxMs), seen);
  });
  deadline.addEventListener("abort", () => {
    fail(`${name} does not complete the TLS handshake within --timeout`);
  });
  return promise;
}

function adviceFor(message: string): string {
  if (message.includes("--client-cert") || message.includes("client certificate"))
    return "have the KMS accept this client certificate: check its CA, its rights and its dates there";
  if (message.includes("load balancer"))
    return "ask the operator of the load balancer or firewall before the KMS, and compare --serv-addr with its address";
  if (message.includes("--ca")) return "ask the KMS's operator for the CA of its server certificate";
  if (message.includes("is for ") || message.includes("does not know the server name"))
    return "give --serv-addr one of the names in the server's certificate, or --serv-name that name";
  if (message.includes("must have it reissued"))
    return "ask the KMS's operator for a new server certificate: no TLS library of today accepts this one";
  if (message.endsWith("has expired"))
    return "ask the KMS's operator for a new server certificate, or set the clock of this host";
  if (message.includes("is not valid yet")) return "set the clock that is wrong, of this host or of the KMS";
  if (message.includes("does not speak TLS"))
    return "compare the port of --serv-addr with the port of the KMS";
  return "compare --serv-addr with the address of the KMS, and read the log of the KMS";
}

function describeSession(tls: TLSSocket, { serverName }: ServerAddress, took: string): string {
  const { valid_to: end } = tls.getPeerCertificate();
  const until = end === undefined ? "" : `, server certificate valid until ${new Date(end).toISOString()}`;
  return `${tls.getProtocol() ?? "TLS"} in ${took}, chain and name ${serverName} verified${until}`;
}

function since(started: number): string {
  return `${(performance.now() - started).toFixed(1)} ms`;
}
