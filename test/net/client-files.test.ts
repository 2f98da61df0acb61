/**
 * The client's certificate and key in the forms in which operators are given them, made by openssl: which are read, and
 * the advice for the rest, which is followed here.
 */
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { inspect } from "node:util";
import { after, before, describe, test } from "node:test";
import * as fc from "fast-check";
import { ProviderError } from "../../src/errors.ts";
import { isPkcs12, Pkcs12Error, readPkcs12 } from "../../src/net/pkcs12.ts";
import { checkTlsBytes, loadTlsMaterial, secureContextOf } from "../../src/net/tls.ts";
import type { TlsFiles } from "../../src/net/tls.ts";
import { createAuthority, writeClientFiles } from "../devkms/certificates.ts";
import type { Authority, CertificateFiles } from "../devkms/certificates.ts";
import { adviceIn, openssl, runAdvice, withoutOpenssl } from "../support/openssl.ts";

let folder = "";
let authority: Authority;
let good: CertificateFiles;
before(async () => {
  folder = mkdtempSync(path.join(tmpdir(), "okms client files-"));
  authority = await createAuthority();
  good = await writeClientFiles(folder, authority);
  for (const [name, text] of [
    ["password", "pässwörd 1\n"],
    ["plain-password", "secret"],
    ["wrong-password", "other\r\n"],
  ] as const)
    writeFileSync(at(name), text);
});
after(() => rmSync(folder, { recursive: true }));

function at(name: string): string {
  return path.join(folder, name);
}

async function refusalOf(files: TlsFiles): Promise<string> {
  const error: unknown = await loadTlsMaterial(files).then(
    () => assert.fail("was accepted"),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof ProviderError && error.code === "TLS_FILES");
  return error.message;
}

/** A material that TLS can be made with, whose certificate is the good one. */
async function assertLoads(files: TlsFiles): Promise<void> {
  const material = await loadTlsMaterial(files);
  secureContextOf(material);
  assert.equal(
    new X509Certificate(material.cert).fingerprint256,
    new X509Certificate(readFileSync(good.cert)).fingerprint256,
  );
}

const exportArguments = ["pkcs12", "-export", "-inkey", "key.pem", "-in", "cert.pem", "-certfile", "ca.pem"];

describe("a PKCS #12 file", { skip: withoutOpenssl }, () => {
  for (const [what, args, password] of [
    ["as openssl makes it", [], "password"],
    [
      "of AES-128 with SHA-512",
      ["-keypbe", "AES-128-CBC", "-certpbe", "AES-128-CBC", "-macalg", "sha512"],
      "password",
    ],
    [
      "of 3DES, as Windows and Java made it",
      ["-keypbe", "PBE-SHA1-3DES", "-certpbe", "PBE-SHA1-3DES", "-macalg", "sha1"],
      "plain-password",
    ],
    ["that is not encrypted", ["-keypbe", "NONE", "-certpbe", "NONE", "-nomac"], "plain-password"],
  ] as const)
    test(`${what} is read with the password of a file, for both flags`, async () => {
      const text = readFileSync(at(password), "utf8").trimEnd();
      openssl(folder, ...exportArguments, ...args, "-passout", `pass:${text}`, "-out", "id.p12");
      const file = at("id.p12");
      const files = { cert: file, key: file, keyPassword: at(password), ca: good.ca };
      await assertLoads(files);
      const material = await loadTlsMaterial(files);
      assert.equal(material.cert.toString().match(/BEGIN CERTIFICATE/g)?.length, 2);
      if (what === "that is not encrypted") return;
      assert.match(
        await refusalOf({ ...files, keyPassword: at("wrong-password") }),
        /id\.p12: is PKCS #12, and the password of --client-key-password-file does not open it$/,
      );
      assert.match(
        await refusalOf({ cert: file, key: file }),
        /id\.p12: is PKCS #12, and needs its password: give it with --client-key-password-file$/,
      );
    });

  test("of an empty password is read without a password file", async () => {
    openssl(folder, ...exportArguments, "-passout", "pass:", "-out", "empty.p12");
    await assertLoads({ cert: at("empty.p12"), key: at("empty.p12") });
  });

  test("of RC2 is refused with a command that makes one of it that is read", async () => {
    openssl(folder, ...exportArguments, "-legacy", "-passout", "pass:", "-out", "rc2.p12");
    const files = { cert: at("rc2.p12"), key: at("rc2.p12"), keyPassword: at("plain-password") };
    const message = await refusalOf(files);
    assert.match(message, /is encrypted with an obsolete cipher/);
    runAdvice(`${adviceIn(message, "openssl")} -passin pass:`);
    await assertLoads({ cert: at("rc2.p12.pem"), key: at("rc2.p12.pem") });
  });

  test("of other bytes is refused as damaged, whatever they are", () => {
    openssl(folder, ...exportArguments, "-passout", "pass:secret", "-out", "fuzz.p12");
    const bytes = readFileSync(at("fuzz.p12"));
    assert.ok(isPkcs12(bytes));
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.nat(255), fc.boolean(), (offset, value, isCut) => {
        const mutated = Buffer.from(isCut ? bytes.subarray(0, offset) : bytes);
        if (!isCut) mutated[offset] = value;
        try {
          readPkcs12(mutated, "secret");
        } catch (error) {
          assert.ok(error instanceof Pkcs12Error, String(error));
        }
      }),
      { numRuns: 200 },
    );
  });
});

describe("an encrypted private key", { skip: withoutOpenssl }, () => {
  for (const [what, args] of [
    ["of PKCS #8", ["pkcs8", "-topk8", "-in", "key.pem"]],
    ["in OpenSSL's own way", ["ec", "-aes256", "-in", "key.pem"]],
  ] as const)
    test(`${what} is read with its password, and refused without it or with another`, async () => {
      openssl(folder, ...args, "-passout", "file:plain-password", "-out", "enc.pem");
      const files = { cert: good.cert, key: at("enc.pem"), keyPassword: at("plain-password") };
      await assertLoads(files);
      assert.match((await loadTlsMaterial(files)).key.toString(), /^-----BEGIN PRIVATE KEY-----/);
      assert.match(
        await refusalOf({ ...files, keyPassword: at("wrong-password") }),
        /enc\.pem: the password of --client-key-password-file does not open the private key$/,
      );
      const message = await refusalOf({ cert: good.cert, key: at("enc.pem") });
      runAdvice(`${adviceIn(message, "openssl")} -passin file:'${at("plain-password")}'`);
      await assertLoads({ cert: good.cert, key: at("enc.pem.plain") });
    });
});

test("the password of KMIP is read with the files, changes their fingerprint, and is not shown", async () => {
  const [a, b] = await Promise.all(
    ["password", "plain-password"].map((name) => loadTlsMaterial({ ...good, kmipPassword: at(name) })),
  );
  assert.deepEqual([a?.kmipPassword, b?.kmipPassword], ["pässwörd 1", "secret"]);
  assert.notEqual(a?.fingerprint, b?.fingerprint);
  assert.doesNotMatch(`${JSON.stringify(b)} ${inspect(b, { depth: 9 })}`, /secret/);
});

test("a password in place of its file's path is not repeated", async () => {
  for (const change of [{ keyPassword: "hunter2" }, { kmipPassword: "hunter2" }])
    assert.match(await refusalOf({ ...good, ...change }), /^the file of --[a-z-]+: there is no such file$/);
});

describe("advice with a command that repairs the file:", { skip: withoutOpenssl }, () => {
  for (const [what, args] of [
    ["a certificate in DER", ["x509", "-in", "cert.pem", "-outform", "der", "-out", "file"]],
    [
      "PKCS #7 in PEM",
      ["crl2pkcs7", "-nocrl", "-certfile", "cert.pem", "-certfile", "ca.pem", "-out", "file"],
    ],
    ["PKCS #7 in DER", ["crl2pkcs7", "-nocrl", "-certfile", "cert.pem", "-outform", "der", "-out", "file"]],
  ] as const)
    test(`${what} in place of the certificate`, async () => {
      openssl(folder, ...args);
      runAdvice(adviceIn(await refusalOf({ ...good, cert: at("file") }), "openssl"));
      await assertLoads({ ...good, cert: at("file.pem") });
    });

  test("PKCS #12 in place of the CA", async () => {
    openssl(folder, ...exportArguments, "-passout", "pass:secret", "-out", "ca.p12");
    const message = await refusalOf({ ...good, ca: at("ca.p12") });
    runAdvice(`${adviceIn(message, "openssl")} -passin pass:secret`);
    await assertLoads({ ...good, ca: at("ca.p12.pem") });
  });

  test("a private key that is encrypted with an obsolete cipher", async () => {
    const old = ["pkcs8", "-topk8", "-v1", "PBE-MD5-DES", "-provider", "legacy", "-provider", "default"];
    openssl(folder, ...old, "-in", "key.pem", "-passout", "pass:secret", "-out", "old.pem");
    const files = { cert: good.cert, key: at("old.pem"), keyPassword: at("plain-password") };
    const message = await refusalOf(files);
    assert.match(message, /encrypted with an obsolete cipher/);
    runAdvice(`${adviceIn(message, "openssl")} -passin pass:secret -passout pass:secret`);
    await assertLoads({ ...files, key: at("old.pem.new") });
  });

  test("a key in DER in place of the key", async () => {
    openssl(folder, "pkey", "-in", "key.pem", "-outform", "der", "-out", "file");
    runAdvice(adviceIn(await refusalOf({ ...good, key: at("file") }), "openssl"));
    await assertLoads({ ...good, key: at("file.pem") });
  });
});

function pem(file: string): string {
  return readFileSync(file, "utf8").trimEnd();
}

describe("PEM that came through other hands is read:", { skip: withoutOpenssl }, () => {
  for (const [what, make] of [
    [
      "line ends of Windows",
      () => ({ cert: pem(good.cert).replaceAll("\n", "\r\n"), ca: pem(good.ca).replaceAll("\n", "\r\n") }),
    ],
    ["a byte order mark", () => ({ cert: `\u{FEFF}${pem(good.cert)}`, ca: `\u{FEFF}${pem(good.ca)}` })],
    ["words around it", () => ({ ca: `# our root\nsubject=CN=x\n${pem(good.ca)}\nthe end` })],
    ["the same CA twice, by cat of a file without a line end", () => ({ ca: pem(good.ca) + pem(good.ca) })],
    ["a CA and a private key, without a line end between", () => ({ ca: pem(good.ca) + pem(good.key) })],
    [
      "key and certificate in one file, without a line end between",
      () => ({ cert: pem(good.key) + pem(good.cert), key: pem(good.key) + pem(good.cert) }),
    ],
    ["spaces at the ends of lines", () => ({ ca: pem(good.ca).replaceAll("\n", "  \n") })],
  ] as const)
    test(what, async () => {
      const written = Object.entries<string>(make()).map(([flag, text]) => {
        writeFileSync(at(`hands-${flag}`), text);
        return [flag, at(`hands-${flag}`)] as const;
      });
      const files = { ...good, ...Object.fromEntries(written) };
      await assertLoads(files);
      // As a whole, and by OpenSSL: what it does not read it leaves out without a word.
      const { ca } = await loadTlsMaterial(files);
      for (const block of (ca ?? Buffer.alloc(0)).toString().split(/(?<=-----END CERTIFICATE-----\n)/))
        assert.equal(block.trimEnd(), pem(good.ca));
    });

  test("a key with its EC PARAMETERS before it", async () => {
    openssl(folder, "ec", "-in", "key.pem", "-out", "sec1.pem");
    openssl(folder, "ecparam", "-name", "prime256v1", "-out", "parameters.pem");
    writeFileSync(at("traditional.pem"), `${pem(at("parameters.pem"))}\n${pem(at("sec1.pem"))}\n`);
    await assertLoads({ ...good, key: at("traditional.pem") });
  });

  for (const [what, text, expected] of [
    ["indented", () => pem(good.ca).replaceAll(/^/gm, "  "), /has spaces before its lines: remove them$/],
    [
      "with line ends as in JSON",
      () => pem(good.ca).replaceAll("\n", "\\n"),
      /has "\\n" in place of line ends/,
    ],
    [
      "in base64",
      () => Buffer.from(pem(good.ca)).toString("base64"),
      /in base64, as in a kubeconfig or a Secret/,
    ],
    [
      "with carriage returns alone",
      () => pem(good.ca).replaceAll("\n", "\r"),
      /carriage returns in place of line ends/,
    ],
  ] as const)
    test(`and ${what} it is refused in words`, async () => {
      writeFileSync(at("spelled"), text());
      assert.match(await refusalOf({ ...good, ca: at("spelled") }), expected);
    });
});

test("of the file of a password the first line counts, without a byte order mark", async () => {
  for (const text of ["secret", "secret\n", "secret\r\n", "\u{FEFF}secret\n", "secret\nanother line\n"]) {
    writeFileSync(at("one-password"), text);
    const material = await loadTlsMaterial({ ...good, kmipPassword: at("one-password") });
    assert.equal(material.kmipPassword, "secret", JSON.stringify(text));
  }
});

/** Random bytes, or the given ones with one changed or cut off. */
function changed(bytes: Buffer): fc.Arbitrary<Buffer> {
  return fc.oneof(
    fc.uint8Array({ maxLength: 300 }).map((random) => Buffer.from(random)),
    fc.tuple(fc.nat(bytes.length - 1), fc.nat(255)).map(([offset, value]) => {
      const copy = Buffer.from(bytes);
      copy[offset] = value;
      return copy;
    }),
    fc.nat(bytes.length).map((length) => bytes.subarray(0, length)),
  );
}

describe("a file that another kind of mistake made", { skip: withoutOpenssl }, () => {
  test("with the CA before the client's certificate says which one to put first", async () => {
    writeFileSync(at("ca-first.pem"), `${authority.caPem}\n${readFileSync(good.cert, "utf8")}`);
    assert.match(
      await refusalOf({ ...good, cert: at("ca-first.pem") }),
      /ca-first\.pem: certificate 2 is the key's own: put it first in the file$/,
    );
  });

  test("with an RSA key of 1024 bits says what to have issued", async () => {
    openssl(
      folder,
      "req",
      "-x509",
      "-newkey",
      "rsa:1024",
      "-nodes",
      "-subj",
      "/CN=weak",
      "-keyout",
      "weak.key",
      "-out",
      "weak.pem",
    );
    assert.match(
      await refusalOf({ cert: at("weak.pem"), key: at("weak.key") }),
      /weak\.pem: the certificate \(rsa 1024 bits\) cannot be used: its key is too weak for TLS: have one issued with an RSA key of 2048 bits, or EC P-256$/,
    );
  });

  for (const [what, text, message] of [
    [
      "a certificate request",
      "-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n-----END CERTIFICATE REQUEST-----\n",
      /certificate request, and no certificate/,
    ],
    ["text in UTF-16", Buffer.from("\uFEFF-----BEGIN CERTIFICATE-----", "utf16le"), /is text in UTF-16/],
    ["a Java keystore", Buffer.from("feedfeed00000002", "hex"), /is a Java keystore: export it as PKCS #12/],
  ] as const)
    test(`${what} is told as that`, async () => {
      writeFileSync(at("file"), text);
      assert.match(await refusalOf({ ...good, cert: at("file") }), message);
    });

  test("of random or damaged bytes raises TLS_FILES and nothing else", () => {
    const [cert, key, ca] = [good.cert, good.key, good.ca].map((file) => readFileSync(file));
    assert.ok(cert !== undefined && key !== undefined && ca !== undefined);
    const files = { cert: "/c", key: "/k", ca: "/a" };
    fc.assert(
      fc.property(changed(cert), changed(key), changed(ca), fc.nat(2), (a, b, c, which) => {
        const bytes = { cert, key, ca, keyPassword: undefined, kmipPassword: undefined, fingerprint: "" };
        const one = [{ cert: a }, { key: b }, { ca: c }][which];
        try {
          checkTlsBytes(files, { ...bytes, ...one });
        } catch (error) {
          assert.ok(error instanceof ProviderError && error.code === "TLS_FILES", String(error));
        }
      }),
      { numRuns: 500 },
    );
  });
});

test("a certificate whose date is none is damaged, whichever file it is in", async () => {
  const der = new X509Certificate(readFileSync(good.cert)).raw;
  // The first UTCTime, which is notBefore: its month becomes the 99th.
  const start = der.toString("latin1").search(/\d{12}Z/);
  assert.notEqual(start, -1);
  der.write("99", start + 2, "latin1");
  const text = `-----BEGIN CERTIFICATE-----\n${der.toString("base64").replaceAll(/.{64}/g, "$&\n")}\n-----END CERTIFICATE-----\n`;
  writeFileSync(at("dates.pem"), text);
  for (const flag of ["cert", "ca"])
    assert.match(
      await refusalOf({ ...good, [flag]: at("dates.pem") }),
      /certificate 1 cannot be parsed: the file is damaged$/,
    );
});
