/**
 * Whatever is given on the command line, in the environment or in files: every command ends with an exit code and words,
 * never with a stack trace or with a request to report it. And a key that is given in place of its file's path is not
 * printed, wherever it was given.
 */
import assert from "node:assert/strict";
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { Writable } from "node:stream";
import { after, before, describe, test } from "node:test";
import * as fc from "fast-check";
import { auditCommand } from "../../src/cli/audit.ts";
import { checkCommand } from "../../src/cli/check.ts";
import type { Flag } from "../../src/cli/command.ts";
import { configCommand } from "../../src/cli/config.ts";
import { runCli } from "../../src/cli/index.ts";
import { initCommand } from "../../src/cli/init.ts";
import { probeCommand } from "../../src/cli/probe.ts";
import { recoverCommand } from "../../src/cli/recover.ts";
import { serveFlags } from "../../src/cli/serve-flags.ts";
import { type DevKms, startDevKms } from "../devkms/devkms.ts";
import { temporaryFolder } from "../server/harness.ts";
import { findSecrets, type Secret } from "../support/secret-search.ts";

interface Ended {
  readonly code: number;
  /** Both streams. */
  readonly text: string;
}

/** Runs the program in this process; `serve` is not run here, for it would not end. */
async function run(argv: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Ended> {
  let text = "";
  const stream = (): Writable =>
    new Writable({
      write(chunk, _encoding, done) {
        text += String(chunk);
        done();
      },
    });
  const code = await runCli(argv, { env, stdout: stream(), stderr: stream() });
  return { code, text };
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
const value = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(...odd) },
  // Never a host name: a space is in it.
  {
    weight: 1,
    arbitrary: fc.string({ unit: "binary", maxLength: 40 }).map((text) => `${text.replaceAll("\0", "")} !`),
  },
);

/** Those that write, ask by name, become another user or do not end are not given anything. */
const excluded = new Set(["out", "textfile", "endpoints", "serv-addr", "user", "watch"]);
const flagsOf = (flags: Readonly<Record<string, Flag>>): string[] =>
  Object.keys(flags).filter((name) => !excluded.has(name));

let kms: DevKms;
before(async () => {
  kms = await startDevKms();
});
after(() => kms.close());

/** A command line that is right, but that nothing listens. */
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
  };
}

function argvOf(flags: Readonly<Record<string, string>>): string[] {
  return Object.entries(flags).map(([name, text]) => `--${name}=${text}`);
}

/** A right command line with a few flags and variables of anything in it. */
function commandLine(
  flags: Readonly<Record<string, Flag>>,
): fc.Arbitrary<{ argv: string[]; env: NodeJS.ProcessEnv }> {
  const variables = Object.values(flags).flatMap(({ env }) =>
    env === undefined || env === "OKMS_SERV_ADDR" ? [] : [env],
  );
  return fc
    .record({
      protocol: fc.constantFrom("kmip", "rest", "rest,", ""),
      host: fc.constantFrom(...hosts),
      changed: fc.dictionary(fc.constantFrom(...flagsOf(flags)), value, { maxKeys: 3 }),
      // `OKMS_KEY_ID` and its like; no dictionary: fast-check makes `__proto__` too.
      env: fc.array(fc.tuple(fc.constantFrom(...variables, "NO_PROXY"), value), { maxLength: 3 }),
      extra: fc.array(
        value.filter((text) => !/^-+(?:out|user|watch|textfile|endpoints)/.test(text)),
        { maxLength: 2 },
      ),
    })
    .map(({ protocol, host, changed, env, extra }) => {
      const right = { ...rightFlags(), protocol, "serv-addr": host, ...changed };
      return { argv: [...argvOf(right), ...extra], env: Object.fromEntries(env) };
    });
}

describe("a command line of anything comes to an exit code and words:", () => {
  for (const [command, flags, numRuns, words] of [
    ["audit", auditCommand.flags, 100, ["--value=/nowhere", "--key-path=/registry/secrets/a/b"]],
    ["recover", recoverCommand.flags, 100, ["--all"]],
    ["init", initCommand.flags, 100, ["--prove-only"]],
    ["check", checkCommand.flags, 150, []],
    ["probe", probeCommand.flags, 150, []],
    ["config", configCommand.flags, 300, ["systemd", "static-pod", "encryption-configuration"]],
  ] as const)
    test(command, async () => {
      await fc.assert(
        fc.asyncProperty(commandLine(flags), fc.constantFrom("", ...words), async ({ argv, env }, word) => {
          // Flags that a command does not have would only be refused.
          const own =
            command === "check" || command === "config"
              ? argv
              : argv.filter((one) => Object.hasOwn(flags, one.slice(2).split("=")[0] ?? ""));
          const bounded =
            command === "probe" ? [...own, "--count=1", "--concurrency=1", "--timeout=200ms"] : own;
          await assertWords([command, ...(word === "" ? [] : [word]), ...bounded], env);
        }),
        { numRuns },
      );
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

test("check of files with random or damaged bytes in them comes to words", async (t) => {
  const folder = temporaryFolder(t);
  const { cert, key, ca } = kms.clientFiles;
  const files = { "client-cert": cert, "client-key": key, ca, "encryption-config": cert };
  const names = Object.keys(files) as (keyof typeof files)[];
  const file = path.join(folder, "changed");
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...names),
      fc.oneof(fc.uint8Array({ maxLength: 200 }), fc.constant(undefined)),
      fc.nat(),
      fc.nat(255),
      async (name, random, at, byte) => {
        const bytes = readFileSync(files[name]);
        bytes[at % bytes.length] = byte;
        writeFileSync(file, random ?? bytes);
        await assertWords(["check", ...argvOf({ ...rightFlags(), [name]: file })]);
      },
    ),
    { numRuns: 150 },
  );
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
      for (const [command, flags, words] of [
        ["audit", auditCommand.flags, []],
        ["recover", recoverCommand.flags, ["--all"]],
        ["init", initCommand.flags, ["--prove-only"]],
        ["check", checkCommand.flags, []],
        ["probe", probeCommand.flags, []],
        ["config", configCommand.flags, ["systemd"]],
        ["config", configCommand.flags, ["encryption-configuration"]],
      ] as const) {
        for (const [name, { env }] of Object.entries<Flag>(flags)) {
          // Those are named freely, and may be shown; `out` would make a folder of the name.
          if ((isIdentifier && identifiers.has(name)) || writing.has(name)) continue;
          const right = Object.fromEntries(
            Object.entries({ ...rightFlags(), value: "/nowhere", "key-path": "/registry/a" }).filter(
              ([one]) => Object.hasOwn(flags, one) && !(command === "probe" && one !== "timeout"),
            ),
          );
          await assertHidden([command, ...words, ...argvOf({ ...right, [name]: text })]);
          if (env !== undefined) {
            const { [name]: _, ...others } = right as Record<string, string>;
            await assertHidden([command, ...words, ...argvOf(others)], { [env]: text });
          }
        }
        await assertHidden([command, ...words, text]);
        await assertHidden([command, ...words, `--${text}`]);
        await assertHidden([command, ...words, `--client-key=${kms.clientFiles.key}`, ...text.split(/\s+/)]);
      }
      await assertHidden([text]);
      await assertHidden(["--client-key", ...text.split(/\s+/), "--protocol=kmip"]);
      await assertHidden([...argvOf({ ...rightFlags(), timeout: text })]);
    });

  test("every flag of serve is among those of check, so that nothing was left out", () => {
    assert.deepEqual(
      Object.keys(serveFlags).filter((name) => !Object.hasOwn(checkCommand.flags, name)),
      [],
    );
  });
});
