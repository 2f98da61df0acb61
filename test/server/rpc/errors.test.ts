import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Code, ConnectError } from "@connectrpc/connect";
import {
  errorCodes,
  KmipResultError,
  NetworkError,
  ProviderError,
  RestError,
  TimeoutError,
} from "../../../src/errors.ts";
import { callerTimeoutMs } from "../../../src/server/rpc/deadline.ts";
import {
  callerMessage,
  KeyTroubleError,
  toConnectError,
  troubleKind,
} from "../../../src/server/rpc/errors.ts";

test("every code of the program has a text for callers, which holds the code and not the error's own words", () => {
  for (const code of errorCodes) {
    const message = callerMessage(new ProviderError(code, "10.0.0.1 said something"));
    assert.match(message, new RegExp(`^[a-z].* \\[${code}\\]$`, "i"));
    assert.doesNotMatch(message, /10\.0\.0\.1/);
  }
});

const kmip = (reason: string): ProviderError =>
  new KmipResultError({ operation: "Encrypt", reason, resultMessage: "" });
const rest = (status: number): ProviderError => new RestError("REST_STATUS", "", { status });
const network = new NetworkError("CLOSED", "", { endpoint: "kms:5696", sent: true });

describe("trouble of the KMS is of the right kind", () => {
  for (const [error, kind] of [
    [network, "passing"],
    [new TimeoutError("response", ""), "passing"],
    [new ProviderError("TLS_FILES", ""), "passing"],
    [new ProviderError("KMIP_VERSION", ""), "passing"],
    [new ProviderError("TTLV_LENGTH", ""), "passing"],
    [new ProviderError("INTERNAL", ""), "passing"],
    [new ProviderError("KEY_NOT_FOUND", ""), "final"],
    [new ProviderError("KEY_NOT_ACTIVE", ""), "final"],
    [new ProviderError("KEY_UNUSABLE", ""), "final"],
    [new ProviderError("KEY_ACCESS_DENIED", ""), "final"],
    [new ProviderError("KEY_SELF_TEST", ""), "final"],
    [kmip("Item Not Found"), "final"],
    [kmip("Permission Denied"), "final"],
    [kmip("Wrong Key Lifecycle State"), "final"],
    [kmip("Object Destroyed"), "final"],
    [kmip("General Failure"), "passing"],
    [kmip("0x00000099"), "passing"],
    [rest(401), "final"],
    [rest(403), "final"],
    [rest(404), "final"],
    [rest(429), "passing"],
    [rest(500), "passing"],
    [rest(503), "passing"],
  ] as const) {
    const what = [error.code, error.details["reason"], error.details["status"]].filter(Boolean).join(" ");
    test(`${what} is ${kind}`, () => {
      assert.equal(troubleKind(error), kind);
    });
  }
});

test("passing trouble of the key is Unavailable to whoever asks, whatever its own code", () => {
  for (const error of [network, new TimeoutError("response", ""), rest(429), kmip("General Failure")]) {
    assert.equal(toConnectError(new KeyTroubleError(error, "passing")).code, Code.Unavailable);
  }
  const denied = new KeyTroubleError(new ProviderError("KEY_ACCESS_DENIED", ""), "final");
  assert.equal(toConnectError(denied).code, Code.PermissionDenied);
});

test("Connect's own errors stay as they are, and a cause is kept for the log", () => {
  const own = new ConnectError("too large", Code.ResourceExhausted);
  assert.equal(toConnectError(own), own);
  assert.equal(toConnectError(network).cause, network);
});

describe("a caller's timeout", () => {
  for (const [headers, expected] of [
    [{ "grpc-timeout": "2999876u" }, 2999.876],
    [{ "grpc-timeout": "3S" }, 3000],
    [{ "grpc-timeout": "5m" }, 5],
    [{ "grpc-timeout": "1M" }, 60_000],
    [{ "grpc-timeout": "99999999H" }, 359_999_996_400_000],
    [{ "grpc-timeout": "100000n" }, 0.1],
    [{ "grpc-timeout": "0S" }, 0],
    [{ "connect-timeout-ms": "250" }, 250],
    [{}, undefined],
    [{ "grpc-timeout": "3" }, undefined],
    [{ "grpc-timeout": "-3S" }, undefined],
    [{ "grpc-timeout": "123456789S" }, undefined],
    [{ "connect-timeout-ms": "1e3" }, undefined],
  ] as const) {
    test(`${JSON.stringify(headers)} is ${expected} ms`, () => {
      const actual = callerTimeoutMs(headers);
      if (expected === undefined) assert.equal(actual, undefined);
      else assert.ok(Math.abs((actual ?? NaN) - expected) < 1e-6 * expected + 1e-9);
    });
  }
});
