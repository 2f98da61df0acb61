/** The client against the embedded KMS: versions, refusals, every fault, outages, and what it tells of all that. */
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { KmipResultError, NetworkError } from "../../src/errors.ts";
import { call, successItem } from "../../src/kmip/batch.ts";
import { createKmipClient, type KmipClient, type KmipClientOptions } from "../../src/kmip/client.ts";
import { decodeRequest, encodeResponse, type ResponseItem } from "../../src/kmip/messages.ts";
import {
  discoverVersionsOperation,
  encryptOperation,
  getAttributesOperation,
  locateOperation,
  queryOperation,
} from "../../src/kmip/operations/index.ts";
import { BlockCipherMode, CryptographicAlgorithm, QueryFunction } from "../../src/kmip/spec/enumerations.ts";
import { formatVersion, parseVersion, type VersionText } from "../../src/kmip/version.ts";
import { loadTlsMaterial } from "../../src/net/tls.ts";
import type { CallContext } from "../../src/upstream/context.ts";
import type { KmsEvent } from "../../src/upstream/events.ts";
import { type DevKms, startDevKms } from "../devkms/devkms.ts";
import { resetFaults } from "../devkms/faults.ts";
import { answer, refuseMessage } from "../devkms/kmip-batch.ts";
import { startRelay } from "../devkms/relay.ts";
import { authority, clientMaterial, eventually, startEchoServer } from "./echo-server.ts";
import { parseKmipAddress } from "../../src/net/address.ts";

let kms: DevKms;
const opened: KmipClient[] = [];

before(async () => {
  kms = await startDevKms({ rest: false });
});
afterEach(async () => {
  resetFaults(kms.faults);
  await Promise.all(opened.splice(0).map((client) => client.close()));
});
after(async () => {
  await kms.close();
});

async function clientOf(
  options: Partial<KmipClientOptions> = {},
  server: DevKms = kms,
): Promise<KmipClient & { events: KmsEvent[] }> {
  const events: KmsEvent[] = [];
  const client = createKmipClient({
    servers: [parseKmipAddress(server.kmipAddress)],
    onEvent: (event) => events.push(event),
    ...options,
  });
  client.setTlsMaterial(await loadTlsMaterial(server.clientFiles));
  opened.push(client);
  return { ...client, events };
}

/** A caller's time; the timer does not hold the process. */
function within(ms: number): CallContext {
  return { signal: AbortSignal.timeout(ms), deadline: performance.now() + ms };
}

async function query(client: KmipClient, context: CallContext = within(3000)): Promise<string> {
  return client.send(
    (version) => ({
      calls: [call(queryOperation, { queryFunctions: [QueryFunction.QueryOperations] })],
      read: (reply) => {
        reply.payload(0, queryOperation);
        return formatVersion(version);
      },
    }),
    context,
  );
}

function count(operation: string): number {
  return kms.kmipRequests()[operation] ?? 0;
}

describe("versions", () => {
  for (const maxVersion of ["1.0", "1.1", "1.2", "1.3", "1.4"] as const satisfies VersionText[])
    test(`a server limited to ${maxVersion} is spoken to in ${maxVersion}`, async () => {
      const limited = await startDevKms({ rest: false, kmip: { maxVersion } });
      const client = await clientOf({}, limited);
      assert.equal(await query(client), maxVersion);
      await client.close();
      await limited.close();
    });

  for (const says of ["a refusal", "nothing"])
    test(`a server of 1.4 only that gives ${says} and hangs up on anything older is spoken to all the same`, async () => {
      const state = { keys: kms.keys, faults: kms.faults, maxVersion: parseVersion("1.4") };
      const strict = await startEchoServer({
        onMessage: (message, socket) => {
          const request = decodeRequest(message);
          const isOwn = formatVersion(request.version) === "1.4";
          if (isOwn) socket.write(answer(request, state));
          else if (says === "nothing") socket.destroySoon();
          else socket.end(refuseMessage(state.maxVersion, undefined));
        },
      });
      const events: KmsEvent[] = [];
      const client = createKmipClient({
        servers: [parseKmipAddress(strict.address)],
        onEvent: (event) => events.push(event),
      });
      client.setTlsMaterial(await clientMaterial());
      opened.push(client);
      assert.equal(await query(client), "1.4");
      const lost = events.filter((event) => event.type === "connection" && event.change === "failed");
      assert.equal(lost.length, 1, "one connection shows which version to begin with");
      await client.close();
      await strict.close();
    });

  test("an operation that the server's version does not have is refused before it is sent, in plain words", async () => {
    const old = await startDevKms({ rest: false, kmip: { maxVersion: "1.1" } });
    const client = await clientOf({}, old);
    const sending = client.send(
      () => ({
        calls: [call(encryptOperation, { uniqueIdentifier: "key", data: new Uint8Array(32) })],
        read: (reply) => reply.payload(0, encryptOperation),
      }),
      within(3000),
    );
    await assert.rejects(sending, {
      code: "KMIP_VERSION",
      message: `${old.kmipAddress} speaks KMIP 1.1 at most: Encrypt exists from KMIP 1.2 on`,
    });
    assert.equal(old.kmipRequests()["Encrypt"], undefined);
    await client.close();
    await old.close();
  });
});

describe("what a client needs", () => {
  const needs = [encryptOperation];

  test("is looked for in the next server where the first one is too old for it", async () => {
    const old = await startDevKms({ rest: false, kmip: { maxVersion: "1.1" }, authority: kms.authority });
    const client = await clientOf({
      needs,
      servers: [parseKmipAddress(old.kmipAddress), parseKmipAddress(kms.kmipAddress)],
    });
    assert.equal(await query(client), "1.4");
    await client.close();
    await old.close();
  });

  test("is missed in plain words, long before the caller's time ends, where the only server is too old", async () => {
    const old = await startDevKms({ rest: false, kmip: { maxVersion: "1.1" } });
    const client = await clientOf({ needs }, old);
    await assert.rejects(query(client), {
      code: "KMIP_VERSION",
      message: `${old.kmipAddress} speaks KMIP 1.1 at most: Encrypt exists from KMIP 1.2 on`,
    });
    await client.close();
    await old.close();
  });
});

describe("a batch", () => {
  test("gives each operation's payload, and hands the ID placeholder on", async () => {
    const key = kms.keys.create({ name: "batch" });
    const client = await clientOf();
    const found = await client.send(
      () => ({
        calls: [
          call(locateOperation, {}),
          call(getAttributesOperation, { uniqueIdentifier: key.id, attributeNames: ["State"] }),
        ],
        read: (reply) => [
          reply.payload(0, locateOperation).uniqueIdentifiers,
          reply.payload(1, getAttributesOperation).uniqueIdentifier,
        ],
      }),
      within(3000),
    );
    assert.deepEqual(found, [kms.keys.list().map(({ id }) => id), key.id]);
  });
});

describe("a refusal", () => {
  test("is an answer: it names operation and reason, is not repeated, and the connection stays", async () => {
    const client = await clientOf();
    await query(client);
    const asked = count("Query");
    kms.faults.refuse = { operation: "Query", reason: "PermissionDenied", message: "not you" };
    await assert.rejects(query(client), (error) => {
      assert.ok(error instanceof KmipResultError);
      assert.deepEqual(
        [error.operation, error.reason, error.resultMessage],
        ["Query", "Permission Denied", "not you"],
      );
      return true;
    });
    assert.equal(count("Query"), asked + 1);
    assert.deepEqual(client.counts(), { idle: 1, busy: 0, connecting: 0 });
  });

  test("of Discover Versions itself is told long before the caller's time ends", async () => {
    kms.faults.refuse = { operation: "DiscoverVersions", reason: "AuthenticationNotSuccessful" };
    const client = await clientOf();
    await assert.rejects(query(client, within(30_000)), {
      code: "KMIP_RESULT",
      reason: "Authentication Not Successful",
    });
  });
});

describe("a request survives", () => {
  const faults = {
    "a connection closed in place of the reply": { closeAfterRequest: true },
    "bytes that are no KMIP": { garbage: true },
    "half a reply": { halfFrame: true },
    silence: { silent: true },
  };
  for (const [what, fault] of Object.entries(faults))
    test(what, async () => {
      const client = await clientOf();
      await query(client);
      Object.assign(kms.faults, fault, { count: 1 });
      const makings: number[] = [];
      const version = await client.send((spoken) => {
        makings.push(makings.length);
        return {
          calls: [call(queryOperation, { queryFunctions: [QueryFunction.QueryObjects] })],
          read: (reply) => {
            reply.payload(0, queryOperation);
            return formatVersion(spoken);
          },
        };
      }, within(3000));
      assert.equal(version, "1.4");
      assert.deepEqual(makings, [0, 1], "the request is made anew for the second try");
    });

  test("a connection that an outage has closed under it", async () => {
    const client = await clientOf();
    await query(client);
    assert.equal(kms.cutConnections(), 1);
    assert.equal(await query(client), "1.4");
  });

  test("a server that is slower than half the caller's time", async () => {
    const client = await clientOf();
    await query(client);
    kms.faults.delayMs = 800;
    assert.equal(await query(client, within(1500)), "1.4");
  });

  test("an outage shorter than the caller's time, under load", async () => {
    const client = await clientOf();
    const load = Promise.all(
      Array.from({ length: 16 }, async () => {
        for (let nth = 0; nth < 20; nth += 1) await query(client, within(5000));
      }),
    );
    await eventually(() => client.counts().busy > 0, "the load runs");
    for (let outage = 0; outage < 3; outage += 1) {
      await kms.stop();
      await kms.start();
      await query(client, within(5000));
    }
    await load;
  });

  test("a path that goes silent, on every connection at once, where a new connection would get through", async () => {
    const relay = await startRelay(kms.kmipAddress);
    const client = await clientOf({ servers: [parseKmipAddress(relay.address)], maxConnections: 4 });
    await Promise.all(Array.from({ length: 8 }, () => query(client)));
    relay.hang();
    relay.resume();
    const versions = await Promise.all(Array.from({ length: 12 }, () => query(client, within(3000))));
    assert.deepEqual(new Set(versions), new Set(["1.4"]));
    await client.close();
    await relay.close();
  });

  test("its server, where another is there", async () => {
    const first = await startRelay(kms.kmipAddress);
    const client = await clientOf({
      servers: [parseKmipAddress(first.address), parseKmipAddress(kms.kmipAddress)],
    });
    await query(client);
    await first.stop();
    assert.equal(await query(client), "1.4");
    await client.close();
    await first.close();
  });
});

describe("a request fails", () => {
  test("at the end of its time where the server says nothing, and the next one works", async () => {
    const client = await clientOf();
    await query(client);
    kms.faults.silent = true;
    const started = performance.now();
    await assert.rejects(query(client, within(200)), { code: "TIMEOUT" });
    assert.ok(performance.now() - started < 1000);
    resetFaults(kms.faults);
    assert.equal(await query(client), "1.4");
  });

  test("when its caller leaves, and the connection that owes its reply is not used again", async () => {
    const client = await clientOf();
    await query(client);
    kms.faults.delayMs = 50;
    const caller = new AbortController();
    const leaving = query(client, { signal: caller.signal });
    setImmediate(() => caller.abort());
    await assert.rejects(leaving, { code: "CANCELED" });
    assert.equal(await query(client), "1.4");
  });

  test("with what the server sent where that is never KMIP", async () => {
    await using server = await startEchoServer();
    const client = createKmipClient({ servers: [parseKmipAddress(server.address)] });
    client.setTlsMaterial(await clientMaterial({}, authority));
    await assert.rejects(query(client, within(150)), { code: "KMIP_UNEXPECTED", message: /ResponseMessage/ });
    await client.close();
  });

  test("with the loss, where the server drops every request until its time is over", async () => {
    const client = await clientOf();
    await query(client);
    kms.faults.closeAfterRequest = true;
    await assert.rejects(query(client, within(300)), (error) => {
      assert.ok(error instanceof NetworkError);
      assert.deepEqual([error.code, error.clientCertificate], ["CLOSED", "may be refused"]);
      return true;
    });
    resetFaults(kms.faults);
  });

  test("only when the time of a caller whose deadline is moved meanwhile is over", async () => {
    let deadline = Infinity;
    let firstEnd = Infinity;
    let queries = 0;
    await using server = await startEchoServer({
      onMessage: (message, socket) => {
        const { version, items } = decodeRequest(message);
        const [item] = items;
        assert.ok(item);
        const reply = (payload: ResponseItem): boolean =>
          socket.write(encodeResponse({ version, timeStamp: 0n, items: [payload] }));
        if (item.operation === discoverVersionsOperation.operation)
          return reply(
            successItem(item, discoverVersionsOperation, { protocolVersions: [version] }, version),
          );
        queries += 1;
        // The first is never answered; the others, by which time is given, are dropped until the old end is over.
        if (queries === 1) return undefined;
        deadline = firstEnd + 5000;
        if (performance.now() < firstEnd + 200) return socket.destroy();
        return reply(successItem(item, queryOperation, {}, version));
      },
    });
    const client = createKmipClient({ servers: [parseKmipAddress(server.address)] });
    opened.push(client);
    client.setTlsMaterial(await clientMaterial());
    firstEnd = performance.now() + 900;
    deadline = firstEnd;
    const context = {
      signal: AbortSignal.timeout(5000),
      get deadline() {
        return deadline;
      },
    };
    assert.equal(await query(client, context), "1.2");
    assert.ok(queries > 3, `${queries} queries`);
  });

  test("with the refusal of whoever answers, though the first connection stays silent", async (t) => {
    const relay = await startRelay(kms.kmipAddress);
    t.after(() => relay.close());
    const client = await clientOf({ servers: [parseKmipAddress(relay.address)] });
    await query(client);
    relay.hang(1);
    kms.faults.refuse = { reason: "PermissionDenied" };
    const started = performance.now();
    await assert.rejects(query(client, within(20_000)), {
      code: "KMIP_RESULT",
      message: /Permission Denied/,
    });
    assert.ok(performance.now() - started < 10_000);
  });

  test("with the time, where a connection was lost once and the server is silent from then on", async () => {
    const client = await clientOf();
    await query(client);
    kms.faults.silent = true;
    setTimeout(() => kms.cutConnections(), 20);
    await assert.rejects(query(client, within(400)), { code: "TIMEOUT" });
    resetFaults(kms.faults);
  });

  test("after a few replies that answer something else, long before its time ends", async () => {
    const client = await clientOf();
    let tries = 0;
    const sending = client.send(() => {
      tries += 1;
      return {
        calls: [call(queryOperation, { queryFunctions: [QueryFunction.QueryOperations] })],
        read: (reply) => reply.payload(0, locateOperation),
      };
    }, within(60_000));
    await assert.rejects(sending, { code: "KMIP_UNEXPECTED", message: /Operation: is Query, not Locate/ });
    assert.equal(tries, 2);
  });

  test("when the client is closed, and every socket is gone then", async () => {
    const client = await clientOf();
    await query(client);
    kms.faults.silent = true;
    const underWay = query(client);
    const failed = assert.rejects(underWay, { code: "SHUTTING_DOWN" });
    await client.close();
    await failed;
    await eventually(() => kms.connections() === 0, "the server sees no connection");
  });

  test("where no server is given, at once", () => {
    assert.throws(() => createKmipClient({ servers: [] }), RangeError);
  });
});

describe("events", () => {
  test("tell each exchange with its sizes, its time, its server and the caller's mark", async () => {
    const client = await clientOf();
    await query(client, { ...within(3000), uid: "mark" });
    const exchanges = client.events.filter((event) => event.type === "exchange");
    assert.deepEqual(
      exchanges.map(({ operation, outcome, uid, endpoint }) => [operation, outcome, uid, endpoint]),
      [
        ["DiscoverVersions", "ok", undefined, kms.kmipAddress],
        ["Query", "ok", "mark", kms.kmipAddress],
      ],
    );
    for (const { requestBytes, replyBytes, durationMs } of exchanges)
      assert.ok(requestBytes > 0 && replyBytes > 0 && durationMs > 0);
  });

  test("tell a failed exchange with its code, also where no connection was had", async () => {
    const client = await clientOf();
    kms.faults.refuse = { operation: "Query", reason: "GeneralFailure" };
    await assert.rejects(query(client));
    await kms.stop();
    await eventually(() => client.counts().idle === 0, "the connection is gone");
    await assert.rejects(query(client, within(60)));
    await kms.start();
    const failed = client.events.filter((event) => event.type === "exchange" && event.outcome !== "ok");
    assert.deepEqual(
      failed.map((event) => (event.type === "exchange" ? [event.operation, event.outcome] : [])),
      [
        ["Query", "KMIP_RESULT"],
        ["Connect", "CONNECT"],
      ],
    );
  });

  test("hold each message as a dump in words, without the plaintext, made only when asked for", async () => {
    const key = kms.keys.create({ name: "events" });
    const client = await clientOf();
    const data = Buffer.from("a seed that nobody may see ......");
    await client.send(
      () => ({
        calls: [
          call(encryptOperation, {
            uniqueIdentifier: key.id,
            cryptographicParameters: {
              blockCipherMode: BlockCipherMode.GCM,
              cryptographicAlgorithm: CryptographicAlgorithm.AES,
              ivLength: 12,
              tagLength: 16,
            },
            data,
            ivCounterNonce: Buffer.alloc(12, 7),
          }),
        ],
        read: (reply) => reply.payload(0, encryptOperation),
      }),
      within(3000),
    );
    const dumps = client.events.flatMap((event) => (event.type === "message" ? [event.dump()] : []));
    assert.equal(dumps.length, 4);
    assert.match(dumps[2] ?? "", /Operation.*Encrypt/);
    for (const dump of dumps)
      for (const form of ["utf8", "hex", "base64"] as const)
        assert.ok(!dump.includes(data.toString(form)), `the plaintext is in a dump, as ${form}`);
  });
});
