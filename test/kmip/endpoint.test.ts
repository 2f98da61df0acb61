/** Addresses of KMIP servers, as they are written and as they are not. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { parseEndpoint } from "../../src/kmip/endpoint.ts";

describe("an address", () => {
  const table: [string, string, number, string][] = [
    ["kms.example.com:5697", "kms.example.com", 5697, "kms.example.com:5697"],
    ["kms.example.com", "kms.example.com", 5696, "kms.example.com:5696"],
    ["192.0.2.7:1", "192.0.2.7", 1, "192.0.2.7:1"],
    ["[2001:db8::7]:65535", "2001:db8::7", 65_535, "[2001:db8::7]:65535"],
    ["[::1]", "::1", 5696, "[::1]:5696"],
  ];
  for (const [address, host, port, name] of table)
    test(`${address} is read`, () => {
      assert.deepEqual(parseEndpoint(address), { host, port, name });
    });

  for (const address of [
    "",
    ":5696",
    "kms:",
    "kms:0",
    "kms:65536",
    "kms:5696:5696",
    "::1",
    "[::1",
    "[kms]:5696",
    "https://kms:5696",
    "kms :5696",
    "a@kms",
  ])
    test(`"${address}" is refused, with how an address is written`, () => {
      assert.throws(() => parseEndpoint(address), { code: "CONFIG", message: /write host:port/ });
    });
});
