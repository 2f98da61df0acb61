/**
 * The .rpm on the same host, by rpm itself: installed, upgraded and downgraded under load, erased. Without its dependencies, which
 * Debian has under names that rpm does not see; they are held against what the program is linked with.
 */
import { copyFileSync } from "node:fs";
import path from "node:path";
import { dependencies, makeTrialRpm } from "../../packaging/packages.ts";
import { name } from "./first-day.ts";
import { answers, unit, withoutRefusal } from "./year.ts";
import type { Year } from "./year.ts";

/** What is installed, as paths outside the host. */
export interface RpmFiles {
  readonly rpm: string;
  /** The program alone, of which a later version is made. */
  readonly executable: string;
}

/** Takes it through its life. The host has no other package of it. */
export async function rpmLife(all: Year, files: RpmFiles): Promise<void> {
  const { host, steps } = all;
  const rpm = path.join(host.shared, path.basename(files.rpm));
  copyFileSync(files.rpm, rpm);
  await installed(all, rpm);
  const newer = path.join(host.shared, trial(host.shared, files.executable));
  const before = await times(all);
  await withoutRefusal(all, "an upgrade by rpm under load", async () => upgrade(all, newer));
  await withoutRefusal(all, "the downgrade under load", async () => upgrade(all, rpm));
  const after = await times(all);
  steps.check("both restarted the service", before.service !== after.service);
  steps.check("and left the socket open", before.socket === after.socket);
  await othersFolder(all, newer);
  await erased(all);
}

function trial(out: string, executable: string): string {
  const architecture = process.arch === "arm64" ? "arm64" : "x64";
  return makeTrialRpm({ architecture, executable, out, time: 1_800_000_000 }, "99.0.0");
}

async function upgrade({ host }: Year, file: string): Promise<string> {
  return host.must(`rpm -U --nodeps --oldpackage ${file}`);
}

async function times({ host }: Year): Promise<{ readonly service: string; readonly socket: string }> {
  const show = (one: string): Promise<string> =>
    host.must(`systemctl show -P ActiveEnterTimestampMonotonic ${unit}.${one}`);
  return { service: await show("service"), socket: await show("socket") };
}

async function installed(all: Year, rpm: string): Promise<void> {
  const { host, steps } = all;
  const { output } = await host.run(`rpm -K ${rpm}`);
  steps.check(`rpm -K: ${output.split(": ").at(-1)?.trim()}`, output.includes("digests OK"));
  await host.must(`rpm -i --nodeps ${rpm}`);
  steps.check("rpm -i; rpm -V finds nothing", (await host.run(`rpm -V --nodeps ${name}`)).output === "");
  const needed = await host.must(`echo /usr/bin/${name} | /usr/lib/rpm/elfdeps --requires`);
  const own: readonly string[] = dependencies.rpm;
  const missing = newest(needed).filter((one) => !own.includes(one));
  steps.check("it requires what the program is linked with", missing.length === 0, missing.join(", "));
  const folder = (await host.must("stat -c '%U:%G %a' /etc/okms")).trim();
  steps.check(`/etc/okms is ${folder}`, folder === "root:okms 750");
  await host.must(
    `cd ${host.shared} && install -o root -g okms -m 0640 cert.pem key.pem ca.pem main.env /etc/okms/`,
  );
  await host.must(`${name} check --environment-file /etc/okms/main.env --user okms`);
  await host.must(`systemctl enable --now ${unit}.socket ${unit}.service`);
  await steps.until("enabled, it answers", 10, () => answers(all));
}

const versions = new Intl.Collator("en", { numeric: true });
/** Of the C library's own parts one is enough. */
const spare = /^(?:ld-|libdl|libm\.|libpthread)/;

/** Of each library and kind of symbol the newest version. */
function newest(needed: string): string[] {
  const found = new Map<string, string>();
  for (const [, library = "", kind = "", version = ""] of needed.matchAll(
    /^(\S+?\.so\.\d+)\((\w+)_([\d.]+)\)/gm,
  )) {
    const key = `${library}(${kind}`;
    if (!spare.test(library) && versions.compare(version, found.get(key) ?? "0") > 0) found.set(key, version);
  }
  return [...found].map(([key, version]) => `${key}_${version})(64bit)`);
}

async function othersFolder(all: Year, newer: string): Promise<void> {
  const { host, steps } = all;
  await host.must("chown kube:kube /etc/okms && chmod 0755 /etc/okms");
  const told = await upgrade(all, newer);
  const folder = (await host.must("stat -c '%U:%G %a' /etc/okms")).trim();
  steps.check(
    `a folder of another owner stays so (${folder}), which is told`,
    folder === "kube:kube 755" && told.includes("is left as it is"),
  );
  steps.check("and it answers", await answers(all));
}

async function erased(all: Year): Promise<void> {
  const { host, steps } = all;
  await host.must(`rpm -e ${name}`);
  steps.check("rpm -e: it has ended", !(await answers(all)));
  const left = await host.must(
    "find /etc /usr /var/lib -not -path '/etc/kubernetes/*' -name '*okms*' -prune",
  );
  const paths = left.trim().split("\n").toSorted();
  steps.check(
    `what is left: ${paths.join(", ")}`,
    paths.join(" ") === `/etc/okms /var/lib/${name}` &&
      (await host.run("test -f /etc/okms/key.pem && test -f /etc/okms/main.env")).code === 0,
  );
  steps.check("no unit has failed", (await host.run("systemctl --failed --no-legend")).output.trim() === "");
}
