/** Addresses as people write them, and what is said of those that can't be right. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  isLoopback,
  parseKmipAddresses,
  parseListenAddress,
  parseRestUrls,
} from "../../src/net/addresses.ts";

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
] as const)
  test(`the KMIP address ${text} is ${servers.join(" and ")}`, () => {
    assert.deepEqual(parseKmipAddresses(text), { servers });
  });

for (const [text, complaint] of [
  ["https://kms.example", /is a URL: kmip takes host:5696/],
  ["2001:db8::7", /is not host:port \(an IPv6 address is written/],
  ["[nonsense]:5696", /is not host:port/],
  ["kms.example:65536", /is not host:port/],
  ["kms.example:x", /is not host:port/],
  ["kms.example:0", /has no port that can be dialled/],
  ["user@kms.example:5696", /is not host:port/],
  ["a:1,,b:1", /has an empty part/],
  ["a b:1", /is not host:port/],
] as const)
  test(`the KMIP address ${text} is refused`, () => {
    const parsed = parseKmipAddresses(text);
    assert.match("complaint" in parsed ? parsed.complaint : "", complaint);
  });

for (const [text, servers] of [
  ["https://kms.example", ["https://kms.example"]],
  ["https://kms.example/", ["https://kms.example"]],
  ["https://kms.example:8443/base/path//", ["https://kms.example:8443/base/path"]],
  ["https://a,https://b", ["https://a", "https://b"]],
  ["https://[::1]:8443", ["https://[::1]:8443"]],
] as const)
  test(`the REST address ${text} is ${servers.join(" and ")}`, () => {
    assert.deepEqual(parseRestUrls(text, false), { servers });
  });

for (const [text, complaint] of [
  ["kms.example", /is not a URL: rest takes https:\/\/host/],
  ["https://", /is not a URL/],
  ["http://kms.example", /is not https/],
  ["http://127.0.0.1:1", /is not https/],
  ["ftp://kms.example", /is not https/],
  ["https://kms.example/?a=b", /after \? or #/],
  ["https://kms.example/#a", /after \? or #/],
] as const)
  test(`the REST address ${text} is refused`, () => {
    const parsed = parseRestUrls(text, false);
    assert.match("complaint" in parsed ? parsed.complaint : "", complaint);
  });

test("http:// is allowed to loopback only, and only when asked for", () => {
  for (const url of ["http://127.0.0.1:80", "http://localhost", "http://[::1]:81"])
    assert.ok("servers" in parseRestUrls(url, true), url);
  assert.ok("complaint" in parseRestUrls("http://192.0.2.7", true));
  assert.ok("complaint" in parseRestUrls("http://localhost.example", true));
});

test("an address with a password is refused without printing it", () => {
  for (const [parsed, complaint] of [
    [parseRestUrls("https://me:hunter2@kms.example", false), /user name or password/],
    [parseRestUrls("me:hunter2@kms.example", false), /"…@kms\.example" is not a URL/],
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
  ["[::1]:0", "[::1]", 0],
  ["0.0.0.0:80", "0.0.0.0", 80],
] as const)
  test(`the listen address ${text} is ${host} port ${port}`, () => {
    assert.deepEqual(parseListenAddress(text), { host, port });
  });

for (const text of ["", "localhost", "localhost:", ":99999", "::1:80", "http://localhost:80"])
  test(`${JSON.stringify(text)} is no listen address`, () => {
    assert.equal(parseListenAddress(text), undefined);
  });

test("loopback is 127/8, ::1 and localhost", () => {
  for (const host of ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"])
    assert.ok(isLoopback(host), host);
  for (const host of ["0.0.0.0", "::", "127.example", "10.0.0.1", ""]) assert.ok(!isLoopback(host), host);
});
