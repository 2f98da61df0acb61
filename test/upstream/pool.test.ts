/** The pool by itself: connections whose reply is overdue, those that are retired, and how many there are of all of them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { anyConnection } from "../../src/upstream/pool.ts";
import { eventually, startEchoServer } from "../kmip/echo-server.ts";
import { poolOf } from "./harness.ts";

const none = { idle: 0, busy: 0, connecting: 0 };

test("A reply that is overdue closes the connections that were idle before, and no other", async () => {
  await using server = await startEchoServer();
  await using before = poolOf(server, { maxConnections: 4 });
  const [idle, overdue, busy] = await Promise.all([1, 2, 3].map(() => before.checkOut()));
  assert.ok(idle && overdue && busy);
  idle.release(true);
  await sleep(2);
  before.pool.doubt(overdue.member, performance.now());
  await idle.connection.closed;
  assert.equal(busy.connection.isOpen, true);
  assert.equal(overdue.connection.isOpen, true);
  assert.deepEqual(before.pool.counts(), { idle: 0, busy: 2, connecting: 0 });
});

test("Where an older connection was answered on since then, an overdue reply closes none", async () => {
  await using server = await startEchoServer();
  await using before = poolOf(server, { maxConnections: 4 });
  const [idle, overdue, proven] = await Promise.all([1, 2, 3].map(() => before.checkOut()));
  assert.ok(idle && overdue && proven);
  idle.release(true);
  await sleep(2);
  const sentAt = performance.now();
  await sleep(2);
  proven.release(true);
  before.pool.doubt(overdue.member, sentAt);
  assert.deepEqual(before.pool.counts(), { idle: 2, busy: 1, connecting: 0 });
  assert.equal(idle.connection.isOpen, true);
});

test("A connection whose reply is overdue takes no request, and takes them again once it was answered", async () => {
  await using server = await startEchoServer();
  await using before = poolOf(server, { maxConnections: 2 });
  const slow = await before.checkOut();
  before.pool.doubt(slow.member, performance.now());
  assert.equal(before.pool.tryAcquire(anyConnection), undefined);
  slow.release(true);
  const again = before.pool.tryAcquire(anyConnection);
  assert.equal(again?.connection, slow.connection);
  assert.equal(slow.connection.isOpen, true);
});

test("A connection whose request was given up while its reply was overdue is not lent again", async () => {
  await using server = await startEchoServer();
  await using before = poolOf(server, { maxConnections: 2 });
  const slow = await before.checkOut();
  before.pool.doubt(slow.member, performance.now());
  slow.release(false);
  const next = await before.checkOut();
  assert.notEqual(next.connection, slow.connection);
});

test("Connections whose reply is overdue count toward the maximum: one is closed to make room for another", async () => {
  await using server = await startEchoServer();
  await using before = poolOf(server, { maxConnections: 2 });
  const [first, second] = await Promise.all([before.checkOut(), before.checkOut()]);
  before.pool.doubt(first.member, performance.now());
  const third = await before.checkOut();
  assert.equal(first.connection.isOpen, false);
  assert.equal(second.connection.isOpen, true);
  assert.equal(third.connection.isOpen, true);
  assert.ok(server.mostConnections() <= 2, `${server.mostConnections()} connections at a time`);
});

test("A retired connection counts until it is closed, finishes what it carries, and takes nothing more", async () => {
  await using server = await startEchoServer();
  await using before = poolOf(server, { maxConnections: 1 });
  const first = await before.checkOut();
  before.pool.retire(first.member, "the test wants it");
  assert.equal(first.connection.isOpen, true);
  first.release(true);
  await first.connection.closed;
  const second = await before.checkOut();
  assert.notEqual(second.connection, first.connection);
  second.release(true);
  assert.equal(server.mostConnections(), 1);
});

test("A request may want a connection that was opened or answered on since a moment", async () => {
  await using server = await startEchoServer();
  await using before = poolOf(server, { maxConnections: 2 });
  const old = await before.checkOut();
  old.release(false);
  await sleep(2);
  const since = performance.now();
  const fresh = await before.checkOut(undefined, { since, isNew: false });
  assert.notEqual(fresh.connection, old.connection);
  fresh.release(true);
  const again = await before.checkOut(undefined, { since, isNew: false });
  assert.equal(again.connection, fresh.connection);
  again.release(true);
  const isNew = await before.checkOut(undefined, { since: performance.now(), isNew: true });
  assert.notEqual(isNew.connection, fresh.connection);
  isNew.release(true);
  assert.ok(server.mostConnections() <= 2, `${server.mostConnections()} connections at a time`);
});

test("Requests on the wire are no more than the window, whatever connections there are", async () => {
  await using server = await startEchoServer();
  let window = 1;
  await using before = poolOf(server, { window: () => window });
  const first = await before.checkOut();
  assert.equal(before.pool.tryAcquire({ since: 0, isNew: false }), undefined);
  const waiting = before.checkOut();
  assert.equal(server.accepted(), 1);
  first.release(true);
  const second = await waiting;
  assert.equal(second.connection, first.connection);
  window = 2;
  const third = await before.checkOut();
  assert.notEqual(third.connection, second.connection);
});

test("Connections that reach their maximum age are closed once they are idle", async () => {
  await using server = await startEchoServer();
  await using before = poolOf(server, { maxAgeMs: 40 });
  const [idle, busy] = await Promise.all([before.checkOut(), before.checkOut()]);
  idle.release(true);
  await idle.connection.closed;
  await sleep(60);
  assert.equal(busy.connection.isOpen, true);
  busy.release(true);
  assert.match((await busy.connection.closed).message, /maximum age/);
  await eventually(() => server.connections() === 0, "the server sees no connection");
  assert.deepEqual(before.pool.counts(), none);
});
