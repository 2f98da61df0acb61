/** What a message shows of a value that was given from outside, and what it hides. */
import assert from "node:assert/strict";
import { createPrivateKey, generateKeyPairSync, randomBytes } from "node:crypto";
import { describe, test } from "node:test";
import { looksLikeKey, quote, quotePath, shellWord } from "../../src/text/quote.ts";

const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
const pem = String(privateKey.export({ format: "pem", type: "pkcs8" }));
const der = privateKey.export({ format: "der", type: "pkcs8" });
const raw = randomBytes(32);

/** Forms in which operators have keys on their clipboards. */
const keys: readonly (readonly [what: string, text: string])[] = [
  ["a PEM", pem],
  ["a PEM on one line", pem.replaceAll("\n", " ")],
  ["the base64 lines of a PEM", pem.split("\n").slice(1, -2).join("\n")],
  ["a PEM in base64", Buffer.from(pem).toString("base64")],
  ["DER in base64", der.toString("base64")],
  ["DER in hexadecimal", der.toString("hex")],
  ["32 bytes in hexadecimal", raw.toString("hex")],
  ["32 bytes in capital hexadecimal", raw.toString("hex").toUpperCase()],
  [
    "16 bytes in hexadecimal with colons",
    raw
      .subarray(0, 16)
      .toString("hex")
      .replaceAll(/..(?=.)/g, "$&:"),
  ],
  ["a JSON Web Key", JSON.stringify(createPrivateKey(pem).export({ format: "jwk" }))],
  ["300 bytes in base64", randomBytes(300).toString("base64")],
];

for (const [what, text] of keys)
  test(`${what} looks like a key, and is not shown`, () => {
    assert.ok(looksLikeKey(text));
    assert.equal(quote(text), `(${text.length} characters, not shown)`);
    assert.equal(quotePath(text), quote(text));
  });

test("32 random bytes in base64 or base64url look like a key, nearly always", () => {
  const count = 2_000;
  for (const form of ["base64", "base64url"] as const) {
    const seen = Array.from({ length: count }, () => looksLikeKey(randomBytes(32).toString(form)));
    const missed = seen.filter((one) => !one).length;
    assert.ok(missed <= count / 100, `${missed} of ${count} in ${form} were taken for words`);
  }
});

describe("what operators write is shown:", () => {
  for (const text of [
    "kms.example.net:5696",
    "https://eu-west-rbx.okms.ovh.net/path",
    "okms-k8s-encryption-provider-next",
    "c1b2a3d4-0000-4000-8000-00000000abcd",
    "/etc/okms/cert.pem",
    "~/.ovh-kms/cert.pem",
    "./Certificates/Client Certificate 2026.pem",
    "certs/OvhKmsClientCertificate.pem",
    "/var/lib/kubelet/pods/0b2c4a5e-1111-4222-8333-944444444444/volumes/kubernetes.io~secret/tls/..2026_11_28/cert.pem",
    `/srv/${raw.toString("hex")}/key.pem`,
    "10s",
    "--kmip-connections=129",
    "EncryptionConfiguration.apiserver.config.k8s.io",
  ])
    test(text, () => {
      assert.ok(!looksLikeKey(text));
      assert.equal(quote(text), JSON.stringify(text));
    });
});

test("a value stays on one line, and a path is shown as it is where it is plain", () => {
  assert.equal(quote("a\nb\u202e"), String.raw`"a\nb\u{202e}"`);
  assert.equal(quotePath("/etc/okms/my cert.pem"), "/etc/okms/my cert.pem");
  assert.equal(quotePath("/etc/a\nb"), '"/etc/a\\nb"');
  assert.equal(quote("long words ".repeat(20)), "(220 characters, not shown)");
});

test("a word for a shell is quoted where a shell would change it", () => {
  assert.equal(shellWord("/etc/okms/cert.pem"), "/etc/okms/cert.pem");
  assert.equal(shellWord("/a b/it's"), String.raw`'/a b/it'\''s'`);
});
