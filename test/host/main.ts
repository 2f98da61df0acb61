/**
 * `npm run host`: the .deb of `npm run release` on a booted Debian host, through an operator's year: the first day up to a
 * Secret in etcd, then what comes later; and the image as a static Pod under a kubelet (`--only host` or `--only pod` does the
 * one or the other). A line a step; exit code 1 where one failed. Needs root, mmdebstrap,
 * systemd-container and Go. `--suite trixie`, `--transcript` to put the first day into docs/install.md, `--keep` for the
 * folder. Not part of `npm test`: it takes minutes.
 */
import { cpSync, globSync, mkdtempSync, rmSync } from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { startDevKms } from "../devkms/devkms.ts";
import { firstDay } from "./first-day.ts";
import { startHost } from "./nspawn.ts";
import { podRun } from "./pod.ts";
import { createSteps } from "./steps.ts";
import { year } from "./year.ts";

const { values } = parseArgs({
  options: {
    suite: { type: "string", default: "bookworm" },
    transcript: { type: "boolean", default: false },
    keep: { type: "boolean", default: false },
    only: { type: "string" },
    kubernetes: { type: "string", default: "v1.37.2" },
  },
});
const release = path.resolve(import.meta.dirname, "../../dist/release");
const [deb] = globSync(path.join(release, `*_${process.arch === "x64" ? "amd64" : "arm64"}.deb`));
const [archive] = globSync(path.join(release, "*-oci.tar"));
if (deb === undefined || archive === undefined)
  throw new Error("there is no release: run `npm run release` first");

const began = performance.now();
const steps = createSteps();
if (values.only !== "pod") await hostRun(deb);
if (values.only !== "host") {
  console.log(`the image as a static Pod, kubelet and kube-apiserver ${values.kubernetes}`);
  await podRun(steps, archive, values.kubernetes);
}
const { passed, failed } = steps;
console.log(`${passed} passed, ${failed} failed, ${Math.round((performance.now() - began) / 1000)} s`);
process.exitCode = failed === 0 ? 0 : 1;

async function hostRun(file: string): Promise<void> {
  // Not below /tmp, which the host empties when it boots.
  const folder = mkdtempSync("/var/tmp/okms-host-");
  const kms = await startDevKms();
  await kms.setServerCertificate({ dnsNames: ["kms.example.net", "localhost"] });
  const host = await startHost(folder, values.suite);
  try {
    const systemd = (await host.must("systemctl --version")).split("\n")[0] ?? "";
    console.log(`Debian ${values.suite}, ${systemd}, ${path.basename(file)}`);
    await host.must("echo 127.0.0.1 kms.example.net >> /etc/hosts");
    const copy = path.join(host.shared, path.basename(file));
    cpSync(file, copy);
    const day = { host, kms, steps, deb: copy, kubernetes: values.kubernetes };
    const cluster = await firstDay(day, values.transcript);
    try {
      await year({ ...day, cluster });
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
