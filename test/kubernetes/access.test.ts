/** Who asks, and by which way: everything that a kubeconfig may hold, against a real TLS server that checks it. */
import assert from "node:assert/strict";
import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { ProviderError } from "../../src/errors.ts";
import { createAuthority } from "../devkms/certificates.ts";
import { runProgram } from "../e2e/program.ts";
import { TestApiServer } from "./api-server.ts";
import { quickRetry, reencrypt } from "./run.ts";

/** An exec plugin: a script that counts its runs, and prints the credential of that run. */
function execPlugin(
  api: TestApiServer,
  credential: (run: string) => string,
): { command: string; runs: () => number } {
  const command = path.join(api.folder, "login.sh");
  const runs = path.join(api.folder, "runs");
  writeFileSync(runs, "");
  writeFileSync(
    command,
    `#!/bin/sh
echo "$KUBERNETES_EXEC_INFO" >> ${runs}
N=$(wc -l < ${runs})
cat <<'END' | sed s/RUN/$N/
{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": ${credential("RUN")}}
END
`,
  );
  chmodSync(command, 0o700);
  return { command, runs: () => readFileSync(runs, "utf8").split("\n").length - 1 };
}

const apiVersion = "client.authentication.k8s.io/v1";

test("a bearer token", async (t) => {
  const api = await TestApiServer.start(t, 3);
  const ran = await reencrypt({ kubeconfig: api.kubeconfig({ token: "right" }) });
  assert.equal(ran.code, 0, ran.stderr);
  assert.ok(api.seen.every(({ authorization }) => authorization === "Bearer right"));
  assert.match(api.seen[0]?.headers["user-agent"] ?? "", /^okms-k8s-encryption-provider\/\d/);
});

test("a client certificate, by file and by value", async (t) => {
  const api = await TestApiServer.start(t, 3);
  const { cert = "", key = "" } = api.files ?? {};
  for (const user of [
    { "client-certificate": cert, "client-key": key },
    {
      "client-certificate-data": readFileSync(cert, "base64"),
      "client-key-data": readFileSync(key, "base64"),
    },
  ]) {
    const ran = await reencrypt({ kubeconfig: api.kubeconfig(user) });
    assert.equal(ran.code, 0, ran.stderr);
  }
  assert.ok(api.seen.every(({ clientName }) => clientName === "jane"));
});

test("a kubeconfig that is no YAML: told by the line, without what stands there", async (t) => {
  const api = await TestApiServer.start(t, 1);
  const kubeconfig = path.join(api.folder, "broken");
  const rows = [
    ['users:\n- name: a\n  user:\n    token: "SECRET-TOKEN\n    bad: [\n', /not YAML: \w+ in line 6$/],
    ["users:\n- name: a\n  user:\n    token: SECRET-TOKEN\n   bad: x\n", /not YAML: \w+ in line 5$/],
    ["users: *SECRET-TOKEN\n", /not YAML/],
  ] as const;
  for (const [text, message] of rows) {
    writeFileSync(kubeconfig, text);
    await assert.rejects(reencrypt({ kubeconfig }), (error) => {
      assert.ok(error instanceof ProviderError);
      assert.match(error.message, message);
      assert.doesNotMatch(error.message, /SECRET/);
      return true;
    });
  }
});

test("a kubeconfig with an anchor and a merge key", async (t) => {
  const api = await TestApiServer.start(t, 3);
  const file = api.kubeconfig({ token: "right" });
  const { users, ...others } = JSON.parse(readFileSync(file, "utf8")) as { users: { name: string }[] };
  const lines = [`x: &user {token: right}`, `users: [{name: ${users[0]?.name}, user: {<<: *user}}]`];
  writeFileSync(
    file,
    [...lines, ...Object.entries(others).map(([name, value]) => `${name}: ${JSON.stringify(value)}`)].join(
      "\n",
    ),
  );
  const ran = await reencrypt({ kubeconfig: file });
  assert.equal(ran.code, 0, ran.stderr);
});

test("a token's file, by a path from the kubeconfig's folder, with a line's end", async (t) => {
  const api = await TestApiServer.start(t, 3);
  writeFileSync(path.join(api.folder, "token"), "right\n");
  const ran = await reencrypt({ kubeconfig: api.kubeconfig({ tokenFile: "token", token: "wrong" }) });
  assert.equal(ran.code, 0, ran.stderr);
});

test("a token's file that is replaced while it runs: read again after a 401", async (t) => {
  const api = await TestApiServer.start(t, 300);
  const file = path.join(api.folder, "token");
  writeFileSync(file, "right");
  api.onPatch = (count) => {
    if (count !== 100) return;
    api.tokens.clear();
    api.tokens.add("next");
    writeFileSync(file, "next");
  };
  const ran = await reencrypt({ kubeconfig: api.kubeconfig({ tokenFile: file }) });
  assert.equal(ran.code, 0, ran.stderr);
  assert.equal(api.staleCount, 0);
});

test("an exec plugin: run once, by a path from the kubeconfig's folder, and told what it is asked for", async (t) => {
  const api = await TestApiServer.start(t, 3);
  const { runs } = execPlugin(api, () => `{"token": "right"}`);
  const ran = await reencrypt({
    kubeconfig: api.kubeconfig({ exec: { apiVersion, command: "./login.sh" } }),
  });
  assert.equal(ran.code, 0, ran.stderr);
  assert.equal(runs(), 1);
  assert.deepEqual(JSON.parse(readFileSync(path.join(api.folder, "runs"), "utf8")), {
    apiVersion,
    kind: "ExecCredential",
    spec: { interactive: false },
  });
});

test("an exec plugin that prints the bare token: told without it", async (t) => {
  const api = await TestApiServer.start(t, 1);
  const command = path.join(api.folder, "bare.sh");
  writeFileSync(command, "#!/bin/sh\necho SECRET-TOKEN\n", { mode: 0o700 });
  await assert.rejects(
    reencrypt({ kubeconfig: api.kubeconfig({ exec: { apiVersion, command } }) }),
    (error) => error instanceof ProviderError && error.message.endsWith("printed is not JSON"),
  );
});

test("an exec plugin's token that the API server refuses after a while: asked for another", async (t) => {
  const api = await TestApiServer.start(t, 300);
  const { command, runs } = execPlugin(api, (run) => `{"token": "token-${run}"}`);
  api.tokens.clear();
  api.tokens.add("token-1");
  api.onPatch = (count) => {
    if (count !== 100) return;
    api.tokens.clear();
    api.tokens.add("token-2");
  };
  const ran = await reencrypt({ kubeconfig: api.kubeconfig({ exec: { apiVersion, command } }) });
  assert.equal(ran.code, 0, ran.stderr);
  assert.deepEqual([runs(), api.staleCount], [2, 0]);
});

test("an exec plugin that gives a client certificate", async (t) => {
  const api = await TestApiServer.start(t, 3);
  const { cert = "", key = "" } = api.files ?? {};
  const [certificate, privateKey] = [cert, key].map((file) => readFileSync(file, "utf8"));
  const status = JSON.stringify({ clientCertificateData: certificate, clientKeyData: privateKey });
  const { command } = execPlugin(api, () => status);
  const ran = await reencrypt({ kubeconfig: api.kubeconfig({ exec: { apiVersion, command } }) });
  assert.equal(ran.code, 0, ran.stderr);
  assert.equal(api.seen[0]?.clientName, "jane");
});

for (const [what, user, message] of [
  ["an exec plugin that fails", { exec: { apiVersion, command: "false" } }, /cannot authenticate as "jane"/],
  [
    "an exec plugin that fails in colour",
    {
      exec: {
        apiVersion,
        command: "sh",
        args: ["-c", String.raw`printf '\033[31mno\nsession\033[0m' >&2; exit 1`],
      },
    },
    /authenticate as "jane": \[31mno session \[0m$/,
  ],
  ["an exec plugin that is not there", { exec: { apiVersion, command: "./none" } }, /jane": spawn .*ENOENT/],
  [
    "a certificate's file that is missing",
    { "client-certificate": "/nowhere/cert.pem" },
    /nowhere\/cert\.pem/,
  ],
  ["a token's file that is missing", { tokenFile: "/nowhere/token" }, /nowhere\/token/],
] as const)
  test(`${what} is told as such`, async (t) => {
    const api = await TestApiServer.start(t);
    await assert.rejects(reencrypt({ kubeconfig: api.kubeconfig(user) }), (error) => {
      assert.ok(error instanceof ProviderError && error.kind === "config", String(error));
      assert.match(error.message, message);
      return true;
    });
  });

test("the built program does so too: its bundle leaves out what KubeConfig does not need", async (t) => {
  const api = await TestApiServer.start(t, 3);
  const { cert = "", key = "" } = api.files ?? {};
  const { command } = execPlugin(api, () => `{"token": "right"}`);
  writeFileSync(path.join(api.folder, "token"), "right");
  for (const user of [
    { token: "right" },
    { tokenFile: "token" },
    { "client-certificate": cert, "client-key": key },
    { exec: { apiVersion, command } },
  ]) {
    const kubeconfig = api.kubeconfig(user);
    const { code, stderr } = await runProgram(t, [
      "reencrypt",
      "--resource=secrets",
      "--kubeconfig",
      kubeconfig,
    ]);
    assert.equal(code, 0, stderr);
  }
  assert.equal(api.staleCount, 0);
});

test("credentials that the API server refuses end it with 1, and the token is not printed", async (t) => {
  const api = await TestApiServer.start(t, 1);
  const ran = await reencrypt({ kubeconfig: api.kubeconfig({ token: "some-wrong-token" }) });
  assert.equal(ran.code, 1);
  assert.match(ran.stderr, /GET \/api: 401 Unauthorized/);
  assert.doesNotMatch(ran.stderr + ran.stdout, /some-wrong-token/);
});

test("a server whose certificate is not of the kubeconfig's authority is not asked anything", async (t) => {
  const api = await TestApiServer.start(t, 1);
  const file = path.join(api.folder, "other.pem");
  writeFileSync(file, (await createAuthority()).caPem);
  const kubeconfig = api.kubeconfig(
    { token: "right" },
    {
      clusters: [{ name: "test", cluster: { server: api.url, "certificate-authority": file } }],
    },
  );
  const ran = await reencrypt({ kubeconfig });
  assert.equal(ran.code, 1);
  assert.match(ran.stderr, /is the kubeconfig's certificate authority right\?/);
  assert.equal(api.seen.length, 0);
});

test("a server that is away is tried again for a while, then told", async (t) => {
  const api = await TestApiServer.start(t, 1);
  const kubeconfig = api.kubeconfig(
    { token: "right" },
    {
      clusters: [{ name: "test", cluster: { server: "https://127.0.0.1:1" } }],
    },
  );
  const ran = await reencrypt({ kubeconfig }, { retry: { ...quickRetry, retryForMs: 100 } });
  assert.equal(ran.code, 1);
  assert.match(ran.stderr, /GET \/api: https:\/\/127\.0\.0\.1:1: .*ECONNREFUSED/);
});

test("the files of KUBECONFIG together, of which some are missing, and --context", async (t) => {
  const api = await TestApiServer.start(t, 3);
  const first = api.kubeconfig({ token: "wrong" }, { users: [], "current-context": "other" });
  const second = api.kubeconfig({ token: "right" }, { clusters: [], contexts: [] });
  const files = ["/nowhere/config", first, second].join(path.delimiter);
  const ran = await reencrypt({ kubeconfig: undefined, context: "test" }, { env: { KUBECONFIG: files } });
  assert.equal(ran.code, 0, ran.stderr);
  await assert.rejects(
    reencrypt({ kubeconfig: undefined }, { env: { KUBECONFIG: files } }),
    /no context|no current context/,
  );
});

test("without any kubeconfig it says where it has looked", async () => {
  await assert.rejects(
    reencrypt({ kubeconfig: undefined }, { env: { HOME: "/nowhere" } }),
    /no kubeconfig at "\/nowhere\/\.kube\/config", and this is no Pod/,
  );
});
