/**
 * The image's own files for each architecture, as the image's user in a root that nobody may write to, without any other program: the
 * one of this machine by itself, the other under qemu-user. Each serves both protocols from a socket in a folder of the host's.
 */
import { execFileSync, spawn, spawnSync } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
} from "node:fs";
import path from "node:path";
import { isDeepStrictEqual } from "node:util";
import { emulator } from "../../packaging/executable.ts";
import { architectures, debianName, manifest } from "../../packaging/host.ts";
import type { Architecture } from "../../packaging/host.ts";
import { ended } from "../apiserver/cluster.ts";
import { createApiServer } from "../devkms/api-server.ts";
import { type DevKms, startDevKms } from "../devkms/devkms.ts";
import { name } from "./first-day.ts";
import type { Steps } from "./steps.ts";

const user = 65_532;
/** As a container's: where a variable of Node.js is set the program starts itself anew, which qemu-user cannot. */
const env = { PATH: process.env["PATH"] };

/** Runs the steps. @param archive the image, as an OCI layout in a tar file */
export async function imageRun(steps: Steps, archive: string): Promise<void> {
  const folder = mkdtempSync("/var/tmp/okms-image-");
  const kms = await startDevKms();
  kms.keys.create({ name: "etcd" });
  try {
    for (const architecture of architectures) {
      const root = unpack(archive, folder, architecture);
      if (root === undefined) steps.fail(`the image has no ${debianName[architecture]}`);
      else await serves({ steps, kms, architecture, root });
    }
  } catch (error) {
    steps.fail(String(error instanceof Error ? error.stack : error));
  } finally {
    await kms.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

interface Index {
  readonly manifests: readonly {
    readonly digest: string;
    readonly platform?: { readonly architecture: string };
  }[];
}

function blob(digest: string): string {
  return `blobs/${digest.replace(":", "/")}`;
}

/** The layers of an architecture, one over the other. @returns the folder; undefined where there are none */
function unpack(archive: string, folder: string, architecture: Architecture): string | undefined {
  const read = (file: string): Buffer =>
    execFileSync("tar", ["-xOf", archive, file], { maxBuffer: 1024 * 1024 * 1024 });
  const parsed = (file: string): unknown => JSON.parse(read(file).toString());
  const top = parsed("index.json") as Index;
  const index = parsed(blob(top.manifests[0]?.digest ?? "")) as Index;
  const found = index.manifests.find((one) => one.platform?.architecture === debianName[architecture]);
  if (found === undefined) return undefined;
  const { layers } = parsed(blob(found.digest)) as {
    readonly layers: readonly { readonly digest: string }[];
  };
  const root = path.join(folder, architecture);
  mkdirSync(root);
  for (const { digest } of layers)
    execFileSync("tar", ["-xzpf", "-", "-C", root], { input: read(blob(digest)) });
  return root;
}

interface Image {
  readonly steps: Steps;
  readonly kms: DevKms;
  readonly architecture: Architecture;
  readonly root: string;
}

async function serves(image: Image): Promise<void> {
  const { steps, kms, architecture, root } = image;
  for (const folder of ["etc/okms", "run/okms"]) {
    mkdirSync(path.join(root, folder), { recursive: true });
    chownSync(path.join(root, folder), user, user);
  }
  for (const [own, file] of Object.entries(kms.clientFiles)) {
    const copy = path.join(root, "etc/okms", `${own}.pem`);
    copyFileSync(file, copy);
    chownSync(copy, user, user);
    chmodSync(copy, 0o400);
  }
  const isForeign = architecture !== process.arch;
  if (isForeign) {
    const found = execFileSync("which", [emulator(architecture)], { encoding: "utf8" }).trim();
    copyFileSync(found, path.join(root, "emulator"));
  }
  const began = performance.now();
  const told = spawnSync("unshare", inside(image, ["--version"]), { env, encoding: "utf8" }).stdout.trim();
  const time = `${Math.round(performance.now() - began)} ms${isForeign ? ", emulated" : ""}`;
  steps.check(`${debianName[architecture]}: ${told} (${time})`, told === `${name} ${manifest.version}`);
  const faces = {
    kmip: ["--protocol=kmip", `--serv-addr=${kms.kmipAddress}`],
    rest: ["--protocol=rest", `--serv-addr=${kms.restUrl}`, `--okms-id=${kms.okmsId}`],
  };
  for (const [protocol, flags] of Object.entries(faces)) await serveOne(image, protocol, flags);
}

const common = [
  "--encryption-key-label=etcd",
  "--client-cert=/etc/okms/cert.pem",
  "--client-key=/etc/okms/key.pem",
  "--ca=/etc/okms/ca.pem",
];

async function serveOne(image: Image, protocol: string, face: readonly string[]): Promise<void> {
  const { steps, architecture, root } = image;
  const label = `${debianName[architecture]}, ${protocol}`;
  const flags = [...face, ...common, `--sock=/run/okms/${protocol}.sock`];
  const checked = await output(inside(image, ["check", ...flags]));
  steps.check(`${label}: check`, checked.includes("all checks passed"), checked);
  const log = openSync(path.join(root, `${protocol}.log`), "a");
  const plugin = spawn("unshare", inside(image, ["serve", ...flags]), { env, stdio: ["ignore", log, log] });
  try {
    const sock = path.join(root, `run/okms/${protocol}.sock`);
    await steps.until(`${label}: serve answers Status, Encrypt and Decrypt`, 20, () => roundTrip(sock));
    const probed = await output(inside(image, ["probe", `--sock=/run/okms/${protocol}.sock`]));
    steps.check(`${label}: its own probe is content`, probed.includes("✔ Decrypt"), probed);
  } finally {
    await ended(plugin);
  }
  const lines = readFileSync(path.join(root, `${protocol}.log`), "utf8");
  steps.check(`${label}: SIGTERM ends it, code ${plugin.exitCode}`, plugin.exitCode === 0, lines);
}

/** Arguments of unshare: a root that is read-only but for the socket's folder, then the program in it as the image's user. */
function inside({ architecture, root }: Image, args: readonly string[]): string[] {
  const script = `mount --bind "$0" "$0" && mount --bind "$0/run/okms" "$0/run/okms" && mount -o remount,bind,ro "$0" &&
exec chroot --userspec=${user}:${user} "$0" "$@"`;
  const emulated = architecture === process.arch ? [] : ["/emulator"];
  return ["--mount", "sh", "-c", script, root, ...emulated, `/usr/bin/${name}`, ...args];
}

async function roundTrip(sock: string): Promise<boolean> {
  if (!existsSync(sock)) return false;
  const api = createApiServer(sock, 10_000);
  try {
    const seed = new Uint8Array(32).fill(7);
    if ((await api.status()).healthz !== "ok") return false;
    return isDeepStrictEqual(new Uint8Array((await api.decrypt(await api.encrypt(seed))).plaintext), seed);
  } catch {
    return false;
  } finally {
    api.close();
  }
}

/** Not synchronously: the KMS is in this process. */
function output(args: readonly string[]): Promise<string> {
  const child: ChildProcess = spawn("unshare", args, { env, stdio: ["ignore", "pipe", "pipe"] });
  const parts: string[] = [];
  for (const stream of [child.stdout, child.stderr])
    stream?.setEncoding("utf8").on("data", (part: string) => parts.push(part));
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", () => resolve(parts.join("")));
  });
}
