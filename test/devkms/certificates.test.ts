import assert from "node:assert/strict";
import { X509Certificate, createPrivateKey } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import path from "node:path";
import { test } from "node:test";
import { temporaryFolder } from "../support/temporary-folder.ts";
import { createAuthority, openAuthority, writeClientFiles } from "./certificates.ts";

test("a certificate issued chains to its authority, fits its key and names its hosts", async () => {
  const authority = await createAuthority();
  const issued = await authority.issue({
    commonName: "kms",
    dnsNames: ["localhost"],
    ipAddresses: ["127.0.0.1"],
    server: true,
  });
  const cert = new X509Certificate(issued.cert);
  const ca = new X509Certificate(authority.caPem);
  assert.ok(cert.checkIssued(ca));
  assert.ok(cert.verify(ca.publicKey));
  assert.ok(cert.checkPrivateKey(createPrivateKey(issued.key)));
  assert.equal(cert.checkHost("localhost"), "localhost");
  assert.equal(cert.checkIP("127.0.0.1"), "127.0.0.1");
  assert.equal(cert.checkHost("elsewhere"), undefined);
  assert.deepEqual(cert.keyUsage, ["1.3.6.1.5.5.7.3.1"]);
});

test("two authorities of the same name do not vouch for one another", async () => {
  const [one, other] = await Promise.all([createAuthority(), createAuthority()]);
  const cert = new X509Certificate((await one.issue({ commonName: "client" })).cert);
  assert.ok(!cert.verify(new X509Certificate(other.caPem).publicKey));
});

test("an authority opened a second time is the same one, and still issues", async (t) => {
  const folder = temporaryFolder(t);
  const first = await openAuthority(folder);
  const second = await openAuthority(folder);
  assert.equal(second.caPem, first.caPem);
  const cert = new X509Certificate((await second.issue({ commonName: "client" })).cert);
  assert.ok(cert.verify(new X509Certificate(first.caPem).publicKey));
  assert.equal((await stat(path.join(folder, "authority.pem"))).mode & 0o777, 0o600);
});

test("client files are written for their owner only, with the dates asked for", async (t) => {
  const folder = temporaryFolder(t);
  const notAfter = new Date("2020-01-01T00:00:00Z");
  const notBefore = new Date("2019-01-01T00:00:00Z");
  const files = await writeClientFiles(folder, await createAuthority(), { notBefore, notAfter });
  const cert = new X509Certificate(await readFile(files.cert));
  assert.equal(cert.validToDate.getTime(), notAfter.getTime());
  assert.equal(cert.subject, "CN=okms-client");
  for (const file of Object.values(files)) assert.equal((await stat(file)).mode & 0o777, 0o600);
});
