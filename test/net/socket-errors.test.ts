/** What socket and TLS failures are called: each code that Node, OpenSSL and undici give, and where it may hide. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { describeDialError, describeSocketError } from "../../src/net/socket-errors.ts";
import { NetworkError } from "../../src/errors.ts";

function coded(code: string, message = "low-level words"): Error {
  return Object.assign(new Error(message), { code });
}

const failures: readonly (readonly [Error, "CONNECT" | "TLS" | "CLOSED", RegExp])[] = [
  [coded("ECONNREFUSED"), "CONNECT", /^nothing listens on kms:1 /],
  [coded("ENOTFOUND"), "CONNECT", /^the host name of kms:1 is not known to DNS$/],
  [coded("EAI_AGAIN"), "CONNECT", /^DNS gives no answer for kms:1/],
  [coded("EHOSTUNREACH"), "CONNECT", /^no route to kms:1/],
  [coded("ENETUNREACH"), "CONNECT", /^no route to kms:1/],
  [coded("ETIMEDOUT"), "CONNECT", /^kms:1 does not answer/],
  [coded("UND_ERR_CONNECT_TIMEOUT"), "CONNECT", /^kms:1 does not answer/],
  [coded("EMFILE"), "CONNECT", /open-files limit/],
  [coded("ECONNRESET"), "CLOSED", /^kms:1 reset the connection$/],
  [coded("EPIPE"), "CLOSED", /^kms:1 closed the connection$/],
  [coded("UND_ERR_SOCKET", "other side closed"), "CLOSED", /^kms:1 closed the connection$/],
  [coded("SELF_SIGNED_CERT_IN_CHAIN"), "TLS", /--ca$/],
  [coded("DEPTH_ZERO_SELF_SIGNED_CERT"), "TLS", /--ca$/],
  [coded("UNABLE_TO_VERIFY_LEAF_SIGNATURE"), "TLS", /--ca$/],
  [coded("UNABLE_TO_GET_ISSUER_CERT_LOCALLY"), "TLS", /--ca$/],
  [coded("CERT_HAS_EXPIRED"), "TLS", /^the certificate of kms:1 has expired$/],
  [coded("CERT_NOT_YET_VALID"), "TLS", /clocks/],
  [coded("INVALID_PURPOSE"), "TLS", /not meant for a server/],
  [
    Object.assign(coded("ERR_TLS_CERT_ALTNAME_INVALID"), {
      cert: { subjectaltname: "DNS:a.test, DNS:b.test" },
    }),
    "TLS",
    /^the certificate of kms:1 is for a\.test, b\.test, not for this host$/,
  ],
  [coded("ERR_TLS_CERT_ALTNAME_INVALID", "Cert does not contain a DNS name"), "TLS", /another host/],
  [coded("ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED"), "TLS", /^kms:1 refused the client certificate/],
  [coded("ERR_SSL_TLSV1_ALERT_UNKNOWN_CA"), "TLS", /--client-cert\): it does not trust its authority$/],
  [coded("ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE"), "TLS", /--client-cert\)$/],
  [coded("ERR_SSL_SSLV3_ALERT_CERTIFICATE_UNKNOWN"), "TLS", /--client-cert\)$/],
  [coded("ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED"), "TLS", /it has expired$/],
  [coded("ERR_SSL_SSLV3_ALERT_CERTIFICATE_REVOKED"), "TLS", /it is revoked$/],
  [coded("ERR_SSL_TLSV1_ALERT_ACCESS_DENIED"), "TLS", /--client-cert\)$/],
  [coded("ERR_SSL_WRONG_VERSION_NUMBER"), "TLS", /^kms:1 does not speak TLS$/],
  [coded("ERR_SSL_TLSV1_UNRECOGNIZED_NAME"), "TLS", /does not know the server name that --serv-addr or/],
  [coded("ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL"), "TLS", /neither HTTP\/2 nor HTTP\/1\.1$/],
  [coded("ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION"), "TLS", /1\.2 or later/],
  [coded("ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE"), "TLS", /no common cipher/],
  [coded("ERR_OSSL_X509_KEY_VALUES_MISMATCH"), "TLS", /--client-key does not belong to --client-cert/],
  [
    coded(
      "EPROTO",
      "write EPROTO 40:error:0A000438:SSL routines:ssl3_read_bytes:tlsv1 alert internal error:x.c:9:",
    ),
    "TLS",
    /^TLS with kms:1 failed \(tlsv1 alert internal error\)$/,
  ],
];

for (const [error, code, message] of failures)
  test(`${(error as NodeJS.ErrnoException).code}, "${error.message.slice(0, 40)}", is ${code}: ${message.source}`, () => {
    const told = describeSocketError(error, "kms:1", code === "CLOSED");
    assert.match(told.message, message);
    assert.equal(told.code, code);
    assert.deepEqual([told.endpoint, told.cause, told.retryable], ["kms:1", error, true]);
  });

const hungUp = coded(
  "ECONNRESET",
  "Client network socket disconnected before secure TLS connection was established",
);
for (const error of [hungUp, undefined]) {
  const what = error === undefined ? "nothing" : "an error";
  test(`a server that hangs up during the handshake, with ${what}, may have refused the client certificate`, () => {
    const told = describeDialError(error, "kms:1", 7);
    assert.deepEqual([told.code, told.sent, told.clientCertificate], ["CONNECT", false, "may be refused"]);
    assert.match(told.message, /^kms:1 closed .* during the TLS handshake; it may have refused the client/);
  });

  test(`one that hangs up before it has sent anything, with ${what}, has seen no client certificate`, () => {
    const told = describeDialError(error, "kms:1", 0);
    assert.deepEqual([told.code, told.sent, told.clientCertificate], ["CONNECT", false, undefined]);
    assert.match(told.message, /^kms:1 closed .* before the TLS handshake: probably a load balancer/);
  });
}

test("a dial that failed for a reason of its own is told as that", () => {
  const told = describeDialError(coded("ECONNREFUSED"), "kms:1", 0);
  assert.deepEqual([told.code, told.clientCertificate], ["CONNECT", undefined]);
  assert.match(told.message, /^nothing listens on kms:1/);
});

for (const [code, expected] of [
  ["ERR_SSL_TLSV1_ALERT_UNKNOWN_CA", "refused"],
  ["ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED", "refused"],
  ["ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE", "may be refused"],
  ["CERT_HAS_EXPIRED", undefined],
] as const)
  test(`${code} means of the client certificate: ${expected ?? "nothing"}`, () => {
    assert.equal(describeSocketError(coded(code), "kms:1", true).clientCertificate, expected);
  });

test("the cause below fetch's own error is what is told", () => {
  const error = new TypeError("fetch failed", { cause: coded("ECONNREFUSED") });
  assert.match(describeSocketError(error, "kms:1", false).message, /nothing listens/);
});

test("of several addresses that failed, a TLS failure is told before a refused connection", () => {
  const error = new AggregateError([coded("ECONNREFUSED"), coded("CERT_HAS_EXPIRED")]);
  assert.equal(describeSocketError(error, "kms:1", false).code, "TLS");
  assert.equal(
    describeSocketError(new AggregateError([coded("ENETUNREACH")]), "kms:1", false).code,
    "CONNECT",
  );
});

test("a chain of causes without end is followed only so far", () => {
  const error = new Error("round");
  error.cause = error;
  assert.match(describeSocketError(error, "kms:1", false).message, /round/);
});

test("an unknown failure is CONNECT before anything was sent, CLOSED after", () => {
  assert.equal(describeSocketError(coded("EWHAT"), "kms:1", false).code, "CONNECT");
  assert.equal(describeSocketError(coded("EWHAT"), "kms:1", true).code, "CLOSED");
  assert.match(describeSocketError("a string", "kms:1", true).message, /a string/);
});

test("what undici could not parse is not kept: it may be part of a reply", () => {
  const error = Object.assign(new Error("Expected HTTP/"), { name: "HTTPParserError", data: "a plaintext" });
  const told = describeSocketError(error, "kms:1", true);
  assert.equal(told.cause, undefined);
  assert.match(told.message, /no HTTP reply/);
});

test("words from the other side are cut and cleared of control characters", () => {
  const told = describeSocketError(new Error(`\u001b[31m${"x".repeat(500)}`), "kms:1", true);
  assert.ok(told.message.length < 260);
  assert.ok(!told.message.includes("\u001b"));
});

test("an error that is already told stays as it is", () => {
  const error = new NetworkError("CLOSED", "as it is", { endpoint: "kms:1", sent: true });
  assert.equal(describeSocketError(error, "other:1", false), error);
});
