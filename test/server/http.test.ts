/** The operator's HTTP endpoint over real sockets: what it answers, what it refuses, and that it breaks nothing. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { connect } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import { describe, test } from "node:test";
import type { TestContext } from "node:test";
import { ProviderError } from "../../src/errors.ts";
import { keyIdHash } from "../../src/text/key-id-hash.ts";
import { createMetrics } from "../../src/metrics.ts";
import type { HttpEndpoint, HttpEndpointOptions } from "../../src/server/http.ts";
import { startHttpEndpoint } from "../../src/server/http.ts";
import type { KeySnapshot } from "../../src/server/key/key-status.ts";
import { parseExposition } from "../exposition.ts";
import { createMemoryLogger } from "./harness.ts";
import type { MemoryLogger } from "./harness.ts";

const well: KeySnapshot = {
  state: "ok",
  keyId: "b3f1c6de-0000-4000-8000-aabbccddeeff",
  healthz: "ok",
  lastGoodProbe: new Date("2026-01-02T03:04:05Z"),
  lastDeepProbe: new Date("2026-01-02T03:00:00Z"),
};

interface Started {
  readonly endpoint: HttpEndpoint;
  readonly logger: MemoryLogger;
  readonly url: string;
}

function addressOf(host: string, port = 0): HttpEndpointOptions["address"] {
  return { name: `${host}:${port}`, host, port };
}

async function start(
  t: TestContext,
  change: Partial<HttpEndpointOptions> & { readonly snapshot?: KeySnapshot } = {},
): Promise<Started> {
  const logger = createMemoryLogger();
  const endpoint = await startHttpEndpoint({
    address: addressOf("127.0.0.1"),
    status: { snapshot: () => change.snapshot ?? well },
    metrics: createMetrics({ version: "test", protocol: "kmip" }),
    logger,
    reach: () => "listening",
    ...change,
  });
  t.after(() => endpoint.close());
  return { endpoint, logger, url: `http://${endpoint.address() ?? "unbound"}` };
}

async function get(
  url: string,
  init?: RequestInit,
): Promise<{ status: number; text: string; headers: Headers }> {
  const response = await fetch(url, init);
  return { status: response.status, text: await response.text(), headers: response.headers };
}

/** Sends bytes as they are and reads to the end of the connection. */
async function sendRaw(endpoint: HttpEndpoint, bytes: string): Promise<string> {
  const port = Number(endpoint.address()?.split(":").at(-1));
  const socket = connect(port, "127.0.0.1");
  let reply = "";
  socket.on("data", (chunk) => {
    reply += chunk.toString("latin1");
  });
  socket.on("error", () => undefined);
  await once(socket, "connect");
  socket.end(bytes);
  await once(socket, "close");
  return reply;
}

describe("/livez", () => {
  test("is 200 while the socket is listened on, whatever the key's state", async (t) => {
    const { url } = await start(t, { snapshot: { state: "permanent", healthz: "the key is destroyed" } });
    const { status, text } = await get(`${url}/livez`);
    assert.deepEqual([status, text], [200, "ok\n"]);
  });

  test("is 503 while the socket is not listened on", async (t) => {
    const { url } = await start(t, { reach: () => "missing" });
    assert.equal((await get(`${url}/livez`)).status, 503);
  });
});

describe("/readyz", () => {
  const rows: readonly (readonly [KeySnapshot["state"], number])[] = [
    ["unknown", 503],
    ["ok", 200],
    ["grace", 200],
    ["transient", 503],
    ["permanent", 503],
  ];
  for (const [state, expected] of rows) {
    test(`is ${expected} in the state ${state}`, async (t) => {
      const healthz = expected === 200 ? "ok" : "the KMS cannot be reached [CONNECT]";
      const { url } = await start(t, { snapshot: { ...well, state, healthz } });
      const { status, text } = await get(`${url}/readyz`);
      assert.deepEqual([status, text], [expected, `${healthz}\n`]);
    });
  }

  test("is 503 while the socket is not listened on, though the key is well", async (t) => {
    const { url } = await start(t, { reach: () => "missing" });
    assert.equal((await get(`${url}/readyz`)).status, 503);
  });

  test("is 503 while another process has the socket, and /livez is 200: a restart would take it back", async (t) => {
    const { url } = await start(t, { reach: () => "taken over" });
    const { status, text } = await get(`${url}/readyz`);
    assert.deepEqual([status, text], [503, "another process has taken over the socket\n"]);
    assert.match(
      (await get(`${url}/readyz?verbose`)).text,
      /^\[-\]socket failed: another process has taken over the socket$/m,
    );
    assert.equal((await get(`${url}/livez`)).status, 200);
  });

  test("lists the parts when asked to be verbose, the key as its hash", async (t) => {
    const { url } = await start(t);
    const { status, text } = await get(`${url}/readyz?verbose`);
    assert.equal(status, 200);
    assert.deepEqual(text.split("\n"), [
      "[+]socket ok",
      "[+]key ok",
      "state: ok",
      `key_id_hash: ${keyIdHash(well.keyId ?? "")}`,
      "last good probe: 2026-01-02T03:04:05.000Z",
      "last deep probe: 2026-01-02T03:00:00.000Z",
      "readyz check passed",
      "",
    ]);
    assert.doesNotMatch(text, /b3f1c6de/);
  });

  test("names the part that failed when verbose, and the code of the failure but not its details", async (t) => {
    const failure = new ProviderError("CONNECT", "nothing listens on kms.internal:5696", { retryable: true });
    const snapshot: KeySnapshot = {
      state: "transient",
      healthz: "the KMS cannot be reached [CONNECT]",
      failure,
    };
    const { url } = await start(t, { snapshot });
    const { status, text } = await get(`${url}/readyz?verbose=1`);
    assert.equal(status, 503);
    assert.match(text, /^\[-\]key failed: the KMS cannot be reached \[CONNECT\]$/m);
    assert.match(text, /^failure: CONNECT$/m);
    assert.match(text, /^key_id_hash: none yet$/m);
    assert.match(text, /^readyz check failed$/m);
    assert.doesNotMatch(text, /kms\.internal/);
  });
});

describe("/metrics", () => {
  test("is the exposition, with its media type", async (t) => {
    const { url } = await start(t);
    const { status, text, headers } = await get(`${url}/metrics`);
    assert.equal(status, 200);
    assert.match(headers.get("content-type") ?? "", /^text\/plain; version=0\.0\.4/);
    assert.ok(parseExposition(text).has("okms_encryption_provider_build_info"));
  });

  test("is 500 without a reason where it cannot be made, and the reason is logged", async (t) => {
    const failing = { contentType: "text/plain", render: () => Promise.reject(new Error("inner detail")) };
    const { url, logger } = await start(t, { metrics: failing });
    const { status, text } = await get(`${url}/metrics`);
    assert.deepEqual([status, text], [500, "internal error\n"]);
    const line = logger.lines.find(({ level }) => level === "error");
    assert.match(String(line?.error), /inner detail/);
    assert.equal((await get(`${url}/livez`)).status, 200);
  });
});

describe("the HTTP endpoint", () => {
  for (const path of ["/", "/healthz", "/metrics/", "/../etc/passwd", "/livez%00", "//livez"]) {
    test(`is 404 for ${path}`, async (t) => {
      const { endpoint } = await start(t);
      const reply = await sendRaw(endpoint, `GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
      assert.match(reply, /^HTTP\/1\.1 404 /);
    });
  }

  for (const method of ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"]) {
    test(`refuses ${method} with 405 and says what is allowed`, async (t) => {
      const { url } = await start(t);
      const { status, headers } = await get(`${url}/livez`, { method });
      assert.equal(status, 405);
      assert.equal(headers.get("allow"), "GET, HEAD");
    });
  }

  test("answers HEAD as GET, without the text", async (t) => {
    const { url } = await start(t);
    const { status, text, headers } = await get(`${url}/livez`, { method: "HEAD" });
    assert.deepEqual([status, text, headers.get("content-length")], [200, "", "3"]);
  });

  test("lets nothing be stored or guessed", async (t) => {
    const { url } = await start(t);
    const { headers } = await get(`${url}/readyz`);
    assert.equal(headers.get("cache-control"), "no-store");
    assert.equal(headers.get("x-content-type-options"), "nosniff");
  });

  const garbage: readonly (readonly [what: string, bytes: string, reply: RegExp])[] = [
    ["garbage", "\u0000\u0001\u0002\r\n\r\n", /^HTTP\/1\.1 400 /],
    [
      "headers beyond 8 KiB",
      `GET /livez HTTP/1.1\r\nHost: x\r\nA: ${"a".repeat(9000)}\r\n\r\n`,
      /^HTTP\/1\.1 431 /,
    ],
    ["a client that leaves in mid-request", "GET /livez HT", /^$|^HTTP\/1\.1 400 /],
    ["no Host header", "GET /livez HTTP/1.1\r\n\r\n", /^HTTP\/1\.1 400 /],
  ];
  for (const [what, bytes, reply] of garbage) {
    test(`survives ${what}`, async (t) => {
      const { endpoint, url } = await start(t);
      assert.match(await sendRaw(endpoint, bytes), reply);
      assert.equal((await get(`${url}/livez`)).status, 200);
    });
  }

  test("says nothing of an address on loopback", async (t) => {
    const { logger } = await start(t);
    assert.ok(!logger.lines.some(({ level }) => level === "warn"));
  });

  test("warns where other machines can reach it", async (t) => {
    const { logger } = await start(t, { address: addressOf("0.0.0.0") });
    assert.ok(
      logger.lines.some(({ level, message }) => level === "warn" && message.includes("other machines")),
    );
  });

  test("logs a port that is taken, goes on, and ends when told", async (t) => {
    const taken = createServer().listen(0, "127.0.0.1");
    await once(taken, "listening");
    t.after(() => taken.close());
    const { port } = taken.address() as AddressInfo;
    const { endpoint, logger } = await start(t, { address: addressOf("127.0.0.1", port) });
    assert.equal(endpoint.address(), undefined);
    assert.ok(logger.lines.some(({ level, error }) => level === "error" && /EADDRINUSE/.test(String(error))));
    await endpoint.close();
  });

  test("takes a port that was taken once it is free", async (t) => {
    t.mock.timers.enable({ apis: ["setTimeout"] });
    const taken = createServer().listen(0, "127.0.0.1");
    await once(taken, "listening");
    const { port } = taken.address() as AddressInfo;
    const { endpoint, logger } = await start(t, { address: addressOf("127.0.0.1", port) });
    taken.close();
    await once(taken, "close");
    t.mock.timers.tick(5000);
    await logger.waitFor(({ message }) => message === "the HTTP endpoint listens");
    assert.equal(endpoint.address(), `127.0.0.1:${port}`);
  });

  test("accepts each new connection and keeps one that is in use, however many others hold connections", async (t) => {
    const { endpoint, url } = await start(t);
    const port = Number(endpoint.address()?.split(":").at(-1));
    const ask = "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n";
    const open = async (): Promise<Socket> => {
      const socket = connect(port, "127.0.0.1").on("error", () => undefined);
      t.after(() => socket.destroy());
      socket.write(ask);
      await once(socket, "data");
      return socket;
    };
    const kept = await open();
    for (let index = 0; index < 200; index += 1) {
      await open();
      if (index % 10 !== 0) continue;
      const answered = once(kept, "data");
      kept.write(ask);
      await answered;
      assert.equal((await get(`${url}/livez`)).status, 200);
    }
  });

  test("closes a client that sends thousands of requests at once, and answers others meanwhile", async (t) => {
    let rendered = 0;
    const metrics = createMetrics({ version: "test", protocol: "kmip" });
    const render = (): Promise<string> => {
      rendered += 1;
      return metrics.render();
    };
    const { endpoint, url } = await start(t, { metrics: { render, contentType: metrics.contentType } });
    const many = "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n".repeat(4000);
    for (let round = 0; round < 5; round += 1) {
      const socket = connect(Number(endpoint.address()?.split(":").at(-1)), "127.0.0.1");
      socket.on("error", () => undefined).resume();
      // Not events.once, which rejects where the connection is reset before it is closed.
      const closed = new Promise((resolve) => socket.once("close", resolve));
      socket.write(many);
      await closed;
      assert.equal((await get(`${url}/livez`)).status, 200);
    }
    assert.ok(rendered <= 5, `rendered ${rendered} times`);
  });

  test("gives scrapes of the same second the same page, and later ones a new one", async (t) => {
    let rendered = 0;
    const render = async (): Promise<string> => `page ${(rendered += 1)}\n`;
    const { url } = await start(t, { metrics: { render, contentType: "text/plain" } });
    const texts = await Promise.all(
      Array.from({ length: 10 }, async () => (await get(`${url}/metrics`)).text),
    );
    assert.deepEqual([...new Set(texts)], ["page 1\n"]);
    const now = performance.now();
    t.mock.method(performance, "now", () => now + 2000);
    assert.equal((await get(`${url}/metrics`)).text, "page 2\n");
  });

  test("answers one request after another on one connection", async (t) => {
    const { endpoint } = await start(t);
    const socket = connect(Number(endpoint.address()?.split(":").at(-1)), "127.0.0.1");
    t.after(() => socket.destroy());
    for (let index = 0; index < 100; index += 1) {
      const answered = once(socket, "data");
      socket.write("GET /livez HTTP/1.1\r\nhost: x\r\n\r\n");
      assert.match(String(await answered), /^HTTP\/1\.1 200 /);
    }
  });

  test("ends with its connections open, at once and twice", async (t) => {
    const { endpoint } = await start(t);
    const socket = connect(Number(endpoint.address()?.split(":").at(-1)), "127.0.0.1");
    await once(socket, "connect");
    const closed = once(socket, "close");
    socket.on("error", () => undefined);
    await endpoint.close();
    await closed;
    await endpoint.close();
    assert.equal(endpoint.address(), undefined);
  });
});
