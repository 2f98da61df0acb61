/** What answers as an etcd and is none: the read ends in an error, and never goes on for ever. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http2";
import type { AddressInfo } from "node:net";
import { test, type TestContext } from "node:test";
import { Code, ConnectError, createConnectRouter, type ServiceImpl } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { KV, Maintenance } from "../../gen/etcd/rpc_pb.ts";
import { ProviderError } from "../../src/errors.ts";
import { createLiveSource } from "../../src/etcd/live.ts";

const header = { clusterId: 7n, memberId: 1n, revision: 5n, raftTerm: 1n };
const kv = { key: Buffer.from("/registry/secrets/a/b"), value: Buffer.from("{}"), modRevision: 4n };

async function readFrom(t: TestContext, range: ServiceImpl<typeof KV>["range"]): Promise<number> {
  const routes = (router: ReturnType<typeof createConnectRouter>): void => {
    router.service(KV, { range });
    router.service(Maintenance, { status: () => ({ header, version: "3.6.0", leader: 1n }) });
  };
  const server = createServer(connectNodeAdapter({ routes })).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  const endpoints = [`http://127.0.0.1:${port}`];
  const source = createLiveSource({
    endpoints,
    secureContext: undefined,
    prefix: "/registry",
    retryMs: 300,
  });
  let count = 0;
  for await (const _ of source.read()) count += 1;
  return count;
}

function isError(code: string, pattern: RegExp): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof ProviderError);
    assert.equal(error.code, code);
    assert.match(error.message, pattern);
    return true;
  };
}

test("one that gives the same page again and again", async (t) => {
  const reading = readFrom(t, () => ({ header, kvs: [kv], more: true, count: 9n }));
  await assert.rejects(reading, isError("ETCD_DATA", /a page does not follow the one before/));
});

test("one that says there is more, and gives nothing", async (t) => {
  const reading = readFrom(t, () => ({ header, kvs: [], more: true, count: 9n }));
  await assert.rejects(reading, isError("ETCD_DATA", /a page does not follow the one before/));
});

test("one that refuses", async (t) => {
  const reading = readFrom(t, () => {
    throw new ConnectError("etcdserver: permission denied", Code.PermissionDenied);
  });
  await assert.rejects(reading, isError("ETCD_REFUSED", /PermissionDenied: "etcdserver: permission denied"/));
});

test("one that fails again and again is given up after the retry time", async (t) => {
  const reading = readFrom(t, () => {
    throw new ConnectError("etcdserver: no leader", Code.Unavailable);
  });
  await assert.rejects(reading, isError("CONNECT", /no etcd endpoint answers: .*"etcdserver: no leader"/));
});

test("one that fails once is asked again", async (t) => {
  let calls = 0;
  const count = await readFrom(t, () => {
    calls += 1;
    if (calls === 1) throw new ConnectError("etcdserver: no leader", Code.Unavailable);
    return { header, kvs: [kv], more: false, count: 1n };
  });
  assert.equal(count, 1);
});
