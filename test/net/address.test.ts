/** Addresses as people write them, and what is said of those that can't be right. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  isLoopback,
  isRestAddress,
  parseKmipAddress,
  parseKmipAddresses,
  parseListenAddress,
  parseRestAddress,
  parseRestAddresses,
  parseServerName,
} from "../../src/net/address.ts";

type Result = { readonly value: unknown } | { readonly complaint: string };

function namesOf(parsed: { readonly value: readonly { readonly name: string }[] } | Result): unknown {
  return "value" in parsed && Array.isArray(parsed.value) ? parsed.value.map(({ name }) => name) : parsed;
}

function complaintOf(parsed: Result): string {
  return "complaint" in parsed ? parsed.complaint : "";
}

for (const [text, servers] of [
  ["kms.example:5696", ["kms.example:5696"]],
  ["kms.example", ["kms.example:5696"]],
  ["192.0.2.7:1", ["192.0.2.7:1"]],
  ["[2001:db8::7]:5696", ["[2001:db8::7]:5696"]],
  ["[::1]", ["[::1]:5696"]],
  ["a:1,b:2", ["a:1", "b:2"]],
  [" a:1 , b ", ["a:1", "b:5696"]],
  ["a:1,a:1", ["a:1"]],
  ["under_score.example.:5696", ["under_score.example.:5696"]],
  ["KMS.Example:1,kms.example:1", ["kms.example:1"]],
  ["[fe80::1%eth0]:1", ["[fe80::1%eth0]:1"]],
] as const)
  test(`the KMIP address ${text} is ${servers.join(" and ")}`, () => {
    assert.deepEqual(namesOf(parseKmipAddresses(text)), servers);
  });

for (const [text, complaint] of [
  ["https://kms.example", /is a URL: kmip takes host:5696/],
  ["2001:db8::7", /is not host:port \(an IPv6 address is written/],
  ["[nonsense]:5696", /is not host:port/],
  ["kms.example:65536", /is not host:port/],
  ["kms.example:x", /is not host:port/],
  ["kms.example:0", /has port 0/],
  ["[fe80::1%]:5696", /is not host:port/],
  [":5696", /is not host:port/],
  ["kms:", /is not host:port/],
  ["kms:5696:5696", /is not host:port/],
  ["::1", /is not host:port/],
  ["[::1", /is not host:port/],
  ["user@kms.example:5696", /is not host:port/],
  ["a:1,,b:1", /has an empty part/],
  ["a b:1", /is not host:port/],
  // A port alone, and what inet_aton(3) takes for an IPv4 address.
  ["5696", /is not host:port/],
  ["127.1:5696", /is not host:port/],
  ["0x7f.1:5696", /is not host:port/],
  ["127.0.0.01:5696", /is not host:port/],
  ["kms..example:5696", /is not host:port/],
  ["kms.example..:5696", /is not host:port/],
  ["kms.example:5696/kmip", /is not host:port/],
  ["a:1;b:2", /is not host:port/],
] as const)
  test(`the KMIP address ${text} is refused`, () => {
    assert.match(complaintOf(parseKmipAddresses(text)), complaint);
    assert.throws(() => parseKmipAddress(text), { code: "CONFIG" });
  });

for (const [text, name, origin, pathPrefix] of [
  ["https://kms.example", "kms.example:443", "https://kms.example", ""],
  ["https://kms.example/", "kms.example:443", "https://kms.example", ""],
  ["https://kms.example.", "kms.example.:443", "https://kms.example", ""],
  ["https://kms.example:8443/base/path//", "kms.example:8443", "https://kms.example:8443", "/base/path"],
  ["https://[2001:db8::7]/okms", "[2001:db8::7]:443", "https://[2001:db8::7]", "/okms"],
  ["https://[::1]:8443", "[::1]:8443", "https://[::1]:8443", ""],
] as const)
  test(`the REST address ${text} is ${name}, with the origin ${origin}`, () => {
    const address = parseRestAddress(text);
    assert.deepEqual([address.name, address.origin, address.pathPrefix], [name, origin, pathPrefix]);
    assert.ok(isRestAddress(address));
  });

test("several REST addresses are kept in their order", () => {
  assert.deepEqual(namesOf(parseRestAddresses("https://a, https://b/p,https://a")), ["a:443", "b:443"]);
});

for (const [text, host, serverName] of [
  ["kms.example:1", "kms.example", "kms.example"],
  ["kms.example.:1", "kms.example.", "kms.example"],
  ["192.0.2.7:1", "192.0.2.7", "192.0.2.7"],
  ["[2001:db8::7]:1", "2001:db8::7", "2001:db8::7"],
  ["[fe80::1%eth0]:1", "fe80::1%eth0", "fe80::1"],
] as const)
  test(`${text} is dialled as ${host}, and its certificate must be for ${serverName}`, () => {
    const address = parseKmipAddress(text);
    assert.deepEqual([address.host, address.serverName, address.port], [host, serverName, 1]);
    assert.ok(!isRestAddress(address));
  });

test("a server name takes the place of the host for the certificate and for the Host header, not for the dial", () => {
  const options = { serverName: "kms.example" };
  assert.deepEqual(parseKmipAddress("10.0.0.1:1", options), {
    name: "10.0.0.1:1",
    host: "10.0.0.1",
    port: 1,
    serverName: "kms.example",
  });
  assert.deepEqual(parseRestAddress("https://10.0.0.1:8443/p", options), {
    name: "10.0.0.1:8443",
    host: "10.0.0.1",
    port: 8443,
    serverName: "kms.example",
    origin: "https://kms.example:8443",
    pathPrefix: "/p",
  });
});

for (const [text, name] of [
  ["kms.example", "kms.example"],
  ["KMS.example.", "kms.example"],
  ["10.0.0.1", "10.0.0.1"],
  ["2001:db8::7", "2001:db8::7"],
  ["[2001:db8::7]", "2001:db8::7"],
] as const)
  test(`the server name ${text} is ${name}`, () => {
    assert.deepEqual(parseServerName(text), { value: name });
  });

for (const text of ["kms.example:5696", "https://kms.example", "*.example", "a b", "kms\n"])
  test(`${JSON.stringify(text)} is no server name`, () => {
    assert.match(complaintOf(parseServerName(text)), /without a port/);
  });

for (const [text, complaint] of [
  ["kms.example", /is not a URL: rest takes https:\/\/host/],
  ["https://", /is not a URL/],
  ["http://kms.example", /is not https/],
  ["http://127.0.0.1:1", /is not https/],
  ["ftp://kms.example", /is not https/],
  ["https://kms.example:0", /has port 0/],
  ["https://kms.example:65536", /is not a URL/],
  ["https://a!b", /has a host that cannot be one/],
  ["https://[fe80::1%25eth0]", /IPv6 zone id/],
  ["https://kms.example/?a=b", /after \? or #/],
  ["https://kms.example/#a", /after \? or #/],
] as const)
  test(`the REST address ${text} is refused`, () => {
    assert.match(complaintOf(parseRestAddresses(text)), complaint);
    assert.throws(() => parseRestAddress(text), { code: "CONFIG" });
  });

test("http:// is allowed to loopback only, and only when asked for", () => {
  for (const url of ["http://127.0.0.1:80", "http://localhost", "http://[::1]:81"])
    assert.ok("value" in parseRestAddresses(url, { insecureHttp: true }), url);
  for (const url of ["http://192.0.2.7", "http://localhost.example"])
    assert.match(complaintOf(parseRestAddresses(url, { insecureHttp: true })), /is not https/);
});

test("an address with a password is refused without printing it", () => {
  for (const [parsed, complaint] of [
    [parseRestAddresses("https://me:hunter2@kms.example"), /user name or a password/],
    [parseRestAddresses("me:hunter2@kms.example"), /"…@kms\.example" is not a URL/],
    [parseKmipAddresses("me:hunter2@127.0.0.1:5696"), /"…@127\.0\.0\.1:5696" is not host:port/],
    [parseKmipAddresses("kmip://me:hunter2@kms.example"), /"kmip:\/\/…@kms\.example" is a URL/],
    [parseKmipAddresses("kms.example,me:hunter2@kms.example,"), /is not host:port/],
  ] as const) {
    assert.ok("complaint" in parsed);
    assert.match(parsed.complaint, complaint);
    assert.doesNotMatch(parsed.complaint, /hunter2/);
  }
});

for (const [text, host, port] of [
  ["127.0.0.1:8088", "127.0.0.1", 8088],
  [":8088", "127.0.0.1", 8088],
  ["8088", "127.0.0.1", 8088],
  ["[::1]:0", "::1", 0],
  ["0.0.0.0:80", "0.0.0.0", 80],
] as const)
  test(`the listen address ${text} is ${host} port ${port}`, () => {
    const name = text.includes("[") ? `[${host}]:${port}` : `${host}:${port}`;
    assert.deepEqual(parseListenAddress(text), { value: { name, host, port } });
  });

for (const text of ["", "localhost", "localhost:", ":99999", "::1:80", "http://localhost:80"])
  test(`${JSON.stringify(text)} is no listen address`, () => {
    assert.match(complaintOf(parseListenAddress(text)), /is not host:port/);
  });

test("loopback is 127/8, ::1 and localhost", () => {
  for (const host of ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"])
    assert.ok(isLoopback(host), host);
  for (const host of ["0.0.0.0", "::", "127.example", "10.0.0.1", ""]) assert.ok(!isLoopback(host), host);
});
