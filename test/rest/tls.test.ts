/** Mutual TLS of the REST client: every way in which it fails has its own words, and an exchange costs no call. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type AddressInfo } from "node:net";
import { test } from "node:test";
import { createRestEncryptor } from "../../src/encryptors/rest.ts";
import { createAuthority } from "../devkms/certificates.ts";
import {
  clientMaterial,
  materialOf,
  type RestKmsOptions,
  seed,
  startKms,
  watch,
  withCode,
  within,
} from "./harness.ts";
import { parseRestAddress } from "../../src/net/address.ts";

const dayMs = 86_400_000;

const badServers: readonly { what: string; options: RestKmsOptions; message: RegExp }[] = [
  {
    what: "for another host",
    options: { certificate: { ipAddresses: ["192.0.2.7"], dnsNames: ["kms.example.com"] } },
    message: /is for .*kms\.example\.com.*, not for this host/,
  },
  {
    what: "that has expired",
    options: {
      certificate: { notBefore: new Date(Date.now() - 2 * dayMs), notAfter: new Date(Date.now() - dayMs) },
    },
    message: /has expired/,
  },
  {
    what: "that is not valid yet",
    options: { certificate: { notBefore: new Date(Date.now() + dayMs) } },
    message: /not valid yet/,
  },
  {
    what: "meant for clients",
    options: { certificate: { server: false, client: true } },
    message: /not meant for a server/,
  },
];

for (const { what, options, message } of badServers)
  for (const http2 of [true, false])
    test(`a server certificate ${what} is TLS, at once, ${http2 ? "HTTP/2" : "HTTP/1.1"}`, async (t) => {
      const kms = await startKms(t, { ...options, http2 });
      const { encryptor } = watch(t, kms, { key: { label: "kek" } });
      await assert.rejects(encryptor.resolveKey(within(60_000)), withCode("TLS", message));
    });

test("a server whose authority is not in --ca is TLS and names --ca", async (t) => {
  const kms = await startKms(t);
  const { encryptor } = watch(t, kms, { key: { label: "kek" } });
  const other = await createAuthority({ name: "other" });
  encryptor.setTlsMaterial(await clientMaterial(kms.authority, other.caPem));
  await assert.rejects(encryptor.resolveKey(within(5_000)), withCode("TLS", /--ca/));
});

for (const http2 of [true, false])
  test(`a client that the server does not trust is told of --client-cert, ${http2 ? "HTTP/2" : "HTTP/1.1"}`, async (t) => {
    const kms = await startKms(t, { http2 });
    const { encryptor } = watch(t, kms, { key: { label: "kek" } });
    const other = await createAuthority({ name: "other" });
    encryptor.setTlsMaterial(await clientMaterial(other, kms.authority.caPem));
    await assert.rejects(encryptor.resolveKey(within(1_500)), withCode("CLOSED", /--client-cert/));
  });

test("a client certificate that has expired makes --client-cert be named", async (t) => {
  const kms = await startKms(t);
  const { encryptor } = watch(t, kms, { key: { label: "kek" } });
  const notAfter = new Date(Date.now() - dayMs);
  const notBefore = new Date(Date.now() - 2 * dayMs);
  const expired = await kms.authority.issue({ commonName: "old", client: true, notBefore, notAfter });
  encryptor.setTlsMaterial(materialOf({ ...expired, ca: kms.authority.caPem }));
  await assert.rejects(encryptor.resolveKey(within(1_500)), withCode("CLOSED", /--client-cert/));
});

test("a server that speaks no TLS is told so", async (t) => {
  const kms = await startKms(t);
  const server = createServer((socket) => {
    socket.on("error", () => undefined).end("HTTP/1.1 400 Bad Request\r\n\r\n");
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  const servers = [parseRestAddress(`https://127.0.0.1:${(server.address() as AddressInfo).port}`)];
  const { encryptor } = watch(t, kms, { key: { label: "kek" }, servers });
  await assert.rejects(encryptor.resolveKey(within(5_000)), withCode("TLS", /does not speak TLS/));
});

test("before the first certificate every call is TLS_FILES", async (t) => {
  const kms = await startKms(t);
  const encryptor = createRestEncryptor({
    servers: [parseRestAddress(kms.url)],
    key: { label: "kek" },
    okmsId: kms.okmsId,
  });
  t.after(() => encryptor.close());
  await assert.rejects(encryptor.resolveKey(within(5_000)), withCode("TLS_FILES"));
});

for (const http2 of [true, false])
  test(`certificates exchanged ten times under a load fail no call and leave no old connection, ${http2 ? "HTTP/2" : "HTTP/1.1"}`, async (t) => {
    const kms = await startKms(t, { http2 });
    const keyId = kms.keys.create().id;
    const { encryptor, events } = watch(t, kms, { key: { id: keyId } });
    const end = new AbortController();
    const caller = async (): Promise<void> => {
      while (!end.signal.aborted) await encryptor.encrypt(seed, keyId, within(8_000));
    };
    const load = Promise.all(Array.from({ length: 8 }, caller));
    for (let index = 0; index < 10; index += 1) {
      encryptor.setTlsMaterial(await clientMaterial(kms.authority));
      await encryptor.encrypt(seed, keyId, within(8_000));
    }
    end.abort();
    await load;
    assert.ok(events.every((event) => event.type !== "exchange" || event.outcome === "ok"));
    const opened = events.filter((event) => event.type === "connection" && event.change === "opened").length;
    const closed = (): number =>
      events.filter((event) => event.type === "connection" && event.change === "closed").length;
    assert.ok(opened >= 10);
    await encryptor.close();
    assert.equal(closed(), opened);
  });

test("a call in flight when the certificate changes ends on its old connection, which then closes", async (t) => {
  const kms = await startKms(t);
  const keyId = kms.keys.create().id;
  const { encryptor, events, next } = watch(t, kms, { key: { id: keyId } });
  await encryptor.resolveKey(within(5_000));
  kms.faults.delayMs = 200;
  const slow = encryptor.encrypt(seed, keyId, within(5_000));
  await next((event) => event.type === "message" && events.indexOf(event) > 3);
  encryptor.setTlsMaterial(await clientMaterial(kms.authority));
  await slow;
  await next((event) => event.type === "connection" && event.change === "closed");
  assert.ok(
    !events.some(
      (event) => event.type === "connection" && event.change === "opened" && events.indexOf(event) > 3,
    ),
  );
});
