/**
 * `check --user` on the built program, as root: it judges with the rights of the unit, which has another user, or is root
 * without capabilities. The kernel judges: files of other users, folders, groups.
 */
import assert from "node:assert/strict";
import { chmodSync, chownSync, cpSync, mkdirSync, writeFileSync } from "node:fs";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { type DevKms, startDevKms } from "../devkms/devkms.ts";
import { startProgram } from "./program.ts";

const isRoot = process.getuid?.() === 0;
const nobody = 65_534;
let kms: DevKms;
let folder = "";

before(async () => {
  kms = await startDevKms();
  kms.keys.create({ name: "etcd" });
  folder = mkdtempSync(path.join(tmpdir(), "okms-as-user-"));
  chmodSync(folder, 0o755);
});
after(async () => {
  await kms.close();
  rmSync(folder, { recursive: true });
});

/** The client's files, owned by `owner`, the key readable by its owner alone; and a socket's folder that is root's. */
function flagsFor(owner: number): string[] {
  const own = path.join(folder, String(owner));
  mkdirSync(path.join(own, "run"), { recursive: true, mode: 0o755 });
  for (const [name, file] of Object.entries(kms.clientFiles)) {
    const copy = path.join(own, `${name}.pem`);
    cpSync(file, copy);
    chmodSync(copy, name === "key" ? 0o400 : 0o444);
    chownSync(copy, owner, owner);
  }
  return [
    "--protocol=kmip",
    `--serv-addr=${kms.kmipAddress}`,
    "--encryption-key-label=etcd",
    ...["cert", "key", "ca"].map(
      (name) => `--${name === "ca" ? "ca" : `client-${name}`}=${path.join(own, `${name}.pem`)}`,
    ),
    `--sock=${path.join(own, "run/kms.sock")}`,
  ];
}

describe("check --user", { skip: isRoot ? false : "it needs root" }, () => {
  test("passes for a user who may read the files, though the socket's folder is root's: systemd creates the socket", async (t) => {
    const { code, stdout } = await startProgram(t, ["check", "--user=nobody", ...flagsFor(nobody)]).ended;
    assert.equal(code, 0, stdout);
    assert.match(stdout, /^✔ files +3 files, readable by uid 65534$/m);
    assert.match(stdout, /^✔ socket +systemd creates it$/m);
  });

  test("fails for a user who may not, where root alone passes", async (t) => {
    const flags = flagsFor(0);
    const asRoot = await startProgram(t, ["check", ...flags]).ended;
    assert.equal(asRoot.code, 0, asRoot.stdout);
    const { code, stdout } = await startProgram(t, ["check", "--user=nobody", ...flags]).ended;
    assert.equal(code, 1);
    assert.match(stdout, /^✖ files .*key\.pem: permission denied.*uid 65534/m);
  });

  test("fails as root, too, for another user's key: the unit is root without capabilities", async (t) => {
    const flags = flagsFor(nobody);
    const withAll = await startProgram(t, ["check", ...flags]).ended;
    assert.equal(withAll.code, 0, "root with all capabilities reads it");
    const { code, stdout } = await startProgram(t, ["check", "--user=root", ...flags]).ended;
    assert.equal(code, 1, stdout);
    assert.match(stdout, /^✖ files .*key\.pem: .*permission denied/m);
  });

  test("says that there is no such user, with exit code 2", async (t) => {
    const { code, stderr } = await startProgram(t, ["check", "--user=no-such-user", ...flagsFor(0)]).ended;
    assert.equal(code, 2);
    assert.equal(stderr, '--user "no-such-user": there is no such user\n');
  });

  test("reads the settings of an instance from its file, as its unit does", async (t) => {
    const variables = {
      protocol: "PROTOCOL",
      "serv-addr": "SERV_ADDR",
      "encryption-key-label": "KEY_LABEL",
      "client-cert": "CLIENT_CERT",
      "client-key": "CLIENT_KEY",
      ca: "CA_CERT",
      sock: "SOCK",
    };
    const lines = flagsFor(nobody).map((flag) => {
      const [, name = "", value = ""] = /^--([a-z-]+)=(.*)$/.exec(flag) ?? [];
      return `OKMS_${variables[name as keyof typeof variables]}="${value}"\n`;
    });
    const file = path.join(folder, "main.env");
    writeFileSync(file, `# settings\n\n${lines.join("")}`, { mode: 0o600 });
    const { code, stdout } = await startProgram(t, ["check", "--user=nobody", `--environment-file=${file}`])
      .ended;
    assert.equal(code, 0, stdout);
  });
});
