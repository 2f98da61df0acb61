/** Manual pages, completion and units of the packages: made from what the program itself says, and taken by their readers. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { describe, test } from "node:test";
import { completion } from "../../packaging/completion.ts";
import type { Shell } from "../../packaging/completion.ts";
import { manPages } from "../../packaging/man.ts";
import { exampleEnvironment, templateService, templateSocket } from "../../packaging/units.ts";
import { allCommands } from "../../src/cli/index.ts";
import { serveFlags } from "../../src/cli/serve-flags.ts";
import { parseUnit, splitCommand } from "../cli/unit-file.ts";
import { temporaryFolder } from "../server/harness.ts";

const time = 1_800_000_000;
const pages = new Map(manPages(time).map(({ file, text }) => [file, text]));

/** What a reader sees of roff. */
function plain(text: string): string {
  return text
    .replaceAll(/\\f[BIR]/g, "")
    .replaceAll("\\-", "-")
    .replaceAll("\\(em", "—")
    .replaceAll("\\&", "")
    .replaceAll(/\s+/g, " ");
}

describe("the manual pages", () => {
  for (const command of allCommands)
    test(`say of ${command.name} what --help says: every flag, its meaning, its variable, its default`, () => {
      const text = plain(pages.get(`okms-k8s-encryption-provider-${command.name}.8`) ?? "");
      for (const [flag, { description, env, fallback, hidden }] of Object.entries(command.flags)) {
        if (hidden === true) continue;
        assert.ok(text.includes(`--${flag}`), flag);
        assert.ok(text.includes(plain(description.replaceAll("…", "..."))), description);
        if (env !== undefined) assert.ok(text.includes(`Environment: ${env}.`), env);
        if (fallback !== undefined) assert.ok(text.includes(`The default is ${fallback}.`), fallback);
      }
    });

  test("are the program's and each command's, and bear the time of the release", () => {
    const names = allCommands.map(({ name }) => `okms-k8s-encryption-provider-${name}.8`);
    assert.deepEqual([...pages.keys()].toSorted(), ["okms-k8s-encryption-provider.8", ...names].toSorted());
    for (const text of pages.values()) assert.match(text, /^\.TH "\S+" "8" "2027-01-15"/);
  });

  test("are formatted by groff without a warning, where it is installed", (t) => {
    for (const [file, text] of pages) {
      const args = ["-man", "-ww", "-z", "-K", "utf8"];
      const { error, stderr } = spawnSync("groff", args, { input: text, encoding: "utf8" });
      if (error !== undefined) {
        t.diagnostic("groff is not installed");
        return;
      }
      assert.equal(stderr, "", file);
    }
  });
});

describe("completion", () => {
  const checks: Readonly<Record<Shell, readonly string[]>> = {
    bash: ["-n"],
    zsh: ["-n"],
    fish: ["--no-execute"],
  };
  for (const [shell, args] of Object.entries(checks) as [Shell, readonly string[]][])
    test(`for ${shell} has every command and flag, and ${shell} takes it`, (t) => {
      const text = completion(shell);
      for (const { name, flags } of allCommands) {
        assert.ok(text.includes(name));
        for (const [flag, { hidden }] of Object.entries(flags))
          assert.equal(new RegExp(`(?:--|-l )${flag}(?![\\w-])`).test(text), hidden !== true, flag);
      }
      const file = path.join(temporaryFolder(t), "script");
      writeFileSync(file, text);
      const { error, status, stderr } = spawnSync(shell, [...args, file], { encoding: "utf8" });
      if (error === undefined) assert.equal(status, 0, stderr);
      else t.diagnostic(`${shell} is not installed`);
    });

  test("for bash offers what begins like the word, by a real bash", (t) => {
    const file = path.join(temporaryFolder(t), "script");
    writeFileSync(file, completion("bash"));
    const complete = (...words: readonly string[]): string[] => {
      const script = `. ${file}; COMP_WORDS=(program ${words.map((one) => `'${one}'`).join(" ")}); COMP_CWORD=${words.length}
_okms_k8s_encryption_provider; printf '%s\\n' "\${COMPREPLY[@]}"`;
      return spawnSync("bash", ["-c", script], { encoding: "utf8" }).stdout.trim().split("\n");
    };
    assert.deepEqual(complete("pro"), ["probe"]);
    assert.deepEqual(complete("config", "k"), ["kubeadm", "k3s", "kops"]);
    assert.deepEqual(complete("check", "--encryption-k"), ["--encryption-key-id", "--encryption-key-label"]);
    assert.deepEqual(complete("--encryption-key-l"), ["--encryption-key-label"]);
    assert.deepEqual(complete("check", "--log-level", ""), [""], "its value is no flag");
    const key = path.join(path.dirname(file), "a key.pem");
    writeFileSync(key, "");
    assert.deepEqual(complete("check", "--client-key", key.slice(0, -6)), [key]);
    // As bash splits --client-key=….
    assert.deepEqual(complete("check", "--client-key", "=", key.slice(0, -6)), [key]);
  });

  test("for fish offers what begins like the word, by a real fish", (t) => {
    const folder = temporaryFolder(t);
    const file = path.join(folder, "script");
    writeFileSync(file, completion("fish"));
    const complete = (line: string): string[] => {
      const script = `source ${file}; complete -C "okms-k8s-encryption-provider ${line}"`;
      const env = { ...process.env, HOME: folder };
      const { error, stdout } = spawnSync("fish", ["--no-config", "-c", script], { env, encoding: "utf8" });
      if (error !== undefined) return ["none"];
      return stdout.split("\n").flatMap((one) => (one === "" ? [] : [one.split("\t")[0] ?? ""]));
    };
    if (complete("pro")[0] === "none") {
      t.diagnostic("fish is not installed");
      return;
    }
    assert.deepEqual(complete("pro"), ["probe"]);
    assert.deepEqual(complete("config k"), ["k3s", "kops", "kubeadm"]);
    assert.deepEqual(complete("config kops k"), []);
    assert.deepEqual(complete("check --encryption-k"), ["--encryption-key-id", "--encryption-key-label"]);
    assert.deepEqual(complete("--prot"), ["--protocol"]);
    assert.deepEqual(complete("check --log-level "), []);
  });
});

describe("the template units", () => {
  const name = "okms-k8s-encryption-provider@%i";

  test("belong together, and run as the package's user with the instance's settings", () => {
    const service = parseUnit(templateService);
    assert.deepEqual(service.get("Service", "User"), ["okms"]);
    assert.deepEqual(service.get("Service", "EnvironmentFile"), ["/etc/okms/%i.env"]);
    assert.deepEqual(service.get("Unit", "Requires"), [`${name}.socket`]);
    const socket = parseUnit(templateSocket).get("Socket", "ListenStream")[0] ?? "";
    const command = splitCommand((service.get("Service", "ExecStart")[0] ?? "").replaceAll("%i", "main"));
    assert.deepEqual(command, [
      "/usr/bin/okms-k8s-encryption-provider",
      "serve",
      `--sock=${socket.replace("%i", "main")}`,
    ]);
  });

  test("have an example whose every line sets a variable that the program knows", () => {
    const known = new Set(
      Object.values(serveFlags).flatMap((flag) => ("env" in flag ? [flag.env as string] : [])),
    );
    const lines = exampleEnvironment.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
    assert.ok(lines.length > 5);
    for (const line of lines) assert.ok(known.has(line.split("=")[0] ?? ""), line);
  });
});
