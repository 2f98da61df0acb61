/** What comes after the first day, step by step, each with what must hold. */
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Cluster } from "../apiserver/cluster.ts";
import { createApiServer } from "../devkms/api-server.ts";
import { writeClientFiles } from "../devkms/certificates.ts";
import { encryptionConfig, name, rememberInit } from "./first-day.ts";
import type { FirstDay } from "./first-day.ts";
import { type Load, startLoad } from "./load.ts";

/** What the year is gone through with. */
export interface Year extends FirstDay {
  readonly cluster: Cluster;
}

/** Of the instance that the first day made. */
export const unit = `${name}@main`;
const folder = `/run/${name}`;

/** Goes through it. */
export async function year(all: Year): Promise<void> {
  await socketActivation(all);
  await reboot(all);
  await underLoad(all);
  await killed(all);
  await certificates(all);
  await rotationById(all);
  await instances(all);
  await ownUnits(all);
  await end(all);
}

/** The socket as a client outside the host has it. */
function sockOf({ host }: Year, file = "main.sock"): string {
  return path.join(`/proc/${host.init}/root${folder}`, file);
}

/** Whether the plugin says that it is healthy. @param file of the socket; default: the first day's */
export async function answers(all: Year, file?: string): Promise<boolean> {
  const api = createApiServer(sockOf(all, file));
  try {
    return (await api.status()).healthz === "ok";
  } catch {
    return false;
  } finally {
    api.close();
  }
}

async function socketActivation(all: Year): Promise<void> {
  const { host, steps } = all;
  const state = "/var/lib/okms-k8s-encryption-provider/main/key-samples.json";
  await steps.until(
    "the service has written to its --state-dir, which systemd made",
    10,
    async () => (await host.run(`test -s ${state}`)).code === 0,
  );
  await host.must(`systemctl stop ${unit}.service`);
  steps.check(
    "systemctl stop of the service alone ends it",
    (await host.run(`systemctl is-active ${unit}.service`)).code !== 0,
  );
  await steps.until("and the next call starts it again", 10, () => answers(all));
  await host.must(`systemctl stop ${unit}.socket ${unit}.service`);
  await sleep(500);
  steps.check("socket and service stopped: nothing starts it", !(await answers(all)));
  await host.must(`systemctl start ${unit}.socket ${unit}.service`);
  await steps.until("started again, it answers", 10, () => answers(all));
}

async function reboot(all: Year): Promise<void> {
  const { host, steps, cluster } = all;
  await cluster.stopApiServer();
  await host.reboot();
  rememberInit(host);
  await steps.until("after a reboot it answers, without anybody's doing", 20, () => answers(all));
  cluster.startApiServer();
  await steps.until(
    "and a Secret of before is read",
    90,
    async () => (await cluster.request("GET", "/api/v1/namespaces/default/secrets/first")).status === 200,
  );
}

/**
 * A step in which no connection may be refused. What a connection that is cut costs is told: one that the old process had
 * taken, and not yet read from when it ended.
 */
export async function withoutRefusal(all: Year, what: string, during: () => Promise<unknown>): Promise<void> {
  const load: Load = startLoad(() => sockOf(all));
  await sleep(500);
  await during();
  await sleep(1500);
  const { calls, failures } = await load.stop();
  const refused = [...failures].filter(([text]) => !text.includes("ECONNRESET"));
  const cut = sum([...failures]) - sum(refused);
  const seen = refused.map(([text, count]) => `${count} × ${text}`).join("; ");
  const line = `${what}: ${calls} calls, ${sum(refused)} refused, ${cut} cut`;
  all.steps.check(line, refused.length === 0 && calls > 20, seen);
}

function sum(failures: readonly (readonly [string, number])[]): number {
  return failures.reduce((total, [, count]) => total + count, 0);
}

async function underLoad(all: Year): Promise<void> {
  const { host, deb } = all;
  await withoutRefusal(all, "five restarts under load", async () => {
    for (let index = 0; index < 5; index += 1) {
      await host.must(`systemctl restart ${unit}.service`);
      await sleep(300);
    }
  });
  const newer = [await newerPackage(all, "98.0.0"), await newerPackage(all, "99.0.0")];
  const before = await host.must(`systemctl show -P MainPID ${unit}.service`);
  await withoutRefusal(all, "two upgrades of the package in a row under load", async () => {
    for (const file of newer) await host.must(`dpkg -i ${file}`);
  });
  all.steps.check(
    "they restarted the service",
    (await host.must(`systemctl show -P MainPID ${unit}.service`)) !== before,
  );
  await withoutRefusal(all, "the downgrade under load", async () => void (await host.must(`dpkg -i ${deb}`)));
}

/** The same package under a later version. */
async function newerPackage({ host, deb }: Year, version: string): Promise<string> {
  const file = path.join(host.shared, `${version}.deb`);
  await host.must(
    `cd ${host.shared} && dpkg-deb -R ${deb} newer && sed -i 's/^Version: .*/Version: ${version}-1/' newer/DEBIAN/control && dpkg-deb -Zgzip -z1 -b newer ${file} && rm -r newer`,
  );
  return file;
}

async function killed(all: Year): Promise<void> {
  const { host, steps, cluster } = all;
  await host.must(`kill -9 $(systemctl show -P MainPID ${unit}.service)`);
  await steps.until("kill -9: it answers again", 10, () => answers(all));
  await steps.until(
    "and kube-apiserver is content",
    60,
    async () => (await cluster.request("GET", "/readyz/kms-providers")).status === 200,
  );
}

async function certificates(all: Year): Promise<void> {
  const { host, kms, steps } = all;
  const fresh = path.join(host.shared, "fresh");
  mkdirSync(fresh);
  const issued = await writeClientFiles(fresh, kms.authority);
  for (const [own, file] of Object.entries(issued)) {
    copyFileSync(file, path.join(fresh, `${own}.copy`));
    await host.must(
      `install -o root -g okms -m 0640 ${fresh}/${own}.copy /etc/okms/.${own}.pem && mv /etc/okms/.${own}.pem /etc/okms/${own}.pem`,
    );
  }
  await host.must(`systemctl reload ${unit}.service`);
  const log = async (): Promise<string> =>
    (await host.run(`journalctl --no-pager -o cat -u ${unit}.service --since -1min`)).output;
  await steps.until("new certificates are taken without a restart", 10, async () =>
    (await log()).includes('"new certificate loaded"'),
  );
  steps.check("and it answers", await answers(all));
}

async function rotationById(all: Year): Promise<void> {
  const { host, kms, steps } = all;
  const next = kms.keys.create({ name: "etcd-next" });
  const settings = await host.must("cat /etc/okms/main.env");
  const other = settings
    .replace("OKMS_KEY_LABEL=etcd", `OKMS_KEY_ID=${next.id}`)
    .replace("main.sock", "next.sock")
    .replace(/\/main$/m, "/next");
  writeFileSync(path.join(host.root, "etc/okms/next.env"), other);
  await host.must(`systemctl enable --now ${name}@next.socket ${name}@next.service`);
  await steps.until(
    "a second instance answers beside the first",
    10,
    async () => (await answers(all)) && answers(all, "next.sock"),
  );
  const command = `${name} config encryption-configuration --sock=${folder}/main.sock --rotate-to=${next.id} --rotate-sock=${folder}/next.sock`;
  await host.must(`${command} --rotate-step=read --out=/etc/kubernetes/okms`);
  const providers = readFileSync(path.join(host.root, encryptionConfig), "utf8").match(/endpoint: .*/g) ?? [];
  steps.check(
    "the API server's file has both, the new one second",
    providers.length === 2 && providers[1]?.includes("next.sock") === true,
  );
  const again = await host.must(`${command} --rotate-step=read --out=/etc/kubernetes/okms`);
  steps.check("written once more, it is left alone", again.includes("(unchanged)"));
  await host.must(`systemctl disable --now ${name}@next.socket ${name}@next.service`);
}

/** An instance of any name, whose file comes later, written on Windows, and whose service is not enabled. */
async function instances(all: Year): Promise<void> {
  const { host, steps } = all;
  const other = `${name}@kms-2.eu`;
  const began = (await host.must("date +@%s")).trim();
  await host.run(`systemctl enable --now ${other}.socket; systemctl start ${other}.service`);
  const log = await host.run(`journalctl --no-pager -o cat --since ${began} -u ${other}.service`);
  steps.check(
    "without its file an instance is not started, which systemd says",
    log.output.includes("Failed to load environment files"),
  );
  const settings = (await host.must("cat /etc/okms/main.env")).replaceAll("main", "kms-2.eu");
  writeFileSync(path.join(host.root, "etc/okms/kms-2.eu.env"), settings.replaceAll("\n", "\r\n"));
  await steps.until("once it is there it answers by itself", 10, () => answers(all, "kms-2.eu.sock"));
  const checked = await host.run(`${name} check --environment-file /etc/okms/kms-2.eu.env --user okms`);
  steps.check("and check reads the file as systemd does", checked.code === 0, checked.output);
  await host.must(`systemctl disable --now ${other}.socket && systemctl stop ${other}.service`);
}

/** Units by `config systemd`, with a user and a group of one's own. */
async function ownUnits(all: Year): Promise<void> {
  const { host, steps } = all;
  await host.must("groupadd --system kube && useradd --system --gid kube --shell /usr/sbin/nologin kube");
  const flags = `--environment-file /etc/okms/main.env --sock ${folder}/own.sock --sock-group kube --user okms --instance own --exec /usr/bin/${name} --node none`;
  await host.must(
    `${name} config systemd ${flags} --out /etc/systemd/system && systemctl daemon-reload && systemctl enable --now own.socket own.service`,
  );
  const asGroup = `setpriv --reuid nobody --regid kube --clear-groups ${name} probe --sock ${folder}/own.sock`;
  await steps.until(
    "config systemd --user --sock-group: the group can connect",
    10,
    async () => (await host.run(asGroup)).code === 0,
  );
  const asOther = `setpriv --reuid nobody --regid nogroup --clear-groups ${name} probe --sock ${folder}/own.sock`;
  steps.check("and others cannot", (await host.run(asOther)).code !== 0);
  await all.cluster.stopApiServer();
  await host.reboot();
  rememberInit(host);
  await steps.until(
    "nor has a reboot taken the socket from the group",
    20,
    async () => (await host.run(asGroup)).code === 0,
  );
  const score = /: ([\d.]+ \w+)/.exec(
    (await host.run(`systemd-analyze security --no-pager own.service | tail -1`)).output,
  )?.[1];
  steps.check(`systemd-analyze security: ${score ?? "says nothing"}`, score !== undefined);
  await host.must(
    "systemctl disable --now own.socket own.service; rm /etc/systemd/system/own.*; systemctl daemon-reload",
  );
}

async function end(all: Year): Promise<void> {
  const { host, steps, deb } = all;
  await host.must(`dpkg -r ${name}`);
  steps.check("removed, it has ended", !(await answers(all)));
  await host.must(`dpkg -i ${deb}`);
  await host.must(`systemctl start ${unit}.socket ${unit}.service`);
  await steps.until("installed again, it answers with the old settings", 10, () => answers(all));
  await host.must(`dpkg -P ${name}`);
  steps.check(
    "a purge leaves keys and settings",
    (await host.run("test -f /etc/okms/key.pem && test -f /etc/okms/main.env")).code === 0,
  );
  const units = `systemctl list-units --all --no-legend '${name}@*'`;
  await steps.until("and no unit", 10, async () => (await host.must(units)).trim() === "");
  await host.must(`dpkg -i ${deb} && OKMS_PURGE_CONFIG=yes dpkg -P ${name}`);
  steps.check("unless it is told not to", (await host.run("test -e /etc/okms")).code !== 0);
  steps.check("no unit has failed", (await host.run("systemctl --failed --no-legend")).output.trim() === "");
}
