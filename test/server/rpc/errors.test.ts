import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Code } from "@connectrpc/connect";
import {
  type ErrorCode,
  errorKinds,
  KmipResultError,
  NetworkError,
  ProviderError,
  RestError,
  TimeoutError,
  toProviderError,
} from "../../../src/errors.ts";
import { asKeyFailure } from "../../../src/encryptors/kmip-failures.ts";
import { asCallFailure } from "../../../src/encryptors/rest-failures.ts";
import { encodeGrpcMessage } from "../../../src/server/rpc/grpc.ts";
import { callerTimeoutMs } from "../../../src/server/rpc/deadline.ts";
import { failureKind, KeyUnavailableError } from "../../../src/server/key/key-failure.ts";
import { CallError, callerMessage, toCallError } from "../../../src/server/rpc/errors.ts";

test("every code of the program has a text for callers, which holds the code and not the error's own words", () => {
  for (const code of Object.keys(errorKinds) as ErrorCode[]) {
    const message = callerMessage(new ProviderError(code, "10.0.0.1 said something"));
    assert.match(message, new RegExp(`^[a-z].* \\[${code}\\]$`, "i"));
    assert.doesNotMatch(message, /10\.0\.0\.1/);
  }
});

/** Refusals as each protocol's encryptor translates them. */
const kmip = (reason: string): ProviderError =>
  toProviderError(
    asKeyFailure(new KmipResultError({ operation: "Encrypt", reason, resultMessage: "" }), "key-1"),
  );
const rest = (status: number): ProviderError =>
  toProviderError(asCallFailure(new RestError("REST_STATUS", "", { status }), "key-1", false));
const network = new NetworkError("CLOSED", "", { endpoint: "kms:5696", sent: true });

describe("a failure of the KMS is of the right kind", () => {
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
    [kmip("0x00000043"), "permanent"],
    [kmip("0x00000036"), "permanent"],
    [kmip("General Failure"), "transient"],
    [kmip("0x00000099"), "transient"],
    [kmip("Key Value Not Present"), "permanent"],
    [kmip("Cryptographic Failure"), "transient"],
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

test("a transient failure of the key is Unavailable to every caller, whatever its own code", () => {
  for (const error of [network, new TimeoutError("response", ""), rest(429), kmip("General Failure")]) {
    assert.equal(toCallError(new KeyUnavailableError(error, "transient")).code, Code.Unavailable);
  }
  const denied = new KeyUnavailableError(new ProviderError("KEY_ACCESS_DENIED", ""), "permanent");
  assert.equal(toCallError(denied).code, Code.PermissionDenied);
});

describe("a refusal's class decides the gRPC code", () => {
  for (const [error, code] of [
    [kmip("Operation Not Supported"), "Unimplemented"],
    [kmip("Operation Canceled By Requester"), "Canceled"],
    [kmip("Cryptographic Failure"), "InvalidArgument"],
    [kmip("Item Not Found"), "FailedPrecondition"],
    [kmip("Permission Denied"), "PermissionDenied"],
    [kmip("General Failure"), "Internal"],
    [rest(400), "InvalidArgument"],
    [rest(401), "PermissionDenied"],
    [rest(403), "PermissionDenied"],
    [rest(404), "FailedPrecondition"],
    [rest(418), "Internal"],
    [rest(429), "ResourceExhausted"],
    [rest(500), "Unavailable"],
  ] as const)
    test(`${callerMessage(error)} is ${code}`, () => {
      assert.equal(Code[toCallError(error).code], code);
    });
});

describe("grpc-message escapes what gRPC asks for, and no more", () => {
  for (const [text, expected] of [
    ["ciphertext is empty [REQUEST_CIPHERTEXT_EMPTY]", "ciphertext is empty [REQUEST_CIPHERTEXT_EMPTY]"],
    ["100 %", "100 %25"],
    ["clé\n", "cl%C3%A9%0A"],
    ["~\u007f", "~%7F"],
    ["", ""],
  ] as const)
    test(JSON.stringify(text), () => {
      assert.equal(encodeGrpcMessage(text), expected);
      assert.equal(decodeURIComponent(encodeGrpcMessage(text)), text);
    });
});

test("an answer that a handler has chosen stays as it is, and a cause is kept for the log", () => {
  const own = new CallError(Code.NotFound, "no such key", network);
  assert.equal(toCallError(own), own);
  assert.equal(toCallError(network).cause, network);
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
