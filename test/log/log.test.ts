/** The log: both formats, what is escaped, what is redacted, errors as fields, and repeats folded by the minute. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import path from "node:path";
import { PassThrough, Writable } from "node:stream";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { ProviderError } from "../../src/errors.ts";
import { createLogger } from "../../src/log/log.ts";
import type { Logger, LoggerOptions } from "../../src/log/log.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

interface Log {
  readonly logger: Logger;
  /** Lines written so far. */
  lines(): string[];
  /** The same, parsed. */
  objects(): Record<string, unknown>[];
}

function createLog(options: Partial<LoggerOptions> = {}): Log {
  let written = "";
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      written += chunk.toString();
      done();
    },
  });
  const logger = createLogger({ level: "info", format: "json", stream, ...options });
  const lines = (): string[] => {
    logger.flush();
    return written.split("\n").slice(0, -1);
  };
  return {
    logger,
    lines,
    objects: () => lines().map((line) => JSON.parse(line) as Record<string, unknown>),
  };
}

function freezeTime(t: TestContext): void {
  t.mock.timers.enable({ apis: ["Date", "setTimeout"], now: Date.UTC(2030, 0, 2, 3, 4, 5, 678) });
}

test("a JSON line has time, level, message and fields, in this order", (t) => {
  freezeTime(t);
  const { logger, lines } = createLog();
  logger.info("hello", { a: 1, b: true, c: "x y", d: 12n, e: undefined });
  assert.deepEqual(lines(), [
    '{"time":"2030-01-02T03:04:05.678Z","level":"info","msg":"hello","a":1,"b":true,"c":"x y","d":"12"}',
  ]);
});

test("a field cannot take the place of time, level or message", () => {
  const { logger, objects } = createLog();
  logger.info("hello", { msg: "forged", level: "error", time: "never" });
  assert.equal(objects()[0]?.["msg"], "hello");
  assert.equal(objects()[0]?.["level"], "info");
  assert.notEqual(objects()[0]?.["time"], "never");
});

test("a text line has time, level, message and fields, quoted where they must be", (t) => {
  freezeTime(t);
  const { logger, lines } = createLog({ format: "text" });
  logger.info("hello there", { path: "/run/a.sock", text: 'with "quotes"', none: undefined, empty: "" });
  assert.deepEqual(lines(), [
    String.raw`2030-01-02T03:04:05.678Z INFO  hello there path=/run/a.sock text="with \"quotes\"" empty=""`,
  ]);
});

for (const format of ["text", "json"] as const)
  test(`nothing in a value can begin a new ${format} line or steer a terminal`, () => {
    const { logger, lines } = createLog({ format });
    const hostile = "a\nlevel=error\r\u001b[2Jb\u0085c\u2028d\u202ee\u007f";
    logger.info(`message ${hostile}`, { uid: hostile });
    assert.equal(lines().length, 1);
    // oxlint-disable-next-line no-control-regex -- these are what is looked for
    assert.doesNotMatch(lines()[0] ?? "", /[\u0000-\u001f\u007f-\u009f\u2028\u202e]/);
  });

test("what is escaped in JSON reads back as it was", () => {
  const { logger, objects } = createLog();
  logger.info("m", { uid: "a\u0085\u2028\u202e\n" });
  assert.equal(objects()[0]?.["uid"], "a\u0085\u2028\u202e\n");
});

for (const format of ["text", "json"] as const)
  test(`a PEM that gets as far as a ${format} log is taken out, a long or broken one too`, () => {
    const { logger, lines } = createLog({ format, level: "trace" });
    const body = "MC4CAQAwBQYDK2VwBCIEIN".repeat(100);
    const pem = `-----BEGIN PRIVATE KEY-----\n${body}\n-----END PRIVATE KEY-----`;
    logger.trace(`message ${pem}`, { field: pem, half: pem.slice(0, 80), dump: pem }, new Error(pem));
    const text = lines().join("\n");
    assert.match(text, /\[PEM\]/);
    assert.doesNotMatch(text, /MC4CAQ|BEGIN/);
  });

test("a long value is cut", () => {
  const { logger, lines } = createLog();
  logger.info("m", { field: "x".repeat(100_000) });
  assert.ok((lines()[0] ?? "").length < 1_200);
});

test("a dump is written below its line in text, and as one field in JSON", () => {
  const text = createLog({ format: "text", level: "trace" });
  text.logger.trace("sent", { endpoint: "a:1", dump: "first\n  second\u001b\n" });
  assert.deepEqual(text.lines().slice(1), ["    first", String.raw`      second\u001b`]);
  const json = createLog({ level: "trace" });
  json.logger.trace("sent", { dump: "first\n  second" });
  assert.equal(json.objects()[0]?.["dump"], "first\n  second");
});

const levels = ["error", "warn", "info", "debug", "trace"] as const;
for (const [index, level] of levels.entries())
  test(`at level ${level} what is less important is not written`, () => {
    const { logger, objects } = createLog({ level });
    for (const each of levels) logger[each](`a ${each}`);
    assert.deepEqual(
      objects().map((line) => line["level"]),
      levels.slice(0, index + 1),
    );
    for (const [other, each] of levels.entries()) assert.equal(logger.enabled(each), other <= index);
  });

test("an error of this program is written with its message, code, details and causes", () => {
  const { logger, objects } = createLog();
  const cause = new Error("below", { cause: new Error("at the bottom") });
  const error = new ProviderError("TLS", "no luck", { details: { endpoint: "a:1" }, cause });
  logger.error("it failed", { method: "Status" }, error);
  const { time, ...line } = objects()[0] ?? {};
  assert.equal(typeof time, "string");
  assert.deepEqual(line, {
    level: "error",
    msg: "it failed",
    method: "Status",
    endpoint: "a:1",
    code: "TLS",
    error: "no luck",
    cause: "below ← at the bottom",
  });
});

test("an error that nobody expected is written with where it came from", () => {
  const { logger, objects } = createLog();
  logger.error("it failed", {}, new TypeError("x is not a function"));
  assert.equal(objects()[0]?.["error"], "x is not a function");
  assert.match(String(objects()[0]?.["stack"]), /^at .*log\.test\.ts/);
});

test("an error of the system is written without: its own words say what failed, on what and why", () => {
  const { logger, objects } = createLog();
  assert.throws(
    () => readFileSync("/nowhere/file"),
    (error) => {
      logger.warn("it failed", {}, error);
      return true;
    },
  );
  assert.equal(objects()[0]?.["error"], "ENOENT: no such file or directory, open '/nowhere/file' [ENOENT]");
  assert.equal(objects()[0]?.["stack"], undefined);
});

test("causes that go round, many errors in one, and what is no error at all are bearable", () => {
  const { logger, objects } = createLog();
  const round = new Error("round");
  round.cause = round;
  logger.error("a", {}, round);
  const many = Array.from({ length: 100 }, (_, index) =>
    Object.assign(new Error(`e${index}`), { code: "ECODE" }),
  );
  logger.error("b", {}, new AggregateError(many, "all"));
  logger.error("c", {}, "just text");
  logger.error("d", {}, null);
  assert.ok(objects().length === 4 && objects().every((line) => JSON.stringify(line).length < 3_000));
  assert.match(String(objects()[1]?.["cause"]), /^e0 \[ECODE\]; e1/);
  assert.equal(objects()[2]?.["error"], "just text");
});

test("a repeated failure is written at once, then once a minute with the count", (t) => {
  freezeTime(t);
  const { logger, objects } = createLog();
  const told = (): unknown[] => objects().map(({ uid, repeated }) => [uid, repeated]);
  for (let second = 0; second < 59; second += 1) {
    logger.warn("no answer", { uid: `u${second}` }, new ProviderError("TIMEOUT", `waited ${second} ms`));
    t.mock.timers.tick(1_000);
  }
  assert.deepEqual(told(), [["u0", undefined]]);
  t.mock.timers.tick(1_000);
  assert.deepEqual(told(), [
    ["u0", undefined],
    ["u58", 58],
  ]);
  logger.warn("no answer", { uid: "later" }, new ProviderError("TIMEOUT", "waited 7 ms"));
  assert.equal(objects().length, 2);
  t.mock.timers.tick(60_000);
  assert.deepEqual(told()[2], ["later", 1]);
  t.mock.timers.tick(60_000);
  assert.equal(objects().length, 3);
  logger.warn("no answer", { uid: "again" }, new ProviderError("TIMEOUT", "waited 8 ms"));
  assert.deepEqual(told()[3], ["again", undefined]);
});

test("different problems do not hide one another", (t) => {
  freezeTime(t);
  const { logger, lines } = createLog();
  logger.warn("no answer", { endpoint: "a:1" });
  logger.warn("no answer", { endpoint: "b:1" });
  logger.error("no answer", { endpoint: "a:1" });
  logger.warn("another", { endpoint: "a:1" });
  logger.warn("no answer", { endpoint: "a:1" }, new ProviderError("TLS", "x"));
  logger.warn("no answer", { endpoint: "a:1" }, new ProviderError("CLOSED", "x"));
  assert.equal(lines().length, 6);
});

test("two servers or files are two problems, by however little their names differ", (t) => {
  freezeTime(t);
  const { logger, lines } = createLog();
  for (const endpoint of ["10.0.0.1:5696", "10.0.0.2:5696", "kms1:5696", "kms2:5696"])
    logger.warn("the KMS can't be reached", { endpoint, reason: "no answer for 2950 ms" });
  for (const file of ["/etc/1.pem", "/etc/2.pem"]) logger.warn("Could not load certificate", { file });
  assert.equal(lines().length, 6);
  logger.warn("the KMS can't be reached", { endpoint: "kms1:5696", reason: "no answer for 3000 ms" });
  assert.equal(lines().length, 6, "another time is no other reason");
  logger.warn("the KMS can't be reached", { endpoint: "kms1:5696", reason: "connection refused" });
  assert.equal(lines().length, 7);
});

test("what was folded is told before the same server is well, with the time of writing and of the last", (t) => {
  freezeTime(t);
  const { logger, objects } = createLog();
  const problem = (endpoint: string): void => logger.warn("can't be reached", { endpoint });
  for (let second = 0; second < 3; second += 1) {
    problem("a:1");
    problem("b:1");
    t.mock.timers.tick(1_000);
  }
  logger.info("in use", { endpoint: "a:1" });
  problem("a:1");
  const told = objects().slice(2);
  assert.deepEqual(
    told.map(({ msg, endpoint, repeated }) => [msg, endpoint, repeated]),
    [
      ["can't be reached", "a:1", 2],
      ["in use", "a:1", undefined],
      ["can't be reached", "a:1", undefined],
    ],
  );
  const [folded, after] = told;
  assert.equal(folded?.["time"], after?.["time"]);
  assert.equal(Date.parse(String(after?.["time"])) - Date.parse(String(folded?.["last"])), 1_000);
});

test("a server that is well and is not, by turns, fills no log: in both states it is told once a minute", (t) => {
  freezeTime(t);
  const { logger, objects } = createLog({ level: "debug" });
  for (let turn = 0; turn < 600; turn += 1) {
    logger.warn("can't be reached", { endpoint: "a:1" });
    logger.debug("exchange", { endpoint: "a:1" });
    logger.info("in use", { endpoint: "a:1" });
    t.mock.timers.tick(100);
  }
  t.mock.timers.tick(60_000);
  const told = objects().filter(({ msg }) => msg !== "exchange");
  assert.equal(objects().length - told.length, 600);
  assert.ok(told.length <= 14, `${told.length} lines in two minutes`);
  for (const message of ["can't be reached", "in use"]) {
    const lines = told.filter(({ msg }) => msg === message);
    assert.equal(
      lines.reduce((sum, { repeated }) => sum + Number(repeated ?? 1), 0),
      600,
    );
  }
  logger.info("in use", { endpoint: "a:1" });
  assert.equal(objects().at(-1)?.["repeated"], undefined);
});

test("what is folded at the end is told, each failure with its count, and nothing a second time", (t) => {
  freezeTime(t);
  const { logger, objects } = createLog();
  for (let i = 0; i < 4; i += 1) logger.warn("refused", { endpoint: "a:1" });
  for (let i = 0; i < 3; i += 1) logger.error("broken", { endpoint: "b:1" });
  logger.warn("once", { endpoint: "c:1" });
  logger.settle();
  logger.settle();
  t.mock.timers.tick(120_000);
  assert.deepEqual(
    objects().map(({ msg, repeated }) => [msg, repeated]),
    [
      ["refused", undefined],
      ["broken", undefined],
      ["once", undefined],
      ["refused", 3],
      ["broken", 2],
    ],
  );
});

test("calls that were taken back are folded, though they are information", (t) => {
  freezeTime(t);
  const { logger, objects } = createLog();
  for (let index = 0; index < 1_000; index += 1)
    logger.info(
      "call failed",
      { method: "Encrypt", uid: `u${index}` },
      new ProviderError("CANCELED", "left"),
    );
  assert.equal(objects().length, 1);
});

test("what is no failure is never folded", () => {
  const { logger, lines } = createLog({ level: "trace" });
  for (let index = 0; index < 5; index += 1)
    for (const level of ["info", "debug", "trace"] as const) logger[level]("call answered");
  assert.equal(lines().length, 15);
});

test("problems without number are bearable, and none is lost without its count", (t) => {
  freezeTime(t);
  const { logger, objects } = createLog();
  // Numbers do not tell problems apart; letters do.
  for (let index = 0; index < 1_000; index += 1) {
    logger.warn(String.fromCodePoint(0x4e00 + index));
    logger.warn(String.fromCodePoint(0x4e00 + index));
  }
  t.mock.timers.tick(60_000);
  const count = objects().reduce((sum, { repeated }) => sum + Number(repeated ?? 1), 0);
  assert.equal(count, 2_000);
});

test("however many problems repeat, no more than 256 are watched", (t) => {
  const { logger } = createLog();
  // The sink has its timer by now.
  logger.info("first");
  const set = t.mock.method(globalThis, "setTimeout");
  const cleared = t.mock.method(globalThis, "clearTimeout");
  for (let index = 0; index < 1_000; index += 1) {
    logger.warn(String.fromCodePoint(0x4e00 + index));
    logger.warn(String.fromCodePoint(0x4e00 + index));
  }
  assert.equal(set.mock.callCount() - cleared.mock.callCount(), 256);
});

test("a stream that breaks loses its lines and nothing else", async () => {
  const stream = new PassThrough();
  const { logger } = createLog({ stream });
  const closed = new Promise((resolve) => {
    stream.once("close", resolve);
  });
  stream.destroy(new Error("EPIPE"));
  await closed;
  logger.info("into the void");
  logger.error("and again");
});

test("while nobody reads the log its memory is bounded, and what was lost is counted", async () => {
  const stream = new PassThrough();
  const logger = createLogger({ level: "info", format: "json", stream });
  const field = "x".repeat(1000);
  for (let line = 0; line < 5000; line += 1) logger.info("line", { field });
  assert.ok(stream.writableLength + stream.readableLength < 2 << 20, `${stream.writableLength} bytes wait`);
  const read: string[] = [];
  stream.setEncoding("utf8").on("data", (text: string) => read.push(text));
  while (stream.writableLength > 0) await new Promise(setImmediate);
  logger.info("read again");
  logger.flush();
  while (stream.writableLength > 0) await new Promise(setImmediate);
  const lines = read
    .join("")
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line) as { msg: string; lines?: number });
  const told = lines.find(({ msg }) => msg === "lines of the log were lost");
  assert.equal(lines.filter(({ msg }) => msg === "line").length + (told?.lines ?? 0), 5000);
  assert.equal(lines.at(-1)?.msg, "read again");
});

test("a log that is no terminal has no colours", () => {
  const { logger, lines } = createLog({ format: "text" });
  logger.warn("m", { a: 1 });
  assert.match(lines()[0] ?? "", /^[\d:.TZ-]+ WARN {2}m a=1$/);
});

function word(index: number): string {
  return String.fromCodePoint(0x4e00 + index);
}

test("ever new words of a server do not fill the log; its code, method and first reasons tell failures apart", (t) => {
  freezeTime(t);
  const { logger, objects } = createLog();
  for (let index = 0; index < 1000; index += 1)
    logger.warn(
      "call failed",
      { method: "Encrypt", grpc: "Internal" },
      new ProviderError("KMIP_RESULT", `the KMS says ${word(index)}`, {
        details: { reason: "General Failure" },
      }),
    );
  assert.equal(objects().length, 1);
  for (let index = 0; index < 1000; index += 1)
    logger.warn("the KMS can't be reached", { endpoint: "a:1", reason: word(index) });
  assert.equal(objects().length, 1 + 8 + 1);
  logger.warn("call failed", { method: "Decrypt", grpc: "Internal" }, new ProviderError("KMIP_RESULT", "x"));
  assert.equal(objects().length, 11);
  t.mock.timers.tick(60_000);
  const count = objects().reduce((sum, { repeated }) => sum + Number(repeated ?? 1), 0);
  assert.equal(count, 2001);
});

test("lines of some milliseconds are written together, at once where one is an error or they are many", async () => {
  const written = Promise.withResolvers<void>();
  const writes: string[] = [];
  const stream = new Writable({
    decodeStrings: false,
    write(chunk: string, _encoding, done) {
      writes.push(chunk);
      done();
      written.resolve();
    },
  });
  const logger = createLogger({ level: "info", format: "text", stream });
  for (let index = 0; index < 3; index += 1) logger.info(`line ${index}`);
  assert.equal(writes.length, 0);
  await written.promise;
  assert.equal(writes.length, 1);
  assert.match(writes[0] ?? "", /line 0\n.*line 1\n.*line 2\n$/);
  logger.info("before");
  logger.error("an error");
  assert.match(writes[1] ?? "", /before\n.*an error\n$/);
  for (let index = 0; index < 100; index += 1) logger.info("x".repeat(1000));
  assert.equal(writes.length, 3);
  logger.flush();
  assert.equal(writes.length, 4);
});

test("lines that a stream refuses are counted, and reported with the reason when it takes lines again", async () => {
  let isFull = true;
  const taken: string[] = [];
  // As process.stderr: an error does not end it.
  const write = (text: string, done: (error?: Error) => void): boolean => {
    if (!isFull) taken.push(text);
    done(isFull ? Object.assign(new Error("no space"), { code: "ENOSPC" }) : undefined);
    return true;
  };
  const stream = Object.assign(new PassThrough(), { write });
  const logger = createLogger({ level: "info", format: "json", stream });
  for (let index = 0; index < 5; index += 1) {
    logger.info("lost");
    logger.flush();
    await new Promise(setImmediate);
  }
  isFull = false;
  logger.info("kept");
  logger.flush();
  const objects = taken
    .join("")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  assert.deepEqual(
    objects.map(({ msg, lines, reason }) => [msg, lines, reason]),
    [
      ["lines of the log were lost", 5, "ENOSPC"],
      ["kept", undefined, undefined],
    ],
  );
});

test("a full disk: what was not written is counted, and no line is torn", { skip: isRootMissing() }, (t) => {
  const folder = temporaryFolder(t);
  const script = `
    const { createLogger } = await import(${JSON.stringify(path.resolve("src/log/log.ts"))});
    const logger = createLogger({ level: "info", format: "json" });
    for (let i = 0; i < 300; i += 1) logger.info("line " + i, { text: "x".repeat(900) });
    logger.flush();
    (await import("node:fs")).unlinkSync(${JSON.stringify(path.join(folder, "filler"))});
    logger.info("there is room again");
  `;
  const run = `mount -t tmpfs -o size=256k none ${folder} || exit 77
    head -c 100k /dev/zero > ${folder}/filler
    "$0" --input-type=module -e "$1" 2> ${folder}/log; cat ${folder}/log; umount ${folder}`;
  const result = spawnSync("unshare", ["-m", "bash", "-c", run, process.execPath, script], {
    encoding: "utf8",
    maxBuffer: 1 << 24,
  });
  if (result.status === 77) {
    t.skip("no file system can be mounted here");
    return;
  }
  const lines = result.stdout.trim().split("\n");
  const whole = lines.flatMap((line) => {
    try {
      return [JSON.parse(line) as { msg: string; lines?: number; reason?: string }];
    } catch {
      return [];
    }
  });
  assert.equal(whole.at(-1)?.msg, "there is room again");
  const report = whole.find(({ msg }) => msg === "lines of the log were lost");
  assert.equal(report?.reason, "ENOSPC");
  assert.equal(whole.filter(({ msg }) => msg.startsWith("line ")).length + (report?.lines ?? 0), 300);
  assert.ok(lines.length - whole.length <= 1, "one line at most is torn");
});

function isRootMissing(): string | false {
  return process.getuid?.() === 0 ? false : "only root can mount a small disk";
}

for (const format of ["text", "json"] as const)
  test(`journald gets the priority of each ${format} line, where JOURNAL_STREAM names the stream`, () => {
    const script = `
      const { fstatSync } = await import("node:fs");
      const { createLogger } = await import(${JSON.stringify(path.resolve("src/log/log.ts"))});
      const { dev, ino } = fstatSync(2);
      for (const [stream, prefix] of [[dev + ":" + ino, "to"], ["8:1", "not"]]) {
        const logger = createLogger({ level: "trace", format: "${format}", env: { JOURNAL_STREAM: stream } });
        for (const level of ["error", "warn", "info", "debug"]) logger[level](prefix + " the journal");
        logger.trace(prefix + " the journal", { dump: "one\\ntwo" });
        logger.flush();
      }
    `;
    const { stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", script], {
      encoding: "utf8",
    });
    const lines = stderr.trim().split("\n");
    const priorities = lines.map((line) => /^<(\d)>/.exec(line)?.[1] ?? "");
    const expected = format === "text" ? ["3", "4", "6", "7", "7", "7", "7"] : ["3", "4", "6", "7", "7"];
    assert.deepEqual(priorities, [...expected, ...expected.map(() => "")]);
  });

for (const [what, end, status] of [
  ["process.exit", "process.exit(3)", 3],
  ["an uncaught failure", "throw new Error('uncaught')", 1],
  ["the end of its work", "", 0],
] as const)
  test(`every line is written before ${what} ends the process`, () => {
    const script = `
      const { createLogger } = await import(${JSON.stringify(path.resolve("src/log/log.ts"))});
      const logger = createLogger({ level: "info", format: "json" });
      for (let i = 0; i < 20; i += 1) logger.info("line");
      ${end}
    `;
    const run = spawnSync(process.execPath, ["--input-type=module", "-e", script], { encoding: "utf8" });
    assert.equal(run.status, status);
    assert.equal(run.stderr.split("\n").filter((line) => line.includes('"msg":"line"')).length, 20);
  });
