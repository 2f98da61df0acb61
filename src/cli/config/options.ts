/** Reads and checks the flags of `config`. All errors are reported at once. */
import { accessSync, constants } from "node:fs";
import path from "node:path";
import { isSea } from "node:sea";
import { parseServeConfig, type Config } from "../../config/config.ts";
import type { SettingsReader } from "../../config/settings.ts";
import { quote } from "../../text/quote.ts";
import { checkResources } from "../check/encryption-config-resources.ts";
import type { Invocation } from "../command.ts";
import { listOf } from "../etcd/flags.ts";
import { absoluteSock, checkSockLength } from "../kms-endpoint.ts";
import { defaults, installsPlugin, kinds, runsPod, type Kind } from "./kinds.ts";
import { kopsSocketFolder } from "./kops.ts";
import { instanceOf, materialFiles, type InstanceOptions } from "./output.ts";
import { checkNext, nextInstance, readRotation } from "./rotation.ts";
import type { ConfigOptions } from "./run.ts";
import { readMatching, readName } from "./words.ts";

/** Reads the flags. @throws ConfigError where they are wrong */
export function readOptions(invocation: Invocation): ConfigOptions {
  const { read, words } = invocation;
  const kind = kinds.find((one) => one === words[0]);
  if (kind === undefined) read.complain(`Missing or unknown kind: give one of ${kinds.join(", ")}`);
  const options = readCommon(read, kind ?? "encryption-configuration");
  const current = readInstance(invocation, options.kind);
  const rotation = readRotation(read);
  read.finish();
  if (kind === "systemd") warnOfMissing(options, invocation.stderr);
  if (rotation === undefined) return { ...options, instances: [current] };
  const next = nextInstance(invocation, options.kind, current, rotation);
  checkNext(read, current, next);
  read.finish();
  return { ...options, instances: rotation.isReadOnly ? [current, next] : [next, current] };
}

function readCommon(read: SettingsReader, kind: Kind): Omit<ConfigOptions, "instances"> {
  if (runsPod(kind) && read.given("image") === undefined)
    read.complain("Missing required flag --image: the image that the static Pod runs");
  return {
    kind,
    resources: readResources(read),
    apiTimeoutMs: read.durationMs("api-timeout", { min: 100, max: 600_000 }),
    exec: read.given("exec") === undefined && isSea() ? process.execPath : readAbsolute(read, "exec", ""),
    node: readNode(read),
    user: readName(read, "user"),
    image: readMatching(read, "image", /^\S*$/, "holds a space") ?? "",
    selinuxType: readName(read, "selinux-type"),
    out: read.path("out"),
  };
}

function readInstance(invocation: Invocation, kind: Kind): InstanceOptions {
  const { read } = invocation;
  const providerName = readName(read, "provider-name") ?? "";
  const name =
    (runsPod(kind)
      ? readMatching(read, "instance", podName, "is no name of a Pod: small letters, digits, - and . only")
      : readName(read, "instance")) ?? "";
  const config = installsPlugin(kind) ? readServe(invocation) : undefined;
  const given = absoluteSock(config?.sock ?? read.path("sock") ?? "");
  // systemd says at every start that the legacy folder is the other one.
  const sock = kind === "systemd" ? given.replace(/^\/var\/run\//, "/run/") : given;
  if (runsPod(kind)) checkPod(read, config);
  if (kind === "kops" && !sock.startsWith(`${kopsSocketFolder}/`))
    read.complain(`kOps mounts ${kopsSocketFolder} alone: give --sock ${kopsSocketFolder}/okms/kms.sock`);
  if (needsFolder(kind)) checkMountable(read, "--sock", sock);
  checkSockLength(read, sock);
  return instanceOf(invocation, kind, { config, sock, providerName, name });
}

/** The kinds whose API server is a Pod, into which the socket's folder is mounted. */
function needsFolder(kind: Kind): boolean {
  return runsPod(kind) || kind === "kubeadm" || kind === "rke2";
}

function checkPod(read: SettingsReader, config: Config | undefined): void {
  for (const [flag, file] of Object.entries(config === undefined ? {} : materialFiles(config)))
    checkMountable(read, `--${flag}`, file);
  checkGroupIsNumber(read);
  if (config?.httpAddr?.port === 0)
    read.complain("--http-addr needs a port that is known: the kubelet asks there whether the Pod lives");
}

function readResources(read: SettingsReader): string[] {
  const resources = listOf(read.text("resources"));
  if (resources.length === 0) read.complain("Invalid value for --resources: it names none");
  const { status, message } = checkResources([
    { path: "--resources", resources, kinds: [], names: [], kms: [] },
  ]);
  if (status === "failed") read.complain(`Invalid value for ${message}`);
  return resources;
}

/** The kubelet takes a name as of a host (RFC 1123). */
const podName = /^[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?$/;

function readAbsolute(read: SettingsReader, flag: string, fallback: string): string {
  const given = read.path(flag) ?? fallback;
  if (!path.isAbsolute(given))
    read.complain(`Invalid value for --${flag}: ${quote(given)} is not an absolute path`);
  return given;
}

/** Undefined where the program is the single executable. */
function readNode(read: SettingsReader): string | undefined {
  if (read.text("node") === "none") return undefined;
  if (read.given("node") === undefined && isSea()) return undefined;
  return readAbsolute(read, "node", process.execPath);
}

/** systemd ends such a unit with status 203, and its message names no file. */
function warnOfMissing({ exec, node }: Pick<ConfigOptions, "exec" | "node">, stderr: NodeJS.WritableStream) {
  const files = { "--exec": [exec, constants.R_OK], "--node": [node, constants.X_OK] } as const;
  for (const [flag, [file, access]] of Object.entries(files)) {
    if (file === undefined) continue;
    try {
      accessSync(file, access);
    } catch {
      stderr.write(`Warning: ${file} (${flag}) is not on this host: without it the unit cannot start\n`);
    }
  }
}

function readServe({ read, stderr }: Invocation): Config {
  const { config, warnings } = parseServeConfig(read, false);
  for (const warning of warnings) stderr.write(`Warning: ${warning}\n`);
  return config;
}

/** Folders that hold other programs' sockets or files: to mount one is to hand the host over. */
const crowded = new Set(
  (
    "/ /bin /dev /etc /home /lib /opt /root /run /sbin /srv /tmp /usr /usr/bin /usr/lib /usr/local " +
    "/usr/local/bin /usr/local/sbin /usr/sbin /var /var/run /var/tmp"
  ).split(" "),
);

function checkMountable(read: SettingsReader, flag: string, file: string): void {
  const folder = path.dirname(file);
  if (file.startsWith("@") || !crowded.has(folder)) return;
  const example = flag === "--sock" ? `, as --sock /run/${defaults.name}/kms.sock` : "";
  read.complain(
    `${flag} ${file} would mount all of ${folder} into the Pod: give it a folder of its own${example}`,
  );
}

/** An image has its own /etc/group, and a Pod's groups are numbers. */
function checkGroupIsNumber(read: SettingsReader): void {
  const group = read.given("sock-group");
  if (group !== undefined && !/^\d+$/.test(group.text))
    read.complain(
      `Invalid value for ${group.source}: a static Pod knows no group ${quote(group.text)} of the host: give its number`,
    );
}
