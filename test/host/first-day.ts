/** The first day: from the .deb to a Secret in etcd that the KMS has wrapped, as docs/install.md tells it. */
import { chmodSync, copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { buildBinaries } from "../apiserver/build.ts";
import { type Cluster, startCluster } from "../apiserver/cluster.ts";
import type { DevKms } from "../devkms/devkms.ts";
import type { Host } from "./nspawn.ts";
import type { Steps } from "./steps.ts";
import { createTranscript } from "./transcript.ts";

/** What the first day is done with. */
export interface FirstDay {
  readonly host: Host;
  readonly kms: DevKms;
  readonly steps: Steps;
  /** Path of the package, inside and outside. */
  readonly deb: string;
  /** Version of kube-apiserver. */
  readonly kubernetes: string;
}

export const name = "okms-k8s-encryption-provider";
export const encryptionConfig = "/etc/kubernetes/okms/encryption-configuration.yaml";
const sock = `/run/${name}/main.sock`;

/**
 * Does the first day.
 * @param isTranscript whether to put what it saw into docs/install.md
 * @returns the API server, for the year
 */
export async function firstDay(day: FirstDay, isTranscript: boolean): Promise<Cluster> {
  const { host, kms, steps, deb } = day;
  const key = kms.keys.create({ name: "etcd" });
  const port = kms.kmipAddress.split(":")[1] ?? "";
  const transcript = createTranscript(
    new Map([
      [`${host.shared}/`, ""],
      [`kms.example.net:${port}`, "kms.example.net:5696"],
    ]),
  );
  const type = async (command: string): Promise<void> =>
    transcript.add(command, await host.must(`cd ${host.shared}; ${command}`));
  for (const [own, file] of Object.entries(kms.clientFiles))
    copyFileSync(file, path.join(host.shared, `${own}.pem`));

  await type(`dpkg -i ${path.basename(deb)}`);
  await type("install -o root -g okms -m 0640 cert.pem key.pem ca.pem /etc/okms/");
  const settings = [
    "OKMS_PROTOCOL=kmip",
    `OKMS_SERV_ADDR=kms.example.net:${port}`,
    "OKMS_KEY_LABEL=etcd",
    "OKMS_CLIENT_CERT=/etc/okms/cert.pem",
    "OKMS_CLIENT_KEY=/etc/okms/key.pem",
    "OKMS_CA_CERT=/etc/okms/ca.pem",
    `OKMS_STATE_DIR=/var/lib/${name}/main`,
    `OKMS_SOCK=${sock}`,
  ];
  await type(`cat > /etc/okms/main.env <<END\n${settings.join("\n")}\nEND`);
  writeFileSync(path.join(host.shared, "main.env"), `${settings.join("\n")}\n`);
  await type(`${name} check --environment-file /etc/okms/main.env --user okms`);
  await type(`systemctl enable --now ${name}@main.socket ${name}@main.service`);
  await type(`${name} probe --sock ${sock}`);
  await type(
    `${name} config encryption-configuration --environment-file /etc/okms/main.env --out /etc/kubernetes/okms`,
  );
  steps.check("the .deb, the files, the settings, check, enable, probe, config", true);

  const cluster = await startKubernetes(day);
  try {
    transcript.add(...(await secretInEtcd(day, cluster, key.id)));
  } catch (error) {
    await cluster.close();
    throw error;
  }
  if (isTranscript) putIntoDocs(transcript.text());
  return cluster;
}

/** A Secret, written and looked at where it is stored. @returns a command that shows it, and its output */
async function secretInEtcd(
  { steps }: FirstDay,
  cluster: Cluster,
  keyId: string,
): Promise<readonly [command: string, output: string]> {
  await steps.until(
    "kube-apiserver is ready, and content with the plugin",
    90,
    async () => (await cluster.request("GET", "/readyz")).status === 200,
  );
  await cluster.write("first");
  const stored = await cluster.stored("first");
  const prefix = "k8s:enc:kms:v2:okms-encryption-provider:";
  steps.check(`a Secret is in etcd as ${prefix}`, stored.subarray(0, prefix.length).toString() === prefix);
  steps.check("its value is not to be read there", !stored.includes("Opaque"));
  steps.check("its record names the key of the KMS", stored.includes(keyId));
  return [
    "etcdctl get /registry/secrets/default/first --print-value-only | head -c 40",
    `${stored.subarray(0, 40).toString()}\n`,
  ];
}

/** kube-apiserver and etcd inside the host, by programs that lie in the folder that it shares. */
async function startKubernetes({ host, kubernetes }: FirstDay): Promise<Cluster> {
  const { apiServer, controllerManager, etcd } = buildBinaries(kubernetes);
  const folder = path.join(host.shared, "cluster");
  mkdirSync(folder);
  const inside = (program: string): string => {
    const copy = path.join(folder, path.basename(program));
    copyFileSync(program, copy);
    chmodSync(copy, 0o755);
    const script = `${copy}.sh`;
    // The host's init is another process after each boot.
    writeFileSync(
      script,
      `#!/bin/sh\nexec nsenter --target="$(cat ${folder}/init)" --mount --root --wdns=/ ${copy} "$@"\n`,
    );
    chmodSync(script, 0o755);
    return script;
  };
  rememberInit(host);
  const cluster = await startCluster(
    { apiServer: inside(apiServer), controllerManager, etcd: inside(etcd) },
    folder,
    encryptionConfig,
  );
  cluster.startApiServer();
  return cluster;
}

/** For the programs of the cluster: which process is the host's init now. */
export function rememberInit(host: Host): void {
  writeFileSync(path.join(host.shared, "cluster/init"), String(host.init));
}

const page = path.resolve(import.meta.dirname, "../../docs/install.md");

/** Between two marks of docs/install.md. */
function putIntoDocs(text: string): void {
  const [begin, end] = ["<!-- npm run host -- --transcript -->\n", "<!-- end -->\n"];
  const before = readFileSync(page, "utf8");
  const [from, to] = [before.indexOf(begin), before.indexOf(end)];
  if (from === -1 || to === -1) throw new Error(`${page} has no marks for the transcript`);
  writeFileSync(
    page,
    `${before.slice(0, from + begin.length)}\n\`\`\`\n${text}\`\`\`\n\n${before.slice(to)}`,
  );
}
