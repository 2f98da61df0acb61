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
import { failureKind, KeyUnavailableError } from "../../../src/server/key/key-failure.ts";
import { callerMessage, toConnectError } from "../../../src/server/rpc/errors.ts";

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
    [network, "transient"],
    [new TimeoutError("response", ""), "transient"],
    [new ProviderError("TLS_FILES", ""), "transient"],
    [new ProviderError("KMIP_VERSION", ""), "transient"],
    [new ProviderError("TTLV_LENGTH", ""), "transient"],
    [new ProviderError("INTERNAL", ""), "transient"],
    [new ProviderError("KEY_NOT_FOUND", ""), "permanent"],
    [new ProviderError("KEY_NOT_ACTIVE", ""), "permanent"],
    [new ProviderError("KEY_UNUSABLE", ""), "permanent"],
    [new ProviderError("KEY_ACCESS_DENIED", ""), "permanent"],
    [new ProviderError("KEY_SELF_TEST", ""), "permanent"],
    [kmip("Item Not Found"), "permanent"],
    [kmip("Permission Denied"), "permanent"],
    [kmip("Wrong Key Lifecycle State"), "permanent"],
    [kmip("Object Destroyed"), "permanent"],
    [kmip("General Failure"), "transient"],
    [kmip("0x00000099"), "transient"],
    [rest(401), "permanent"],
    [rest(403), "permanent"],
    [rest(404), "permanent"],
    [rest(429), "transient"],
    [rest(500), "transient"],
    [rest(503), "transient"],
  ] as const) {
    const what = [error.code, error.details["reason"], error.details["status"]].filter(Boolean).join(" ");
    test(`${what} is ${kind}`, () => {
      assert.equal(failureKind(error), kind);
    });
  }
});

test("passing trouble of the key is Unavailable to whoever asks, whatever its own code", () => {
  for (const error of [network, new TimeoutError("response", ""), rest(429), kmip("General Failure")]) {
    assert.equal(toConnectError(new KeyUnavailableError(error, "transient")).code, Code.Unavailable);
  }
  const denied = new KeyUnavailableError(new ProviderError("KEY_ACCESS_DENIED", ""), "permanent");
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
