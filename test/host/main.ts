/**
 * `npm run host`: the .deb of `npm run release` on a booted Debian host, through an operator's year: the first day up to a
 * Secret in etcd, then what comes later. A line a step; exit code 1 where one failed. Needs root, mmdebstrap,
 * systemd-container and Go. `--suite bullseye`, `--transcript` to put the first day into docs/install.md, `--keep` for the
 * folder. Not part of `npm test`: it takes minutes.
 */
import { cpSync, globSync, mkdtempSync, rmSync } from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { startDevKms } from "../devkms/devkms.ts";
import { firstDay } from "./first-day.ts";
import { startHost } from "./nspawn.ts";
import { createSteps } from "./steps.ts";
import { year } from "./year.ts";

const { values } = parseArgs({
  options: {
    suite: { type: "string", default: "bookworm" },
    transcript: { type: "boolean", default: false },
    keep: { type: "boolean", default: false },
    kubernetes: { type: "string", default: "v1.37.2" },
  },
});
const release = path.resolve(import.meta.dirname, "../../dist/release");
const [deb] = globSync(path.join(release, `*_${process.arch === "x64" ? "amd64" : "arm64"}.deb`));
if (deb === undefined) throw new Error("there is no .deb: run `npm run release` first");

const began = performance.now();
// Not below /tmp, which the host empties when it boots.
const folder = mkdtempSync("/var/tmp/okms-host-");
const kms = await startDevKms();
await kms.setServerCertificate({ dnsNames: ["kms.example.net", "localhost"] });
const steps = createSteps();
const host = await startHost(folder, values.suite);
try {
  console.log(
    `Debian ${values.suite}, ${(await host.must("systemctl --version")).split("\n")[0] ?? ""}, ${path.basename(deb)}`,
  );
  await host.must("echo 127.0.0.1 kms.example.net >> /etc/hosts");
  cpSync(deb, path.join(host.shared, path.basename(deb)));
  const day = {
    host,
    kms,
    steps,
    deb: path.join(host.shared, path.basename(deb)),
    kubernetes: values.kubernetes,
  };
  const cluster = await firstDay(day, values.transcript);
  await year({ ...day, cluster });
  await cluster.close();
} catch (error) {
  steps.fail(String(error instanceof Error ? error.stack : error));
  console.log((await host.run("journalctl --no-pager -o cat -n 40")).output);
} finally {
  await host.close();
  await kms.close();
  if (!values.keep) rmSync(folder, { recursive: true, force: true });
}
const { passed, failed } = steps;
console.log(`${passed} passed, ${failed} failed, ${Math.round((performance.now() - began) / 1000)} s`);
process.exitCode = failed === 0 ? 0 : 1;
