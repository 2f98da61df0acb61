/**
 * A KMS whose name has two addresses, the first of which takes connections and never answers: a backend that hangs, or
 * a path that swallows what is large. The resolver alone is replaced, for the system's own knows no such name here.
 */
import assert from "node:assert/strict";
import dns from "node:dns";
import { syncBuiltinESMExports } from "node:module";
import { test } from "node:test";
import { startSilentServer } from "../support/silent-server.ts";
import { parseKmipAddress, parseRestAddress } from "../../src/net/address.ts";

const name = "localhost";
const addresses = [
  { address: "127.0.0.2", family: 4 },
  { address: "127.0.0.1", family: 4 },
];
const { lookup } = dns;
dns.lookup = ((asked: string, options: object, done: (error: null, all: typeof addresses) => void) => {
  if (asked === name) process.nextTick(done, null, addresses);
  else lookup(asked, options, done as never);
}) as typeof dns.lookup;
syncBuiltinESMExports();

const { startDevKms } = await import("../devkms/devkms.ts");
const { createKmipEncryptor } = await import("../../src/encryptors/kmip.ts");
const { createRestEncryptor } = await import("../../src/encryptors/rest.ts");
const { loadTlsMaterial } = await import("../../src/net/tls.ts");

const within = (ms = 3000) => ({ signal: AbortSignal.timeout(ms), deadline: performance.now() + ms });

for (const protocol of ["kmip", "rest"] as const)
  test(`over ${protocol} the other address of the name is tried, and stays the one in use`, async (t) => {
    const kms = await startDevKms();
    t.after(() => kms.close());
    const { id } = kms.keys.create({ name: "kek" });
    const port = Number(new URL(protocol === "kmip" ? `x://${kms.kmipAddress}` : kms.restUrl).port);
    const hanging = await startSilentServer(t, { host: "127.0.0.2", port });

    const key = { label: "kek" };
    const encryptor =
      protocol === "kmip"
        ? createKmipEncryptor({ servers: [parseKmipAddress(`${name}:${port}`)], key })
        : createRestEncryptor({
            servers: [parseRestAddress(`https://${name}:${port}`)],
            key,
            okmsId: kms.okmsId,
          });
    t.after(() => encryptor.close());
    encryptor.setTlsMaterial(await loadTlsMaterial(kms.clientFiles));

    assert.equal((await encryptor.resolveKey(within())).keyId, id);
    const before = hanging.accepted();
    assert.ok(before > 0, "the first address was tried");
    for (let call = 0; call < 5; call += 1) await encryptor.resolveKey(within());
    assert.equal(hanging.accepted(), before, "and is left alone then");
  });
