/** Which proxy is used for which server, as Go's programs decide, and what a tunnel through one comes to. */
import assert from "node:assert/strict";
import { createServer, type AddressInfo } from "node:net";
import { once } from "node:events";
import { test, type TestContext } from "node:test";
import { inspect } from "node:util";
import { parseRestAddress } from "../../src/net/address.ts";
import { openTunnel, type ProxyEnvironment, proxyFor } from "../../src/net/proxy.ts";
import { startConnectProxy } from "../support/connect-proxy.ts";
import { startSilentServer } from "../support/silent-server.ts";

const proxy = "http://proxy.test:3128";

function nameOf(url: string, env: ProxyEnvironment): string | undefined {
  const parsed = proxyFor(parseRestAddress(url), env);
  assert.ok("value" in parsed, inspect(parsed));
  return parsed.value?.name;
}

const table: readonly (readonly [url: string, env: ProxyEnvironment, expected: string | undefined])[] = [
  ["https://kms.test", {}, undefined],
  ["https://kms.test", { HTTPS_PROXY: proxy }, proxy],
  ["https://kms.test", { https_proxy: proxy }, proxy],
  ["https://kms.test", { HTTPS_PROXY: "proxy.test:3128" }, proxy],
  ["https://kms.test", { HTTPS_PROXY: "https://proxy.test" }, "https://proxy.test:443"],
  ["https://kms.test", { HTTPS_PROXY: "http://user:p%40ss@proxy.test" }, "http://proxy.test:80"],
  ["https://kms.test", { HTTP_PROXY: proxy, ALL_PROXY: proxy }, undefined],
  ["https://localhost", { HTTPS_PROXY: proxy }, undefined],
  ["https://127.0.0.1:8443", { HTTPS_PROXY: proxy }, undefined],
  ["https://[::1]", { HTTPS_PROXY: proxy }, undefined],
  ["https://kms.test", { HTTPS_PROXY: proxy, NO_PROXY: "*" }, undefined],
  ["https://kms.test", { HTTPS_PROXY: proxy, NO_PROXY: "kms.test" }, undefined],
  ["https://kms.test", { HTTPS_PROXY: proxy, no_proxy: "a, KMS.test" }, undefined],
  ["https://kms.test.", { HTTPS_PROXY: proxy, NO_PROXY: "kms.test" }, undefined],
  ["https://a.kms.test", { HTTPS_PROXY: proxy, NO_PROXY: "kms.test" }, undefined],
  ["https://notkms.test", { HTTPS_PROXY: proxy, NO_PROXY: "kms.test" }, proxy],
  ["https://kms.test", { HTTPS_PROXY: proxy, NO_PROXY: ".kms.test" }, proxy],
  ["https://a.kms.test", { HTTPS_PROXY: proxy, NO_PROXY: ".kms.test" }, undefined],
  ["https://a.kms.test", { HTTPS_PROXY: proxy, NO_PROXY: "*.kms.test" }, undefined],
  ["https://kms.test", { HTTPS_PROXY: proxy, NO_PROXY: "kms.test:443" }, undefined],
  ["https://kms.test:8443", { HTTPS_PROXY: proxy, NO_PROXY: "kms.test:443" }, proxy],
  ["https://192.0.2.7", { HTTPS_PROXY: proxy, NO_PROXY: "192.0.2.7" }, undefined],
  ["https://192.0.2.7", { HTTPS_PROXY: proxy, NO_PROXY: "192.0.2.0/24" }, undefined],
  ["https://192.0.3.7", { HTTPS_PROXY: proxy, NO_PROXY: "192.0.2.0/24" }, proxy],
  ["https://[2001:db8::7]", { HTTPS_PROXY: proxy, NO_PROXY: "2001:db8::/32" }, undefined],
  ["https://[2001:db8::7]", { HTTPS_PROXY: proxy, NO_PROXY: "2001:db8::7" }, undefined],
  ["https://[2001:db8::7]:8443", { HTTPS_PROXY: proxy, NO_PROXY: "[2001:db8::7]:443" }, proxy],
  ["https://kms.test", { HTTPS_PROXY: proxy, NO_PROXY: ",, /24, 999.1.1.1/8, [, :443" }, proxy],
];

for (const [url, env, expected] of table)
  test(`${url} with ${JSON.stringify(env)} goes ${expected === undefined ? "directly" : `through ${expected}`}`, () => {
    assert.equal(nameOf(url, env), expected);
  });

for (const value of [
  "socks5://proxy.test",
  "ftp://proxy.test",
  "http://",
  "http://user:%zz@proxy.test",
  "http://a b",
])
  test(`HTTPS_PROXY=${value} is refused in words that do not repeat it`, () => {
    const parsed = proxyFor(parseRestAddress("https://kms.test"), { https_proxy: value });
    assert.deepEqual(parsed, {
      complaint:
        "Invalid value for https_proxy: not the URL of an HTTP proxy, as http://proxy.example.net:3128 (SOCKS is not supported)",
    });
  });

async function tunnelTo(url: string): Promise<string> {
  const parsed = proxyFor(parseRestAddress("https://kms.test:8443"), { HTTPS_PROXY: url });
  assert.ok("value" in parsed && parsed.value !== undefined);
  const socket = await openTunnel(parsed.value, parseRestAddress("https://kms.test:8443"));
  const [data] = (await once(socket, "data")) as [Buffer];
  socket.destroy();
  return data.toString();
}

async function startGreeter(t: TestContext): Promise<string> {
  const server = createServer((socket) => socket.on("error", () => undefined).end("hello"));
  await once(server.listen(0, "127.0.0.1"), "listening");
  t.after(() => server.close());
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test("a tunnel leads to the server by its name, and carries what it sends", async (t) => {
  const { url, tunnels } = await startConnectProxy(t, await startGreeter(t));
  assert.equal(await tunnelTo(url), "hello");
  assert.deepEqual(tunnels, ["kms.test:8443"]);
});

test("user name and password are sent to the proxy, and shown nowhere", async (t) => {
  const authorization = `Basic ${Buffer.from("user:p@ss").toString("base64")}`;
  const { url } = await startConnectProxy(t, await startGreeter(t), authorization);
  const withUser = url.replace("//", "//user:p%40ss@");
  assert.equal(await tunnelTo(withUser), "hello");
  const parsed = proxyFor(parseRestAddress("https://kms.test"), { HTTPS_PROXY: withUser });
  const shown = `${JSON.stringify(parsed)} ${inspect(parsed, { depth: 9 })}`;
  assert.doesNotMatch(shown, /p@ss|p%40ss|Basic/);
});

test("a proxy that refuses, that is away, or that is none says so, with its name and the server's", async (t) => {
  const { url } = await startConnectProxy(t, await startGreeter(t), "Basic x");
  await assert.rejects(tunnelTo(url), {
    code: "CONNECT",
    message: `cannot connect to kms.test:8443 through the proxy ${url}: it requires a user name and a password (status 407)`,
  });
  await assert.rejects(tunnelTo(url.replace("//", "//user:hunter2@")), {
    message: `cannot connect to kms.test:8443 through the proxy ${url}: it does not accept the user name and the password of HTTPS_PROXY (status 407)`,
  });
  await assert.rejects(tunnelTo("http://127.0.0.1:1"), { code: "CONNECT", message: /ECONNREFUSED/ });
  const greeter = await startGreeter(t);
  await assert.rejects(tunnelTo(`http://${greeter}`), {
    code: "CONNECT",
    message: /through the proxy .*: it does not speak HTTP \(compare the port/,
  });
  const silent = await startSilentServer(t);
  await assert.rejects(tunnelTo(`http://${silent.address}`), { code: "CONNECT", message: /does not answer/ });
});

test("a SOCKS proxy, which closes the connection, is no HTTP proxy that answers", async (t) => {
  const server = createServer((socket) => socket.once("data", () => socket.destroy()));
  t.after(() => server.close());
  await once(server.listen(0, "127.0.0.1"), "listening");
  await assert.rejects(tunnelTo(`http://127.0.0.1:${(server.address() as AddressInfo).port}`), {
    code: "CONNECT",
    message: /through the proxy .*: it closed the connection without an answer$/,
  });
});

for (const [reply, message] of [
  ["403 Forbidden", /: it does not allow connections to that server \(status 403\)$/],
  ["503 Service Unavailable", /: it cannot reach that server \(status 503\)$/],
  [
    "407 Who Are You\r\nProxy-Authenticate: Negotiate",
    /requires authentication by Negotiate, and only Basic is supported/,
  ],
  ["302 Found\r\nLocation: http://login.test/", /it answered with status 302$/],
] as const)
  test(`a proxy that replies ${reply.slice(0, 3)} says so`, async (t) => {
    const server = createServer((socket) => {
      socket.on("error", () => undefined).once("data", () => socket.end(`HTTP/1.1 ${reply}\r\n\r\n`));
    });
    await once(server.listen(0, "127.0.0.1"), "listening");
    t.after(() => server.close());
    await assert.rejects(tunnelTo(`http://127.0.0.1:${(server.address() as AddressInfo).port}`), { message });
  });
