/**
 * README.md and docs/: what they name is there (flags, variables, metrics, scripts, files, headings), what is there
 * they name (flags, error codes, lines of the log), and what `config` is shown to print it prints.
 */
import assert from "node:assert/strict";
import { existsSync, globSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, test } from "node:test";
import { Code } from "@connectrpc/connect";
import { auditCommand } from "../src/cli/audit.ts";
import { renderMetrics } from "../src/cli/audit/textfile.ts";
import { checkCommand } from "../src/cli/check.ts";
import type { Flag, FlagSet } from "../src/cli/command.ts";
import { configCommand } from "../src/cli/config.ts";
import { kinds as configKinds } from "../src/cli/config/kinds.ts";
import { initCommand } from "../src/cli/init.ts";
import { probeCommand } from "../src/cli/probe.ts";
import { recoverCommand } from "../src/cli/recover.ts";
import { reencryptCommand } from "../src/cli/reencrypt.ts";
import { serveFlags } from "../src/cli/serve-flags.ts";
import { type ErrorCode, errorKinds, ProviderError } from "../src/errors.ts";
import { callerMessage, grpcCode } from "../src/server/rpc/errors.ts";
import { runCommand } from "./cli/run-command.ts";
import { createUsedMetrics } from "./used-metrics.ts";

const root = path.dirname(import.meta.dirname);
const pages = ["README.md", ...globSync("docs/*.md", { cwd: root }).toSorted()];

function read(file: string): string {
  return readFileSync(path.join(root, file), "utf8");
}

/** The text on one line, so that a break in it is no difference. */
function joined(text: string): string {
  return text.replaceAll(/\s+/g, " ");
}

/** Every match of the pattern's first group in each page, with the page. */
function mentions(pattern: RegExp): { page: string; name: string }[] {
  return pages.flatMap((page) => [...read(page).matchAll(pattern)].map(([, name = ""]) => ({ page, name })));
}

/** A row of README's table of flags. */
function row(name: string, flag: Flag): string {
  const title = flag.type === "boolean" ? `--${name}` : `--${name} ${flag.valueHint ?? "VALUE"}`;
  return joined(
    `| \`${title}\` | \`${flag.env ?? ""}\` | ${flag.default ?? flag.fallback ?? ""} | ${flag.description} |`,
  );
}

/** As GitHub makes them. */
function anchorsOf(text: string): Set<string> {
  const headings = [...text.matchAll(/^#+ (.+)$/gm)].map(([, heading = ""]) => heading);
  return new Set(
    headings.map((heading) =>
      heading
        .toLowerCase()
        .replaceAll(/[^\w\- ]/g, "")
        .replaceAll(" ", "-"),
    ),
  );
}

/** Whether a link of a page leads to something. */
function isThere(page: string, link: string): boolean {
  const [file = "", anchor] = link.split("#");
  const target = file === "" ? page : path.join(path.dirname(page), file);
  if (!existsSync(path.join(root, target))) return false;
  return anchor === undefined || anchorsOf(read(target)).has(anchor);
}

/** Of a template the longest part without a value. */
function longestPart(text: string): string {
  const parts = text.split(/\$\{(?:[^{}]|\{[^{}]*\})*\}/).map((part) => part.trim());
  return parts.toSorted((a, b) => b.length - a.length)[0] ?? "";
}

/** Fenced blocks that begin with `$ okms-k8s-encryption-provider config …`, with `$FLAGS` of the page put in. */
function transcripts(): { page: string; command: string; output: string }[] {
  return pages.flatMap((page) => {
    const text = read(page);
    const flags = /^FLAGS="([^"]+)"/m.exec(text)?.[1]?.replaceAll("\\\n", "") ?? "";
    const blocks = text.matchAll(
      /^```\n\$ (okms-k8s-encryption-provider config (?:[^\n]*\\\n)*[^\n]*)\n([\s\S]*?)^```$/gm,
    );
    return [...blocks].map(([, command = "", output = ""]) => ({
      page,
      command: command.replaceAll("\\\n", "").replace("$FLAGS", flags),
      output,
    }));
  });
}

function words(command: string): string[] {
  return command.split(/\s+/);
}

describe("README's table of flags", () => {
  for (const [name, flag] of Object.entries<Flag>(serveFlags).filter(([, { hidden }]) => hidden !== true))
    test(`has --${name} with its variable, its default and its meaning`, () => {
      assert.ok(
        read("README.md").includes(`${row(name, flag)}\n`),
        `README.md lacks the row\n${row(name, flag)}`,
      );
    });

  test("has no row of another flag", () => {
    const rows = [...read("README.md").matchAll(/^\| `--([a-z-]+)/gm)].map(([, name]) => name);
    assert.deepEqual(
      rows.filter((name) => name === undefined || !Object.hasOwn(serveFlags, name)),
      [],
    );
  });
});

describe("The docs name what is there:", () => {
  /** Of kube-apiserver, kubectl, buf, npm and their like. */
  const foreignFlags = new Set([
    "encryption-provider-config",
    "encryption-provider-config-automatic-reload",
    "all-namespaces",
    "raw",
    "http2-prior-knowledge",
    "unix-socket",
    "data",
    "against",
    "list-methods",
    "now",
    "server",
    "control-plane",
    "print-value-only",
    "endpoints",
    "cacert",
    "kubernetes",
    "cert",
    "key",
    "name",
    "prefix",
    "max-semi-space-size",
    "disable-sigusr1",
    // Of podman.
    "build-arg",
    "cap-drop",
    "input",
    "network",
    "read-only",
    "rm",
    "volume",
    // Of the distributions, and of the tools that verify a release.
    "config",
    "dry-run",
    "advertise-address",
    "apiserver-advertise-address",
    "secrets-encryption",
    "force",
    "yes",
    "namespace",
    "check",
    "ignore-missing",
    "bundle",
    "certificate-identity-regexp",
    "certificate-oidc-issuer",
    "repo",
    // Of this project's own scripts.
    "transcript",
    "verify",
    "quick",
    "only",
    "secrets",
    "servers",
    "at-once",
    "seeds",
    "odd",
    // A placeholder.
    "flag",
  ]);
  const all: FlagSet = {
    ...serveFlags,
    ...checkCommand.flags,
    ...probeCommand.flags,
    ...configCommand.flags,
    ...initCommand.flags,
    ...reencryptCommand.flags,
    ...auditCommand.flags,
    ...recoverCommand.flags,
  };

  test("every flag", () => {
    const known = new Set([...Object.keys(all), ...foreignFlags, "help", "version"]);
    const unknown = mentions(/(?<![\w-])--([a-z][a-z0-9-]*)/g).filter(({ name }) => !known.has(name));
    assert.deepEqual(unknown, []);
  });

  test("every variable", () => {
    const known = new Set(Object.values<Flag>(all).map(({ env }) => env));
    // Of the package's own script.
    known.add("OKMS_PURGE_CONFIG");
    const unknown = mentions(/\b(OKMS_[A-Z_]+)\b/g).filter(({ name }) => !known.has(name));
    assert.deepEqual(unknown, []);
  });

  test("every metric", async () => {
    const audited = await renderMetrics({ sources: [], verdicts: [], isGood: true });
    const exposition = `${await createUsedMetrics().render()}\n${audited}`;
    const known = new Set([...exposition.matchAll(/^# TYPE (\w+)/gm)].map(([, name]) => name));
    const unknown = mentions(/\b(okms_(?!etcd_plugin)\w*[a-z])\b/g)
      .map(({ page, name }) => ({ page, name: name.replace(/_(bucket|sum|count)$/, "") }))
      .filter(({ name }) => !known.has(name));
    assert.deepEqual(unknown, []);
  });

  test("every error code", () => {
    const known = new Set(Object.keys(errorKinds));
    const families = /\b((?:TTLV|KMIP|KEY|REST|REQUEST)_[A-Z0-9_]+)\b/g;
    assert.deepEqual(
      mentions(families).filter(({ name }) => !known.has(name)),
      [],
    );
  });

  test("every npm script", () => {
    const { scripts } = JSON.parse(read("package.json")) as { scripts: Record<string, string> };
    assert.deepEqual(
      mentions(/npm run (?:-\S+ )*([a-z]+)/g).filter(({ name }) => !Object.hasOwn(scripts, name)),
      [],
    );
  });

  test("every file of the repository", () => {
    const files = mentions(/(?<![\w./-])((?:src|test|docs|proto|gen)\/[\w./-]*\w)/g);
    assert.deepEqual(
      files.filter(({ name }) => !existsSync(path.join(root, name))),
      [],
    );
  });

  test("every page and heading that is linked to", () => {
    const broken = mentions(/\]\(([^)\s]+)\)/g)
      .filter(({ name }) => !name.startsWith("https:"))
      .filter(({ page, name }) => !isThere(page, name));
    assert.deepEqual(broken, []);
  });
});

describe("The docs can be read by anyone:", () => {
  test("no page names a path of the machine that it was written on", () => {
    assert.deepEqual(mentions(/(?<![\w.])(\/(?:work|tmp|root|home)\/[^\s"'`]*)/g), []);
  });

  test("README leads to the index, and the index to every page", () => {
    assert.ok(read("README.md").includes("(docs/README.md)"));
    const index = read("docs/README.md");
    const others = pages.slice(1).filter((page) => page !== "docs/README.md");
    assert.deepEqual(
      others.filter((page) => !index.includes(`(${path.basename(page)})`)),
      [],
    );
  });

  test("they are part of the package", () => {
    const { files } = JSON.parse(read("package.json")) as { files: readonly string[] };
    assert.ok(files.includes("docs"));
  });
});

describe("docs/troubleshooting.md", () => {
  const page = joined(read("docs/troubleshooting.md"));

  for (const code of Object.keys(errorKinds) as ErrorCode[])
    test(`has ${code} with the text and the gRPC code that a caller gets`, () => {
      const error = new ProviderError(code, "");
      const [text] = callerMessage(error).split(" [");
      const begin = `| \`${code}\` | ${text} | ${Code[grpcCode(error)]} |`;
      assert.ok(page.includes(begin), `it lacks ${begin}`);
    });

  for (const { file, message } of logMessages())
    test(`has the line "${message}" of ${file}`, () => {
      assert.ok(page.includes(message), `it lacks "${message}"`);
    });

  /** The first literal of each warning and error that is written to the log; of a template its longest fixed part. */
  function logMessages(): { file: string; message: string }[] {
    const call =
      /(?:logger\s*\.(?:warn|error)|warnings\.push)\(\s*(?:days[^?]*\?[^"`]*)?(["`])((?:(?!\1)[^\\]|\\.)*)\1/g;
    const found = globSync("src/**/*.ts", { cwd: root }).flatMap((file) =>
      [...read(file).matchAll(call)].map(([, , text = ""]) => ({ file, message: longestPart(text) })),
    );
    assert.ok(found.length > 25, `only ${found.length} lines were found: has the logger another name?`);
    return found.filter(({ message }) => message !== "");
  }
});

describe("docs/check.md", () => {
  const source = globSync("src/{cli/check,server/key,server/socket}/*.ts", { cwd: root })
    .map((file) => read(file))
    .join("\n");
  /** Those with a value in them, as patterns. */
  const templates = [...source.matchAll(/`([^`\n]*\$\{[^`\n]*)`/g)].map(([, text = ""]) => {
    const parts = text.split(/\$\{[^{}]*\}/).map((part) => part.replaceAll(/[^\w\s]/g, "\\$&"));
    // One of values alone would match any text.
    return parts.join("").length < 12 ? /^$/ : new RegExp(`^${parts.join(".+")}$`);
  });
  const advice = [...read("docs/check.md").matchAll(/^\s+→ (.+)$/gm)].map(([, text = ""]) => text);

  test("shows no advice that check does not give", () => {
    assert.ok(advice.length > 25);
    assert.deepEqual(
      advice.filter((text) => !source.includes(text) && !templates.some((one) => one.test(text))),
      [],
    );
  });

  test("shows each check fail or warn", () => {
    const shown = new Set(
      [...read("docs/check.md").matchAll(/^[✖!] (api \w+|round trip|\w+)/gm)].map(([, name]) => name),
    );
    const whole = [...read("docs/check.md").matchAll(/^✔ (api \w+|round trip|\w+)/gm)].map(
      ([, name]) => name,
    );
    assert.deepEqual(
      [...new Set(whole)].filter((name) => !shown.has(name)),
      [],
    );
  });
});

describe("What `config` prints in the docs", () => {
  for (const { page, command, output } of transcripts())
    test(`is what it prints: ${command} (${page})`, async () => {
      const { code, stdout } = await runCommand(configCommand, words(command).slice(2));
      assert.equal(code, 0);
      assert.equal(output, stdout, `run it again, and put its output into ${page}`);
    });

  test("is there at all", () => {
    const kinds = transcripts().map(({ command }) => words(command)[2]);
    assert.deepEqual([...new Set(kinds)].toSorted(), [...configKinds].toSorted());
  });
});
