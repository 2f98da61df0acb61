/**
 * `npm run host`: the .deb of `npm run release` on a booted Debian host, through an operator's year: the first day up to a
 * Secret in etcd, then what comes later; the .rpm on the same host; and the image as a static Pod under a kubelet. A line a
 * step; exit code 1 where one failed, 2 where it cannot begin. Not part of `npm test`: it takes minutes.
 */
import { cpSync, globSync, mkdtempSync, rmSync } from "node:fs";
import path from "node:path";
import { emulator } from "../../packaging/executable.ts";
import { needPrograms, oneOf, readOptions } from "../../packaging/script.ts";
import { startDevKms } from "../devkms/devkms.ts";
import { firstDay } from "./first-day.ts";
import { imageRun } from "./image.ts";
import { startHost } from "./nspawn.ts";
import { podRun } from "./pod.ts";
import { rpmLife } from "./rpm.ts";
import { createSteps } from "./steps.ts";
import { year } from "./year.ts";

const usage = `npm run host -- [--only host|image|pod] [--suite SUITE] [--kubernetes VERSION] [--transcript] [--keep]

The packages and the image of \`npm run release\` on a booted Debian host, and under a kubelet.

  --only host           the packages on a booted host
  --only image          the image's files for each architecture, the other one under qemu-user
  --only pod            the image as a static Pod under a kubelet (default: all three)
  --suite SUITE         Debian's: bullseye, bookworm or trixie (default: bookworm)
  --kubernetes VERSION  of kube-apiserver and kubelet, built by Go (default: v1.37.2)
  --transcript          put the first day into docs/install.md
  --keep                leave the folder of the host`;

const values = readOptions(usage, {
  suite: { type: "string", default: "bookworm" },
  transcript: { type: "boolean", default: false },
  keep: { type: "boolean", default: false },
  only: { type: "string" },
  kubernetes: { type: "string", default: "v1.37.2" },
});
const suite = oneOf(usage, "suite", values.suite, ["bullseye", "bookworm", "trixie"]);
const only =
  values.only === undefined ? undefined : oneOf(usage, "only", values.only, ["host", "image", "pod"]);
const foreign = process.arch === "x64" ? "arm64" : "x64";
const files = prepared();

const began = performance.now();
const steps = createSteps();
if (asked("host")) await hostRun();
if (asked("image")) {
  console.log("the image's files for each architecture");
  await imageRun(steps, files.archive);
}
if (asked("pod")) {
  console.log(`the image as a static Pod, kubelet and kube-apiserver ${values.kubernetes}`);
  await podRun(steps, files.archive, values.kubernetes);
}
const { passed, failed } = steps;
console.log(`${passed} passed, ${failed} failed, ${Math.round((performance.now() - began) / 1000)} s`);
process.exitCode = failed === 0 ? 0 : 1;

function asked(part: typeof only): boolean {
  return only === undefined || only === part;
}

/** What the run is about, where all that it needs is there; otherwise it ends with 2. */
function prepared(): Record<"deb" | "rpm" | "executable" | "archive", string> {
  try {
    if (process.getuid?.() !== 0) throw new Error("run it as root: it boots a container");
    needPrograms({
      ...(only !== "image" && { go: "Debian package golang-go, or Go's own" }),
      ...(asked("host") && {
        mmdebstrap: "Debian package mmdebstrap",
        "systemd-nspawn": "Debian package systemd-container",
      }),
      ...(asked("image") && { [emulator(foreign)]: "Debian package qemu-user-static" }),
      ...(asked("pod") && { containerd: "Debian package containerd", runc: "Debian package runc" }),
    });
    const [debian, rpm] = process.arch === "x64" ? ["amd64", "x86_64"] : ["arm64", "aarch64"];
    return {
      deb: released(`*_${debian}.deb`),
      rpm: released(`*.${rpm}.rpm`),
      executable: released(`*-linux-${debian}`),
      archive: released("*-oci.tar"),
    };
  } catch (error) {
    console.error(`host: ${error instanceof Error ? error.message : String(error)}`);
    process.exit(2);
  }
}

function released(pattern: string): string {
  const folder = path.resolve(import.meta.dirname, "../../dist/release");
  const [file] = globSync(pattern, { cwd: folder });
  if (file === undefined)
    throw new Error(`there is no ${pattern} in dist/release: run \`npm run release\` first`);
  return path.join(folder, file);
}

async function hostRun(): Promise<void> {
  // Not below /tmp, which the host empties when it boots.
  const folder = mkdtempSync("/var/tmp/okms-host-");
  const kms = await startDevKms();
  await kms.setServerCertificate({ dnsNames: ["kms.example.net", "localhost"] });
  const host = await startHost(folder, suite);
  try {
    const systemd = (await host.must("systemctl --version")).split("\n")[0] ?? "";
    console.log(`Debian ${suite}, ${systemd}, ${path.basename(files.deb)}`);
    await host.must("echo 127.0.0.1 kms.example.net >> /etc/hosts");
    const copy = path.join(host.shared, path.basename(files.deb));
    cpSync(files.deb, copy);
    const day = { host, kms, steps, deb: copy, kubernetes: values.kubernetes };
    const cluster = await firstDay(day, values.transcript);
    try {
      await year({ ...day, cluster });
      await rpmLife({ ...day, cluster }, files);
    } finally {
      await cluster.close();
    }
  } catch (error) {
    steps.fail(String(error instanceof Error ? error.stack : error));
    console.log((await host.run("journalctl --no-pager -o cat -n 40")).output);
  } finally {
    await host.close();
    await kms.close();
    if (!values.keep) rmSync(folder, { recursive: true, force: true });
  }
}
