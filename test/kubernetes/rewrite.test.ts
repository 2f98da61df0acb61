/** Rewriting by patches: every page, every answer that an API server gives to a PATCH or a list, and what is told of it. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { describe, test } from "node:test";
import { ProviderError } from "../../src/errors.ts";
import { secretData, TestApiServer } from "./api-server.ts";
import { quickRetry, type Ran, reencrypt } from "./run.ts";

/** The numbers of a resource's row: rewritten, current, changed, gone, failed. */
function numbersOf({ stdout }: Ran, resource = "secrets"): number[] {
  const row = stdout.split("\n").find((line) => line.startsWith(`${resource} `)) ?? "";
  return row
    .split(/\s+/)
    .slice(2)
    .map((text) => Number(text.replace(",", "")));
}

const secretsList = /^\/api\/v1\/secrets\?/;

describe("reencrypt by patches", () => {
  test("rewrites every object, reads pages of 500, and asks for nothing but metadata", async (t) => {
    const api = await TestApiServer.start(t, 1201);
    const ran = await reencrypt({ kubeconfig: api.kubeconfig() });
    assert.equal(ran.code, 0, ran.stderr);
    assert.equal(api.staleCount, 0);
    assert.deepEqual(numbersOf(ran), [1201, 0, 0, 0, 0]);
    assert.equal(api.count("GET", /limit=500/), 3);
    const withObjects = api.seen.filter(({ url }) => url.includes("/secrets"));
    for (const { headers, url } of withObjects)
      assert.match(headers.accept ?? "", /as=PartialObjectMetadata/, url);
    assert.match(ran.stdout, /Everything is rewritten/);
  });

  test("says that nothing had to be rewritten, and that an API server may not know the new key yet", async (t) => {
    const api = await TestApiServer.start(t, 3);
    await reencrypt({ kubeconfig: api.kubeconfig() });
    const again = await reencrypt({ kubeconfig: api.kubeconfig() });
    assert.equal(again.code, 0);
    assert.deepEqual(numbersOf(again), [0, 3, 0, 0, 0]);
    assert.match(again.stdout, /up to a minute until an API server knows the new key/);
  });

  test("takes an object that was written or deleted meanwhile for done, and overwrites nothing", async (t) => {
    const api = await TestApiServer.start(t, 20);
    const [first, second] = [...api.secrets.values()];
    let revision = 0;
    api.onPatch = (count) => {
      if (count !== 1 || first === undefined || second === undefined) return;
      api.write(first);
      revision = first.revision;
      api.secrets.delete(`default/${second.name}`);
    };
    const ran = await reencrypt({ kubeconfig: api.kubeconfig() });
    assert.equal(ran.code, 0, ran.stderr);
    assert.deepEqual(numbersOf(ran), [18, 0, 1, 1, 0]);
    assert.equal(first?.revision, revision);
  });

  for (const [what, fault] of [
    ["429 with Retry-After", { status: 429, headers: { "retry-after": "0" } }],
    ["500", { status: 500 }],
    [
      "503 with a date in Retry-After",
      { status: 503, headers: { "retry-after": new Date(0).toUTCString() } },
    ],
    ["504", { status: 504 }],
    ["a connection that is cut", { status: 0, isCut: true }],
    ["an answer that is not JSON", { status: 200, text: '{"kind": "Par' }],
  ] as const)
    test(`tries again after ${what}, of a list and of a PATCH`, async (t) => {
      const api = await TestApiServer.start(t, 5);
      api.faults.push(
        { method: "GET", url: secretsList, ...fault },
        { method: "PATCH", url: /secret-00003/, ...fault },
      );
      const ran = await reencrypt({ kubeconfig: api.kubeconfig() });
      assert.equal(ran.code, 0, ran.stderr);
      assert.equal(api.staleCount, 0);
    });

  test("tries again after an answer that does not come", async (t) => {
    const api = await TestApiServer.start(t, 5);
    // undici's timers have a resolution of half a second.
    api.onPatch = (count) => (count === 1 ? new Promise<never>(() => undefined) : undefined);
    const ran = await reencrypt(
      { kubeconfig: api.kubeconfig() },
      { retry: { ...quickRetry, replyWithinMs: 100 } },
    );
    assert.equal(ran.code, 0, ran.stderr);
    assert.match(ran.stderr, /PATCH .*: no answer within 0\.1 s; trying again/);
    assert.equal(api.staleCount, 0);
  });

  test("obeys Retry-After", async (t) => {
    const api = await TestApiServer.start(t, 1);
    api.faults.push({ method: "PATCH", url: /secret/, status: 429, headers: { "retry-after": "1" } });
    const began = performance.now();
    const ran = await reencrypt({ kubeconfig: api.kubeconfig() });
    assert.equal(ran.code, 0, ran.stderr);
    assert.ok(performance.now() - began >= 1000);
    assert.match(ran.stderr, /PATCH .*429 Fault.*; trying again in 1\.\d s/);
  });

  test("names the objects that fail, rewrites the others, and ends with 1", async (t) => {
    const api = await TestApiServer.start(t, 40);
    api.faults.push({ method: "PATCH", url: /secret-00007/, status: 500, times: 99 });
    const ran = await reencrypt({ kubeconfig: api.kubeconfig() });
    assert.equal(ran.code, 1);
    assert.deepEqual(numbersOf(ran), [39, 0, 0, 0, 1]);
    assert.match(ran.stdout, /✖ secrets default\/secret-00007: PATCH .*: 500 Fault: a fault of the test/);
    assert.match(ran.stdout, /Not everything was rewritten/);
  });

  test("prints nothing of what an API server quotes from an invalid object", async (t) => {
    const api = await TestApiServer.start(t, 2);
    const body = {
      kind: "Status",
      reason: "Invalid",
      message: `data[password]: Invalid value: "${secretData}"`,
    };
    api.faults.push({ method: "PATCH", url: /secret-00001/, status: 422, body });
    const ran = await reencrypt({ kubeconfig: api.kubeconfig() });
    assert.equal(ran.code, 1);
    assert.match(ran.stdout, /secret-00001: PATCH .*: 422 Invalid\n/);
    assert.doesNotMatch(ran.stdout + ran.stderr, new RegExp(secretData));
  });

  test("gives a resource up after 20 failures in a row", async (t) => {
    const api = await TestApiServer.start(t, 200);
    api.faults.push({ method: "PATCH", url: /secret/, status: 422, times: 999 });
    const ran = await reencrypt({ kubeconfig: api.kubeconfig() });
    assert.equal(ran.code, 1);
    assert.match(ran.stderr, /secrets: 20 objects in a row failed: given up/);
    assert.ok(api.patches < 60, `${api.patches} patches`);
  });

  test("goes on with the token of the answer where the list has expired", async (t) => {
    const api = await TestApiServer.start(t, 1100);
    api.onPatch = (count) => {
      if (count === 10 || count === 600) api.expireTokens();
    };
    const ran = await reencrypt({ kubeconfig: api.kubeconfig() });
    assert.equal(ran.code, 0, ran.stderr);
    assert.deepEqual(numbersOf(ran), [1100, 0, 0, 0, 0]);
    assert.equal(api.staleCount, 0);
  });

  test("begins the list anew where the answer has no token", async (t) => {
    const api = await TestApiServer.start(t, 600);
    api.faults.push({ method: "GET", url: /continue=/, status: 410 });
    const ran = await reencrypt({ kubeconfig: api.kubeconfig() });
    assert.equal(ran.code, 0, ran.stderr);
    assert.deepEqual(numbersOf(ran), [600, 500, 0, 0, 0]);
  });

  test("does not begin it anew for ever", async (t) => {
    const api = await TestApiServer.start(t, 600);
    api.faults.push({ method: "GET", url: /continue=/, status: 410, times: 99 });
    const ran = await reencrypt({ kubeconfig: api.kubeconfig() });
    assert.equal(ran.code, 1);
    assert.match(ran.stderr, /secrets: GET \/api\/v1\/secrets: 410/);
  });

  test("tells why a list fails, and ends with 1", async (t) => {
    const api = await TestApiServer.start(t, 2);
    const message = 'unable to transform key "/registry/secrets/default/dead": no such key';
    const body = { kind: "Status", reason: "InternalError", message };
    api.faults.push({ method: "GET", url: secretsList, status: 500, times: 99, body });
    const ran = await reencrypt({ kubeconfig: api.kubeconfig() });
    assert.equal(ran.code, 1);
    assert.match(ran.stderr, /unable to transform key .*\/registry\/secrets\/default\/dead/);
    assert.match(ran.stdout, /secrets +given up/);
  });

  test("asks at the rate of --qps at most", async (t) => {
    const api = await TestApiServer.start(t, 40);
    const began = performance.now();
    await reencrypt({ kubeconfig: api.kubeconfig(), qps: 100 });
    // 40 patches and a few questions before; 100 ms may be caught up.
    assert.ok(performance.now() - began >= 300);
  });

  test("rewrites one namespace alone", async (t) => {
    const api = await TestApiServer.start(t, 2);
    const other = api.add("elsewhere", "team");
    const ran = await reencrypt({
      kubeconfig: api.kubeconfig(),
      namespace: "team",
      resources: ["secrets", "nodes"],
    });
    assert.equal(ran.code, 0, ran.stderr);
    assert.equal(other.isStale, false);
    assert.equal(api.staleCount, 2);
    assert.equal(api.count("GET", /nodes/), 0);
  });
});

describe("reencrypt before it writes", () => {
  test("names the rights that are missing, and writes nothing", async (t) => {
    const api = await TestApiServer.start(t, 2);
    api.denied.add("patch secrets");
    const ran = await reencrypt({
      kubeconfig: api.kubeconfig(),
      resources: ["secrets", "widgets.example.com"],
    });
    assert.equal(ran.code, 1);
    assert.match(ran.stderr, /^missing rights: patch secrets\n.*--print-rbac/);
    assert.equal(api.patches, 0);
  });

  test("counts with --dry-run, and writes nothing", async (t) => {
    const api = await TestApiServer.start(t, 1201);
    const ran = await reencrypt({ kubeconfig: api.kubeconfig(), isDryRun: true, resources: ["*."] });
    assert.equal(ran.code, 0, ran.stderr);
    assert.match(ran.stdout, /^RESOURCE +OBJECTS\nsecrets +1,201\nnodes +0\nNothing was written/);
    assert.equal(api.patches, 0);
  });

  test("takes the resources from an EncryptionConfiguration, and says what is not served", async (t) => {
    const api = await TestApiServer.start(t, 2);
    const file = path.join(api.folder, "encryption-configuration.yaml");
    writeFileSync(
      file,
      `apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
  - resources: [secrets, gone.example.com]
    providers: [{ identity: {} }]
`,
    );
    const ran = await reencrypt({ kubeconfig: api.kubeconfig(), encryptionConfig: file, resources: [] });
    assert.equal(ran.code, 0, ran.stderr);
    assert.match(ran.stderr, /gone\.example\.com: not served by this API server, skipped/);
    assert.equal(api.staleCount, 0);
  });

  for (const [what, options, message] of [
    [
      "a resource that is not served",
      { resources: ["secret"] },
      /no resource "secret": did you mean secrets\?/,
    ],
    ["a file that is missing", { encryptionConfig: "/nowhere/e.yaml" }, /cannot read "\/nowhere\/e.yaml"/],
    ["a context that is not there", { context: "prod" }, /no context "prod" \(it has test\)/],
    ["a kubeconfig that is missing", { kubeconfig: "/nowhere/config" }, /no such file/],
  ] as const)
    test(`takes ${what} for a wrong command line`, async (t) => {
      const api = await TestApiServer.start(t, 1);
      await assert.rejects(reencrypt({ kubeconfig: api.kubeconfig(), ...options }), (error) => {
        assert.ok(error instanceof ProviderError && error.kind === "config");
        assert.match(error.message, message);
        return true;
      });
      assert.equal(api.patches, 0);
    });
});
