/** `check` and `serve` decide alike about the socket's path, whoever runs them: each case is asked of both. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, chownSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, test, type TestContext } from "node:test";
import type { Finding } from "../../../src/cli/check/finding.ts";
import { temporaryFolder } from "../harness.ts";

const root = path.join(import.meta.dirname, "../../..");

/** Asks both in a process of its own, and prints what each says. The socket of serve is closed at once. */
const program = `
  import { checkSocket } from "./src/cli/check/socket.ts";
  import { listenOnSocket } from "./src/server/socket/unix-socket.ts";
  const { sock, group, insecureDir } = JSON.parse(process.env.TEST_OPTIONS);
  const config = { sock, sockGroup: group, replace: false, sockInsecureDir: insecureDir, isUnit: false };
  const finding = await checkSocket(config);
  let refusal = "";
  try {
    const nothing = () => undefined;
    const options = { path: sock, mode: 0o660, group, replace: false, insecureDir, env: {} };
    await (await listenOnSocket({ ...options, onConnection: nothing, onEvent: nothing })).close();
  } catch (error) {
    refusal = error.code + " " + error.message;
  }
  console.log(JSON.stringify({ finding, refusal }));
  process.exit(0);
`;

interface Said {
  readonly finding: Finding;
  /** What serve threw; empty: it listened. */
  readonly refusal: string;
}

interface Asked {
  readonly sock: string;
  readonly group?: string;
  readonly insecureDir?: boolean;
}

/** @param prefix a command that runs another with other rights */
function ask(asked: Asked, prefix: readonly string[] = []): Said {
  const [command = "", ...args] = [...prefix, process.execPath, "--input-type=module", "--eval", program];
  const env = { ...process.env, TEST_OPTIONS: JSON.stringify({ insecureDir: false, ...asked }) };
  return JSON.parse(execFileSync(command, args, { cwd: root, env, encoding: "utf8" })) as Said;
}

/** Both accept, or both refuse with the same words. */
function assertAlike({ finding, refusal }: Said, expected: RegExp | "accepted"): void {
  if (expected === "accepted") {
    assert.deepEqual([finding.status, refusal], ["ok", ""]);
    return;
  }
  assert.equal(finding.status, "failed", JSON.stringify(finding));
  assert.match(finding.message, expected);
  assert.equal(refusal, `SOCKET ${finding.message}: ${finding.advice}`);
}

/** A folder of its own, in which anybody may go, so that a process without rights gets to where it is refused. */
function openFolder(t: TestContext): string {
  const folder = temporaryFolder(t);
  chmodSync(folder, 0o755);
  return folder;
}

function makeFolder(folder: string, mode: number): string {
  mkdirSync(folder);
  chmodSync(folder, mode);
  return folder;
}

describe("the socket's path is", () => {
  const cases: readonly (readonly [
    what: string,
    make: (folder: string) => Asked,
    expected: RegExp | "accepted",
  ])[] = [
    ["accepted in a folder that is there", (folder) => ({ sock: `${folder}/kms.sock` }), "accepted"],
    ["accepted in folders that are missing", (folder) => ({ sock: `${folder}/a/b/kms.sock` }), "accepted"],
    [
      "accepted in a folder of its own below one in which anybody may write, as a sidecar has it",
      (folder) => ({
        sock: `${makeFolder(`${makeFolder(`${folder}/emptydir`, 0o777)}/own`, 0o700)}/kms.sock`,
      }),
      "accepted",
    ],
    [
      "accepted in a folder that is missing below one in which anybody may write",
      (folder) => ({ sock: `${makeFolder(`${folder}/emptydir`, 0o777)}/own/kms.sock` }),
      "accepted",
    ],
    [
      "refused in a folder in which anybody may write",
      (folder) => ({ sock: `${makeFolder(`${folder}/emptydir`, 0o777)}/kms.sock` }),
      /^others may write to the folder .*emptydir/,
    ],
    [
      "accepted there with --sock-insecure-dir",
      (folder) => ({ sock: `${makeFolder(`${folder}/emptydir`, 0o777)}/kms.sock`, insecureDir: true }),
      "accepted",
    ],
    [
      "refused below a link that leads nowhere",
      (folder) => {
        symlinkSync("/nowhere/at/all", `${folder}/link`);
        return { sock: `${folder}/link/kms.sock` };
      },
      /link is a symbolic link to \/nowhere\/at\/all, which does not exist$/,
    ],
    [
      "refused below a link that leads to itself",
      (folder) => {
        symlinkSync("link", `${folder}/link`);
        return { sock: `${folder}/link/kms.sock` };
      },
      /link is a symbolic link that leads to itself$/,
    ],
    [
      "refused below a file",
      (folder) => {
        writeFileSync(`${folder}/file`, "");
        return { sock: `${folder}/file/a/kms.sock` };
      },
      /is not a folder$/,
    ],
    [
      "refused where it is a folder",
      (folder) => ({ sock: makeFolder(`${folder}/d`, 0o755) }),
      /d is a folder$/,
    ],
    [
      "refused where it is a file",
      (folder) => {
        writeFileSync(`${folder}/file`, "");
        return { sock: `${folder}/file` };
      },
      /file exists and is not a socket$/,
    ],
    [
      "refused for a group that does not exist",
      (folder) => ({ sock: `${folder}/s`, group: "nosuchgroup" }),
      /no group nosuchgroup/,
    ],
    [
      "refused where it is too long",
      (folder) => ({ sock: `${folder}/${"x".repeat(120)}` }),
      /Linux allows 107$/,
    ],
  ];
  for (const [what, make, expected] of cases)
    test(what, (t) => {
      assertAlike(ask(make(temporaryFolder(t))), expected);
    });
});

const isRoot = process.getuid?.() === 0;
const withoutRights = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"];
const withoutCapabilities = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--"];

/** Root can take other rights; another user has its own alone, which are those of these cases. */
describe("with fewer rights the socket's path is", () => {
  test("refused in another user's folder", (t) => {
    const folder = openFolder(t);
    const said = ask({ sock: isRoot ? `${folder}/kms.sock` : "/kms.sock" }, isRoot ? withoutRights : []);
    assertAlike(said, /^uid \d+ may not create a file in \//);
  });

  test("refused for a group that the process is no member of", (t) => {
    const folder = openFolder(t);
    if (isRoot) chownSync(folder, 65_534, 65_534);
    const said = ask({ sock: `${folder}/kms.sock`, group: "4242" }, isRoot ? withoutRights : []);
    assertAlike(said, /^the socket cannot be given to group 4242$/);
  });

  test("refused to root without capabilities in another user's folder", (t) => {
    if (!isRoot) return t.diagnostic("needs root");
    const folder = openFolder(t);
    chownSync(folder, 65_534, 65_534);
    return assertAlike(
      ask({ sock: `${folder}/kms.sock` }, withoutCapabilities),
      /^uid 0 may not create a file in/,
    );
  });

  test("refused on a file system that is read-only", (t) => {
    const folder = temporaryFolder(t);
    const mount = [
      "unshare",
      "--mount",
      "--map-root-user",
      "sh",
      "-c",
      `mount -t tmpfs -o ro tmpfs "$0" && exec "$@"`,
      folder,
    ];
    if (spawnSync(mount[0] ?? "", [...mount.slice(1), "true"]).status !== 0)
      return t.diagnostic("this machine lets no test mount anything");
    for (const sock of [`${folder}/kms.sock`, `${folder}/a/kms.sock`])
      assertAlike(ask({ sock }, mount), /^the file system of .* is read-only$/);
    return rmSync(folder, { recursive: true, force: true });
  });

  test("refused in a folder of the kernel's own", () => {
    for (const folder of ["/proc", "/sys"])
      assertAlike(ask({ sock: `${folder}/kms.sock` }), /belongs to the kernel: no socket can be made there$/);
  });

  test("refused on a file system without room for another file", (t) => {
    const folder = temporaryFolder(t);
    const script = `mount -t tmpfs -o nr_inodes=2 tmpfs "$0" && touch "$0/last" && exec "$@"`;
    const mount = ["unshare", "--mount", "--map-root-user", "sh", "-c", script, folder];
    if (spawnSync(mount[0] ?? "", [...mount.slice(1), "true"]).status !== 0)
      return t.diagnostic("this machine lets no test mount anything");
    return assertAlike(ask({ sock: `${folder}/kms.sock` }, mount), /has no room for another file$/);
  });
});
