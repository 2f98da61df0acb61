/**
 * What breaks around a process that serves: no file descriptor is left, the reader of the log is gone, clients reset their
 * connections. kube-apiserver's connection survives each, and each is counted, and logged where there is a log.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { connect } from "node:net";
import { after, before, type TestContext, test } from "node:test";
import { KeyManagementService } from "../../gen/kms/v2/api_pb.ts";
import { type DevKms, startDevKms } from "../devkms/devkms.ts";
import { grpcClient } from "../server/harness.ts";
import { frame, openSession, openStream, replyOf } from "../server/raw-http2.ts";
import { flagList, kmipFlagsOf, roundTrip, type Serving, serving } from "./serving.ts";

let kms: DevKms;
before(async () => {
  kms = await startDevKms({ rest: false });
  kms.keys.create({ name: "etcd" });
});
after(() => kms.close());

interface Watched extends Serving {
  /** A value of the page of metrics; 0 where there is no such series. */
  metric(series: string): Promise<number>;
  /** As kube-apiserver does, over one HTTP/2 session for the whole test: it has to survive. */
  status(): Promise<void>;
}

async function watched(t: TestContext): Promise<Watched> {
  const it = await serving(t, [...flagList(kmipFlagsOf(kms)), "--http-addr", "127.0.0.1:0"]);
  const { address } = await it.program.untilLogged("the HTTP endpoint listens");
  await it.program.untilLogged("the key is healthy");
  const session = await openSession(t, it.sock);
  const metric = async (series: string): Promise<number> => {
    const page = await (await fetch(`http://${String(address)}/metrics`)).text();
    const line = page.split("\n").find((one) => one.startsWith(`okms_encryption_provider_${series} `));
    return Number(line?.split(" ").at(-1) ?? 0);
  };
  const status = async (): Promise<void> => {
    assert.equal(session.closed || session.destroyed, false, "the session was closed");
    const reply = await replyOf(openStream(session, "Status").end(frame(new Uint8Array())));
    assert.equal(reply.status, 0);
  };
  await status();
  await roundTrip(it);
  return { ...it, metric, status };
}

/** Until a condition holds; the page of metrics is shared for a second. */
async function until(holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds())) await new Promise(setImmediate);
}

test("no file descriptor is left (EMFILE): new connections are closed, which is logged and counted; the others go on", async (t) => {
  const it = await watched(t);
  const limit = (files: number): void => {
    execFileSync("prlimit", ["--pid", String(it.program.pid), `--nofile=${files}:`]);
  };
  const used = new Set(readdirSync(`/proc/${it.program.pid}/fd`).map(Number));
  let free = 0;
  while (used.has(free)) free += 1;
  limit(free);
  const refused = connect({ path: it.sock });
  refused.on("error", () => undefined);
  await once(refused, "close");
  const line = await it.program.untilLogged(/^no file descriptor is left/);
  assert.equal(line.level, "error");
  await it.status();
  await roundTrip(it);
  limit(1024);
  await it.program.untilLogged("file descriptors are free again");
  await roundTrip({ client: grpcClient(t, `unix:${it.sock}`) });
  await it.status();
  assert.ok((await it.metric('rejected_total{reason="connection"}')) >= 1);
});

test("the reader of the log is gone (EPIPE): calls go on, the lost lines are counted, and the end comes as asked", async (t) => {
  const it = await watched(t);
  assert.equal(await it.metric("log_lines_lost_total"), 0);
  it.program.closeStderr();
  for (let call = 0; call < 20; call += 1) await roundTrip(it);
  await until(async () => (await it.metric("log_lines_lost_total")) >= 20);
  await it.status();
  it.program.kill("SIGTERM");
  assert.equal((await it.program.ended).code, 0);
});

test("clients that reset their connections (ECONNRESET, EPIPE) cost others nothing, and are counted", async (t) => {
  const it = await watched(t);
  const { encrypt } = KeyManagementService.method;
  for (let turn = 0; turn < 30; turn += 1) {
    const session = await openSession(t, it.sock);
    const body = frame(Buffer.concat([Buffer.from([0x0a, 32]), randomBytes(32)]));
    for (let call = 0; call < 5; call += 1) openStream(session, encrypt.name).end(body);
    // Half of them with replies that nobody reads, half before any reply.
    if (turn % 2 === 0) await once(session, "remoteSettings");
    session.destroy();
    const raw = connect({ path: it.sock });
    raw.on("error", () => undefined);
    raw.end("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnot a frame");
    if (turn % 10 === 0) await roundTrip(it);
  }
  await it.status();
  await roundTrip(it);
  // Whoever leaves before the reply is a canceled call; the half of a preface is a session that failed.
  await until(async () => (await it.metric('requests_total{method="Encrypt",code="Canceled"}')) > 0);
  await until(async () => (await it.metric('rejected_total{reason="session"}')) > 0);
  assert.equal(await it.metric('rejected_total{reason="unexpected"}'), 0);
  assert.doesNotMatch(it.program.stderr(), /please report|uncaught/);
});
