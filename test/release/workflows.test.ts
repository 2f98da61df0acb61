/** The workflows name only what there is: scripts of package.json, files of the repository, programs that their container gets. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, globSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import path from "node:path";
import { describe, test } from "node:test";
import { parse } from "yaml";
import { pins } from "../../packaging/host.ts";

const root = path.resolve(import.meta.dirname, "../..");
const folder = path.join(root, ".github/workflows");
const { scripts } = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8")) as {
  readonly scripts: Readonly<Record<string, string>>;
};

interface Job {
  readonly container?: string;
  readonly steps: readonly { readonly uses?: string; readonly run?: string }[];
}

test("actionlint finds nothing, where it is installed", (t) => {
  const files = globSync("*.yaml", { cwd: folder });
  const { error, status, stdout } = spawnSync("actionlint", ["-no-color", ...files], {
    cwd: folder,
    encoding: "utf8",
    env: { ...process.env, PATH: `${process.env["PATH"]}:${path.join(homedir(), "go/bin")}` },
  });
  if (error === undefined) assert.equal(status, 0, stdout);
  else t.diagnostic(`it is not: go install github.com/rhysd/actionlint/cmd/actionlint@${pins.actionlint}`);
});

for (const file of globSync("*.yaml", { cwd: folder }))
  describe(file, () => {
    const { jobs } = parse(readFileSync(path.join(folder, file), "utf8")) as {
      readonly jobs: Readonly<Record<string, Job>>;
    };
    for (const [name, { container, steps }] of Object.entries(jobs)) {
      const commands = steps.flatMap(({ run }) => run ?? []).join("\n");

      test(`${name} runs scripts that there are`, () => {
        for (const [, script = ""] of commands.matchAll(/npm run ([\w-]+)/g))
          assert.ok(Object.hasOwn(scripts, script), script);
        for (const script of Object.values(scripts))
          for (const [, own = ""] of script.matchAll(/node (?:--\S+ )*(\S+\.ts)/g))
            assert.ok(existsSync(path.join(root, own)), own);
      });

      test(`${name} has a version of each action`, () => {
        for (const { uses } of steps) if (uses !== undefined) assert.match(uses, /^[\w-]+\/[\w-]+@v\d+$/);
      });

      if (container === undefined || !commands.includes("npm run release")) continue;
      test(`${name} installs what a release needs in ${container}`, () => {
        // Node.js itself needs libatomic1, which a container of Debian has not.
        for (const own of ["ca-certificates", "git", "libatomic1", "mmdebstrap", "qemu-user-static"])
          assert.match(commands, new RegExp(`apt-get install .*\\b${own}\\b`));
        assert.ok(steps.some(({ uses }) => uses?.startsWith("actions/setup-go@")));
      });
    }
  });
