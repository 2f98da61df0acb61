/** `probe` against the real server, and against servers that kube-apiserver would not accept. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { symlink } from "node:fs/promises";
import { createServer as createHttp2Server } from "node:http2";
import { createServer } from "node:net";
import path from "node:path";
import { PassThrough } from "node:stream";
import { describe, test } from "node:test";
import type { TestContext } from "node:test";
import { createConnectRouter } from "@connectrpc/connect";
import type { ServiceImpl } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { KeyManagementService } from "../../gen/kms/v2/api_pb.ts";
import { endpointOf } from "../../src/cli/kms-endpoint.ts";
import { probeCommand } from "../../src/cli/probe.ts";
import type { ProbeOptions } from "../../src/cli/probe/run.ts";
import { runProbe } from "../../src/cli/probe/run.ts";
import { ProviderError } from "../../src/errors.ts";
import { keyIdHash } from "../../src/text/key-id-hash.ts";
import { startServer, temporaryFolder } from "../server/harness.ts";
import { runCommand } from "./run-command.ts";
import { createCollector } from "../support/collector.ts";

interface Ended {
  readonly code: number;
  readonly text: string;
}

async function probe(sock: string, change: Partial<ProbeOptions> = {}): Promise<Ended> {
  const { stream: stdout, text } = createCollector();
  const options = {
    sock,
    count: 1,
    concurrency: 1,
    timeoutMs: 3000,
    intervalMs: 100,
    isWatch: false,
    isJson: false,
  };
  const code = await runProbe({ ...options, ...change }, stdout);
  return { code, text: text() };
}

/** A plugin that answers as it is told; what is not told is right. */
async function startPlugin(
  t: TestContext,
  told: Partial<ServiceImpl<typeof KeyManagementService>>,
): Promise<string> {
  const seeds = new Map<string, Uint8Array>();
  const right: ServiceImpl<typeof KeyManagementService> = {
    status: () => ({ version: "v2", healthz: "ok", keyId: "key-1" }),
    encrypt: ({ plaintext }) => {
      const ciphertext = crypto.getRandomValues(new Uint8Array(48));
      seeds.set(Buffer.from(ciphertext).toString("hex"), plaintext);
      return { ciphertext, keyId: "key-1", annotations: { "iv.okms.ovh.com": new Uint8Array(12) } };
    },
    decrypt: ({ ciphertext }) => {
      const plaintext = seeds.get(Buffer.from(ciphertext).toString("hex")) ?? new Uint8Array(0);
      return { plaintext };
    },
  };
  const routes = connectNodeAdapter({
    routes: (router: ReturnType<typeof createConnectRouter>) =>
      router.service(KeyManagementService, { ...right, ...told }),
  });
  const server = createHttp2Server(routes);
  const sock = path.join(temporaryFolder(t), "plugin.sock");
  server.listen(sock);
  await once(server, "listening");
  t.after(() => server.close());
  return sock;
}

describe("probe of a plugin that is well", () => {
  test("prints a line a step and the times, and exits 0", async (t) => {
    const { socketPath } = await startServer(t);
    const { code, text } = await probe(socketPath);
    assert.equal(code, 0, text);
    assert.match(text, /^✔ Status {3}v2, healthz ok, key_id "key-1"$/m);
    assert.match(text, /^✔ Encrypt {2}32 bytes to 48, under the key that Status names, 1 annotation$/m);
    assert.match(text, /^✔ Decrypt {2}the same 32 bytes$/m);
    assert.match(text, /^ {2}times {4}Status \d+\.\d\d ms, Encrypt \d+\.\d\d ms, Decrypt \d+\.\d\d ms$/m);
  });

  test("runs every round that is asked for, some at once, and prints a table of times", async (t) => {
    const { socketPath, encryptor } = await startServer(t);
    await probe(socketPath);
    const before = encryptor.calls.encrypt;
    const { code, text } = await probe(socketPath, { count: 60, concurrency: 8 });
    assert.equal(code, 0, text);
    assert.equal(encryptor.calls.encrypt - before, 60);
    assert.match(text, /^ {2}ms +min +p50 +p99 +max {3}\(60 rounds\)$/m);
    for (const step of ["Status", "Encrypt", "Decrypt"]) {
      const cells = new RegExp(`^ {2}${step} +([\\d.]+) +([\\d.]+) +([\\d.]+) +([\\d.]+)$`, "m").exec(text);
      const numbers = cells?.slice(1).map(Number) ?? [];
      assert.equal(numbers.length, 4, text);
      assert.deepEqual(
        numbers,
        numbers.toSorted((a, b) => a - b),
      );
    }
  });

  test("sends fresh random bytes in each round", async (t) => {
    const seen = new Set<string>();
    const sock = await startPlugin(t, {
      encrypt: ({ plaintext, uid }) => {
        seen.add(Buffer.from(plaintext).toString("hex")).add(uid);
        assert.equal(plaintext.length, 32);
        return { ciphertext: new Uint8Array(48), keyId: "key-1", annotations: {} };
      },
    });
    await probe(sock, { count: 5 });
    assert.equal(seen.size, 10);
  });

  test("prints one JSON object with --json", async (t) => {
    const { socketPath } = await startServer(t);
    const { code, text } = await probe(socketPath, { isJson: true, count: 3 });
    const body = JSON.parse(text) as Record<string, unknown>;
    assert.equal(code, 0);
    assert.deepEqual([body["ok"], body["rounds"], body["failed"], body["failures"]], [true, 3, 0, []]);
    assert.equal(body["key_id_hash"], keyIdHash("key-1"));
    assert.deepEqual(Object.keys(body["ms"] as object), ["Status", "Encrypt", "Decrypt"]);
  });

  for (const form of ["path", "unix:// endpoint"]) {
    test(`takes the socket as a ${form}`, async (t) => {
      const { socketPath } = await startServer(t);
      const { code, text } = await probe(form === "path" ? socketPath : `unix://${socketPath}`);
      assert.equal(code, 0, text);
    });
  }

  test("takes an endpoint whose path is escaped, as kube-apiserver does", async (t) => {
    const { socketPath } = await startServer(t);
    const folder = path.join(path.dirname(socketPath), "a b");
    await symlink(path.dirname(socketPath), folder);
    const { code, text } = await probe(endpointOf(path.join(folder, path.basename(socketPath))));
    assert.equal(code, 0, text);
  });

  for (const prefix of ["@", "unix:///@"]) {
    test(`takes an abstract socket as ${prefix}name`, async (t) => {
      const name = `okms-test-${crypto.randomUUID()}`;
      await startServer(t, { socket: { path: `@${name}` } });
      const { code, text } = await probe(`${prefix}${name}`);
      assert.equal(code, 0, text);
    });
  }

  test("goes on with --watch, a line a run, until it is interrupted", async (t) => {
    const { socketPath } = await startServer(t);
    const stdout = new PassThrough();
    const options = {
      count: 1,
      concurrency: 1,
      timeoutMs: 3000,
      intervalMs: 1,
      isWatch: true,
      isJson: false,
    };
    const ended = runProbe({ ...options, sock: socketPath }, stdout);
    const lines: string[] = [];
    for await (const chunk of stdout) {
      lines.push(String(chunk));
      if (lines.length === 3) break;
    }
    process.emit("SIGTERM", "SIGTERM");
    assert.equal(await ended, 0);
    for (const line of lines)
      assert.match(
        line,
        /^\d{4}-\S+Z ✔ Status [\d.]+ ms, Encrypt [\d.]+ ms, Decrypt [\d.]+ ms, key sha256:\w{12}…\n$/,
      );
  });

  test("takes a rotation between Status and Encrypt for what it is", async (t) => {
    let asked = 0;
    const sock = await startPlugin(t, {
      status: () => {
        asked += 1;
        return { version: "v2", healthz: "ok", keyId: asked === 1 ? "key-0" : "key-1" };
      },
    });
    const { code, text } = await probe(sock);
    assert.equal(code, 0, text);
    assert.equal(asked, 2);
  });

  test("says nothing of times that one cold round had", async (t) => {
    const { socketPath, encryptor } = await startServer(t);
    await probe(socketPath);
    encryptor.delayMs = 30;
    assert.doesNotMatch((await probe(socketPath)).text, /Kubernetes recommends/);
  });

  test("notes a plugin that is slower than Kubernetes recommends, and exits 0 all the same", async (t) => {
    const { socketPath, encryptor } = await startServer(t);
    await probe(socketPath);
    encryptor.delayMs = 30;
    const { code, text } = await probe(socketPath, { count: 10, concurrency: 10 });
    assert.equal(code, 0, text);
    assert.match(text, /^! half of all Decrypt calls take more than [\d.]+ ms: .* less than 10 ms$/m);
  });
});

describe("probe of a plugin that is unhealthy", () => {
  test("says what healthz says, tries nothing further, and exits 1", async (t) => {
    const { socketPath } = await startServer(t, {
      prepare: (encryptor) => {
        encryptor.resolveError = new ProviderError("KEY_NOT_FOUND", "no key has this id");
      },
    });
    const { code, text } = await probe(socketPath);
    assert.equal(code, 1);
    assert.match(text, /^✖ Status {3}\w+: ".*KEY_NOT_FOUND.*"$/m);
    assert.match(text, /^ +→ .*check/m);
    assert.match(text, /^— Encrypt {2}skipped$/m);
    assert.match(text, /^— Decrypt {2}skipped$/m);
  });

  test("says the whole of a long healthz", async (t) => {
    const healthz = `${"the KMS is away; ".repeat(20)}last good probe 2026-01-01T00:00:00.000Z`;
    const sock = await startPlugin(t, { status: () => ({ version: "v2", healthz, keyId: "key-1" }) });
    const { text } = await probe(sock);
    assert.ok(text.includes(healthz), text);
  });

  test("says how many of the rounds failed, each reason once", async (t) => {
    let asked = 0;
    const sock = await startPlugin(t, {
      status: () => {
        asked += 1;
        return { version: "v2", healthz: asked % 2 === 0 ? "ok" : "not well", keyId: "key-1" };
      },
    });
    const { code, text } = await probe(sock, { count: 10 });
    assert.equal(code, 1);
    assert.match(text, /^✖ Status {3}healthz is "not well" \(5 of 10\)$/m);
    assert.equal(text.match(/✖/g)?.length, 1);
  });

  test("counts failures in JSON, with the step and what to do", async (t) => {
    const sock = await startPlugin(t, { status: () => ({ version: "v1", healthz: "ok", keyId: "k" }) });
    const { code, text } = await probe(sock, { count: 4, isJson: true });
    const body = JSON.parse(text) as {
      failed: number;
      failures: { step: string; count: number; advice: string }[];
    };
    assert.equal(code, 1);
    assert.equal(body.failed, 4);
    assert.deepEqual([body.failures[0]?.step, body.failures[0]?.count], ["Status", 4]);
    assert.notEqual(body.failures[0]?.advice, "");
  });

  type Told = Partial<ServiceImpl<typeof KeyManagementService>>;
  const ciphertext = new Uint8Array(48);
  const rows: readonly (readonly [what: string, told: Told, message: RegExp])[] = [
    [
      "a version other than v2",
      { status: () => ({ version: "v2beta1", healthz: "ok", keyId: "k" }) },
      /✖ Status .*"v2beta1", not "v2"/,
    ],
    [
      "no key_id",
      { status: () => ({ version: "v2", healthz: "ok", keyId: "" }) },
      /✖ Status .*key_id has 0 bytes/,
    ],
    [
      "a key_id of 1025 bytes",
      { status: () => ({ version: "v2", healthz: "ok", keyId: "k".repeat(1025) }) },
      /✖ Status .*key_id has 1025 bytes/,
    ],
    [
      "control characters in healthz",
      { status: () => ({ version: "v2", healthz: "\u001B[2J\nok", keyId: "k" }) },
      /✖ Status .*"\\u001b\[2J\\nok"/,
    ],
    [
      "another key_id from Encrypt",
      { encrypt: () => ({ ciphertext, keyId: "key-9", annotations: {} }) },
      /✖ Encrypt .*key_id is "key-9", but Status says "key-1"/,
    ],
    [
      "an empty ciphertext",
      { encrypt: () => ({ ciphertext: new Uint8Array(0), keyId: "key-1", annotations: {} }) },
      /✖ Encrypt .*ciphertext is empty/,
    ],
    [
      "a ciphertext of 1025 bytes",
      { encrypt: () => ({ ciphertext: new Uint8Array(1025), keyId: "key-1", annotations: {} }) },
      /✖ Encrypt .*1025 bytes, 1024/,
    ],
    [
      "an annotation that is no domain name",
      { encrypt: () => ({ ciphertext, keyId: "key-1", annotations: { iv: new Uint8Array(12) } }) },
      /✖ Encrypt .*domain name/,
    ],
    [
      "annotations that are too large",
      {
        encrypt: () => ({
          ciphertext,
          keyId: "key-1",
          annotations: { "a.example.com": new Uint8Array(32_768) },
        }),
      },
      /✖ Encrypt .*32768 are allowed/,
    ],
    [
      "the plaintext in the ciphertext",
      {
        encrypt: ({ plaintext }) => ({
          ciphertext: Buffer.concat([Buffer.from("x"), plaintext]),
          keyId: "key-1",
          annotations: {},
        }),
      },
      /✖ Encrypt .*holds the plaintext/,
    ],
    [
      "other bytes from Decrypt",
      { decrypt: () => ({ plaintext: new Uint8Array(32) }) },
      /✖ Decrypt .*other bytes/,
    ],
    [
      "fewer bytes from Decrypt",
      { decrypt: () => ({ plaintext: new Uint8Array(0) }) },
      /✖ Decrypt .*other bytes/,
    ],
  ];
  for (const [what, told, message] of rows) {
    test(`fails on ${what}`, async (t) => {
      const { code, text } = await probe(await startPlugin(t, told));
      assert.equal(code, 1, text);
      assert.match(text, message);
    });
  }

  test("gives up a call at its --timeout", async (t) => {
    const sock = await startPlugin(t, { status: () => new Promise(() => undefined) });
    const { code, text } = await probe(sock, { timeoutMs: 50 });
    assert.equal(code, 1);
    assert.match(text, /✖ Status .*no answer within 50 ms/);
    assert.match(text, /→ .*it hangs, or something else listens there/);
  });

  test("looks to the KMS where Status is answered and Encrypt is not", async (t) => {
    const sock = await startPlugin(t, { encrypt: () => new Promise(() => undefined) });
    const { text } = await probe(sock, { timeoutMs: 1000 });
    assert.match(text, /✖ Encrypt .*no answer within 1000 ms.*\n.*→ the KMS is slow or out of reach/);
  });
});

describe("probe where there is no plugin", () => {
  test("says that there is no socket", async (t) => {
    const { code, text } = await probe(path.join(temporaryFolder(t), "none.sock"));
    assert.equal(code, 1);
    assert.match(text, /✖ Status .*there is no socket \(".*none\.sock"\)\n +→ start the plugin/);
  });

  test("says that the file is not a socket", async (t) => {
    const file = path.join(temporaryFolder(t), "file");
    writeFileSync(file, "");
    const { code, text } = await probe(file);
    assert.equal(code, 1);
    assert.match(text, /✖ Status .*(nobody listens|not a socket)/);
  });

  test("says that something else listens there", async (t) => {
    const sock = path.join(temporaryFolder(t), "other.sock");
    const server = createServer((socket) => {
      socket.on("error", () => undefined);
      socket.end("220 mail\r\n");
    }).listen(sock);
    await once(server, "listening");
    t.after(() => server.close());
    const { code, text } = await probe(sock, { timeoutMs: 1000 });
    assert.equal(code, 1);
    assert.match(text, /✖ Status {3}\S/);
    assert.doesNotMatch(text, /there is no socket/);
  });
});

test("a socket that no kernel or no kube-apiserver takes is told before it is tried", async () => {
  const tooLong = `/tmp/${"x".repeat(110)}`;
  for (const [sock, complaint] of [
    [tooLong, /Linux allows 107/],
    [`unix://${tooLong}`, /Linux allows 107/],
    ["unix://foo", /is not unix:\/\/ and an absolute path/],
    ["tcp://127.0.0.1:1", /must begin with unix:\/\/\//],
  ] as const)
    await assert.rejects(runCommand(probeCommand, [`--sock=${sock}`]), {
      code: "CONFIG",
      message: complaint,
    });
});

test("a file in the socket's place is told as that", async (t) => {
  const file = path.join(temporaryFolder(t), "kms.sock");
  writeFileSync(file, "");
  assert.match((await probe(file)).text, /the file is not a socket/);
});
