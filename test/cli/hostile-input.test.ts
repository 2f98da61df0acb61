/**
 * Whatever is given on the command line, in the environment or in files: every command ends with an exit code and words,
 * never with a stack trace or with a request to report it. And a key that is given in place of its file's path is not
 * printed, wherever it was given.
 */
import assert from "node:assert/strict";
import { type ChildProcess, fork } from "node:child_process";
import { generateKeyPairSync, randomBytes, randomUUID } from "node:crypto";
import { once } from "node:events";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import * as fc from "fast-check";
import type { CliCommand, Flag } from "../../src/cli/command.ts";
import { allCommands, runCli } from "../../src/cli/index.ts";
import { type DevKms, startDevKms } from "../devkms/devkms.ts";
import { TestApiServer } from "../kubernetes/api-server.ts";
import { temporaryFolder } from "../server/harness.ts";
import { findSecrets, type Secret } from "../support/secret-search.ts";
import type { ServeEnded, ServeLine } from "./serve-lines.ts";
import { createCollector } from "../support/collector.ts";

interface Ended {
  readonly code: number;
  /** Both streams. */
  readonly text: string;
}

/** Runs the program: in this process, but `serve` in its own (serve-lines.ts), where it is ended once it serves. */
async function run(argv: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Ended> {
  if (argv[0] === "serve") return runServe(argv.slice(1), env);
  const { stream, text } = createCollector();
  const code = await runCli(argv, { env, stdout: stream, stderr: stream });
  return { code, text: text() };
}

let serving: ChildProcess | undefined;
let served = 0;
let haveServed = 0;

/** How long serve may serve in a test, in ms: less than a start takes, or more. */
const endsAfterMs = [0, 15, 60] as const;

async function runServe(argv: readonly string[], env: NodeJS.ProcessEnv): Promise<Ended> {
  serving ??= fork(path.join(import.meta.dirname, "serve-lines.ts"), { cwd: kms.folder });
  served += 1;
  const line: ServeLine = { argv, env, endAfterMs: endsAfterMs[served % endsAfterMs.length] ?? 0 };
  serving.send(line);
  const end = new AbortController();
  const { signal } = end;
  const ended = await Promise.race([
    once(serving, "message", { signal }).then(([message]) => message as ServeEnded),
    once(serving, "exit", { signal }).then(([code, by]) =>
      assert.fail(`serve ended its process: ${code ?? by}`),
    ),
  ]);
  end.abort();
  if (ended.hasServed) haveServed += 1;
  return ended;
}

const bad =
  /please report|unexpected failure|\bat .+\.[jt]s:\d+|TypeError|RangeError|node:internal|\[object |undefined is not/;

async function assertWords(argv: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Ended> {
  const ended = await run(argv, env);
  assert.ok([0, 1, 2].includes(ended.code), `exit code ${ended.code}`);
  assert.doesNotMatch(ended.text, bad);
  assert.notEqual(ended.text, "");
  return ended;
}

/** Nothing that a name service would be asked for. */
const hosts = [
  "127.0.0.1:1",
  "[::1]:1",
  "[::1%lo]:1",
  "[fe80::1%nothere]:1",
  "localhost.:1",
  "https://127.0.0.1:1",
  "https://[::1]:1/a",
];
/** Pieces that parsers stumble over. */
const odd = [
  "",
  " ",
  "-",
  "--",
  "=",
  "a=b",
  "\0",
  "\n",
  "\u202e",
  "é",
  "😀",
  "~/",
  "~",
  ".",
  "..",
  "/",
  "/dev/null",
  "/dev/zero",
  "/proc/self/mem",
  "/proc/nothere/a",
  "@",
  "@a",
  "unix://",
  "unix:///%zz",
  "0",
  "-1",
  "1e9",
  "NaN",
  "Infinity",
  "9".repeat(400),
  "10s",
  "1h1m",
  "0s",
  "0777",
  "0o7",
  "true",
  "x".repeat(5000),
  "[",
  "]",
  "[::",
  "https://",
  "https://[",
  "http://user:pass@",
  "a,b",
  ",",
  "%",
  "$(id)",
  "{}",
  "[]",
  "__proto__",
  "constructor",
  "toString",
] as const;
/** What is right for many flags, so that more than the parsers run. */
const plausible = [
  "1",
  "5s",
  "true",
  "false",
  "0600",
  "json",
  "text",
  "debug",
  "trace",
  "./a b",
  "@é",
  "127.0.0.1:0",
];
const value = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(...plausible) },
  { weight: 3, arbitrary: fc.constantFrom(...odd) },
  // Never a host name: a space is in it.
  {
    weight: 1,
    arbitrary: fc.string({ unit: "binary", maxLength: 40 }).map((text) => `${text.replaceAll("\0", "")} !`),
  },
);

/** So that most command lines come as far as the command's work. */
function mostly<A, B>(usual: fc.Arbitrary<A>, other: fc.Arbitrary<B>): fc.Arbitrary<A | B> {
  return fc.oneof({ weight: 5, arbitrary: usual }, { weight: 1, arbitrary: other });
}

/** Those that write, ask by name, become another user or do not end are not given anything. */
const excluded = new Set([
  "out",
  "textfile",
  "endpoints",
  "serv-addr",
  "user",
  "watch",
  "state",
  "state-dir",
]);
const flagsOf = (flags: Readonly<Record<string, Flag>>): string[] =>
  Object.keys(flags).filter((name) => !excluded.has(name));

let kms: DevKms;
let api: TestApiServer;
let endApi: () => unknown;
before(async () => {
  kms = await startDevKms();
  api = await TestApiServer.start({ after: (end) => void (endApi = end as typeof endApi) }, 3);
});
after(async () => {
  serving?.kill();
  await endApi();
  await kms.close();
});

/** Right flags of all commands, but that no KMS listens at the address. */
function rightFlags(): Record<string, string> {
  const { cert, key, ca } = kms.clientFiles;
  return {
    protocol: "kmip",
    "serv-addr": "127.0.0.1:1",
    "encryption-key-label": "etcd",
    "client-cert": cert,
    "client-key": key,
    ca,
    sock: path.join(kms.folder, "none.sock"),
    timeout: "200ms",
    value: "/nowhere",
    "key-path": "/registry/secrets/a/b",
    kubeconfig: api.kubeconfig(),
    resource: "secrets",
    count: "1",
    concurrency: "1",
  };
}

/** How a command is tried. */
interface Plan {
  readonly numRuns: number;
  /** Words, or further flags, one of which may come before the others. */
  readonly words?: readonly string[];
  /** Flags that come last, whatever came before: without them it could take long. */
  readonly bounds?: readonly string[];
}

/** A --timeout of an hour would be waited out before a KMS that refuses connections; serve and config read any other. */
const soon = ["--timeout=200ms"];
/** Every command has to be in it: a test looks. */
const plans: Readonly<Record<string, Plan>> = {
  serve: { numRuns: 250 },
  init: { numRuns: 100, words: ["--prove-only"], bounds: soon },
  check: { numRuns: 150, bounds: soon },
  probe: { numRuns: 150, bounds: ["--count=1", "--concurrency=1", ...soon] },
  config: { numRuns: 300, words: ["systemd", "encryption-configuration", "static-pod"] },
  reencrypt: { numRuns: 150, words: ["--dry-run", "--print-rbac"] },
  audit: { numRuns: 100, words: ["--verify"], bounds: soon },
  recover: { numRuns: 100, words: ["--all"], bounds: soon },
};
/** Without --sock the KMS's flags count. */
const byKms = new Set(["audit", "recover"]);

test("every command is tried", () => {
  assert.deepEqual(
    Object.keys(plans),
    allCommands.map(({ name }) => name),
  );
});

function argvOf(flags: Readonly<Record<string, string>>): string[] {
  return Object.entries(flags).map(([name, text]) => `--${name}=${text}`);
}

/** What {@link rightFlags} has for a command. */
function rightOf({ name, flags }: CliCommand): Record<string, string> {
  const left = byKms.has(name) ? ["sock", "resource"] : [];
  return Object.fromEntries(
    Object.entries(rightFlags()).filter(([flag]) => Object.hasOwn(flags, flag) && !left.includes(flag)),
  );
}

/** A right command line with a few flags and variables of anything in it. */
function commandLine(command: CliCommand): fc.Arbitrary<{ argv: string[]; env: NodeJS.ProcessEnv }> {
  const { name, flags } = command;
  const variables = Object.values(flags).flatMap(({ env }) =>
    env === undefined || env === "OKMS_SERV_ADDR" || env === "ETCDCTL_ENDPOINTS" ? [] : [env],
  );
  const extras = fc.array(
    // Not "-" alone either: audit would wait for its standard input.
    value.filter((text) => !/^-$|^-+(?:out|user|watch|textfile|endpoints|state)/.test(text)),
    { minLength: 1, maxLength: 2 },
  );
  return fc
    .record({
      protocol: mostly(fc.constantFrom("kmip", "rest"), fc.constantFrom("rest,", "")),
      host: mostly(fc.constant(undefined), fc.constantFrom(...hosts)),
      changed: fc.dictionary(fc.constantFrom(...flagsOf(flags)), value, { maxKeys: 2 }),
      // `OKMS_KEY_ID` and its like; no dictionary: fast-check makes `__proto__` too.
      env: fc.array(fc.tuple(fc.constantFrom(...variables, "NO_PROXY"), value), { maxLength: 2 }),
      word: fc.constantFrom("", ...(plans[name]?.words ?? [])),
      extra: mostly(fc.constant([]), extras),
    })
    .map(({ protocol, host, changed, env, word, extra }) => {
      const right = rightOf(command);
      const usual = protocol === "rest" ? "https://127.0.0.1:1" : "127.0.0.1:1";
      if (Object.hasOwn(flags, "protocol"))
        Object.assign(right, { protocol, "serv-addr": host ?? usual, "okms-id": randomUUID() });
      const argv = [...argvOf({ ...right, ...changed }), ...extra, ...(plans[name]?.bounds ?? [])];
      return { argv: word === "" ? argv : [word, ...argv], env: Object.fromEntries(env) };
    });
}

describe("a command line of anything comes to an exit code and words:", () => {
  for (const command of allCommands)
    test(command.name, async () => {
      await fc.assert(
        fc.asyncProperty(commandLine(command), async ({ argv, env }) => {
          await assertWords([command.name, ...argv], env);
        }),
        { numRuns: plans[command.name]?.numRuns ?? 1 },
      );
      if (command.name === "serve") assert.ok(haveServed > 20, `only ${haveServed} were served`);
      // serve may have been told to listen there.
      for (const device of ["/dev/null", "/dev/zero"]) assert.ok(statSync(device).isCharacterDevice());
    });

  test("words that are no command", async () => {
    await fc.assert(
      fc.asyncProperty(
        value.filter((text) => !text.startsWith("-")),
        async (word) => {
          assert.equal((await assertWords([word])).code, 2);
        },
      ),
    );
  });
});

/** The files of a command, and what is right in them. */
function filesOf(command: string): Record<string, string> {
  const { cert, key, ca } = kms.clientFiles;
  if (command !== "reencrypt")
    return { "client-cert": cert, "client-key": key, ca, "encryption-config": cert };
  const state = path.join(kms.folder, "state");
  writeFileSync(
    state,
    JSON.stringify({ kind: "okms-reencrypt-state", version: 1, runId: "01234567", resources: {} }),
  );
  return { kubeconfig: api.kubeconfig(), state, "encryption-config": cert };
}

describe("files with random or damaged bytes in them come to words:", () => {
  for (const command of allCommands.filter(({ name }) => ["serve", "check", "reencrypt"].includes(name)))
    test(command.name, async (t) => {
      const folder = temporaryFolder(t);
      const files = filesOf(command.name);
      const names = Object.keys(files).filter((name) => Object.hasOwn(command.flags, name));
      const file = path.join(folder, "changed");
      await fc.assert(
        fc.asyncProperty(
          fc.constantFrom(...names),
          fc.oneof(fc.uint8Array({ maxLength: 200 }), fc.constant(undefined)),
          fc.nat(),
          fc.nat(255),
          async (name, random, at, byte) => {
            const bytes = readFileSync(files[name] ?? "");
            const url = bytes.indexOf(api.url);
            const place = at % bytes.length;
            // No other host than this one is to be asked.
            const isOfUrl = url !== -1 && place >= url && place < url + api.url.length;
            if (!isOfUrl) bytes[place] = byte;
            writeFileSync(file, random ?? bytes);
            await assertWords([command.name, ...argvOf({ ...rightOf(command), [name]: file })]);
          },
        ),
        { numRuns: 150 },
      );
    });
});

describe("a key in place of its file's path, or in any other place of the command line, is not printed:", () => {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const der = privateKey.export({ format: "der", type: "pkcs8" });
  const pem = String(privateKey.export({ format: "pem", type: "pkcs8" }));
  const raw = randomBytes(32);
  const secrets: readonly Secret[] = [
    { name: "the key in DER", bytes: der },
    { name: "the key", bytes: raw },
  ];
  /** With whether it could be an identifier, which a KMS may choose as it likes. */
  const forms: readonly (readonly [what: string, text: string, isIdentifier: boolean])[] = [
    ["PEM", pem, false],
    ["PEM in one line", pem.replaceAll("\n", " "), false],
    ["base64 of PEM", Buffer.from(pem).toString("base64"), false],
    ["DER in base64", der.toString("base64"), false],
    ["DER in hexadecimal", der.toString("hex"), true],
    ["JSON Web Key", JSON.stringify(privateKey.export({ format: "jwk" })), false],
    ["32 bytes in hexadecimal", raw.toString("hex"), true],
    ["32 bytes in base64", raw.toString("base64"), true],
  ];
  const identifiers = new Set([
    "encryption-key-id",
    "encryption-key-label",
    "rotate-to",
    "kmip-username",
    "image",
    "instance",
    "provider-name",
    "key-id",
    "key-path",
    "resource",
    "namespace",
    "name",
    "etcd-prefix",
  ]);

  const assertHidden = async (argv: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<void> => {
    const { text: printed } = await run(argv, env);
    assert.deepEqual(findSecrets(printed, secrets), [], argv.map((one) => one.slice(0, 30)).join(" "));
    assert.doesNotMatch(printed, bad);
  };

  /** They name what is written, or whom to ask by name. */
  const writing = new Set(["out", "textfile", "endpoints"]);

  for (const [what, text, isIdentifier] of forms)
    test(what, async () => {
      for (const command of allCommands) {
        const { name: word, flags } = command;
        const right = rightOf(command);
        const begin = [word, ...(plans[word]?.words ?? []).slice(0, 1)];
        for (const [name, { env }] of Object.entries<Flag>(flags)) {
          // Those are named freely, and may be shown; `out` would make a folder of the name.
          if ((isIdentifier && identifiers.has(name)) || writing.has(name)) continue;
          await assertHidden([...begin, ...argvOf({ ...right, [name]: text })]);
          if (env !== undefined) {
            const { [name]: _, ...others } = right;
            await assertHidden([...begin, ...argvOf(others)], { [env]: text });
          }
        }
        await assertHidden([...begin, text]);
        await assertHidden([...begin, `--${text}`]);
        await assertHidden([...begin, `--client-key=${kms.clientFiles.key}`, ...text.split(/\s+/)]);
      }
      await assertHidden([text]);
      await assertHidden(["--client-key", ...text.split(/\s+/), "--protocol=kmip"]);
      await assertHidden(["--client-key", text, "--protocol=kmip"]);
    });
});
