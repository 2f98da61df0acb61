/** `config`: what it prints is read back by other readers than wrote it, and says what the flags said. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { closeSync, openSync, readdirSync, readFileSync, statSync, watch, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { describe, test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { parse, parseAllDocuments } from "yaml";
import { configCommand } from "../../src/cli/config.ts";
import { endpointOf, parseEndpoint } from "../../src/cli/kms-endpoint.ts";
import { ConfigError } from "../../src/config/settings.ts";
import { temporaryFolder } from "../server/harness.ts";
import { runCommand } from "./run-command.ts";
import { parseUnit, splitCommand } from "./unit-file.ts";

const keyId = "11111111-2222-4333-8444-555555555555";
const nextKeyId = "9abcdef0-2222-4333-8444-555555555555";
const serve = [
  "--protocol=kmip",
  "--serv-addr=kms.example.com:5696",
  `--encryption-key-id=${keyId}`,
  "--client-cert=/etc/okms/cert.pem",
  "--client-key=/etc/okms/key.pem",
];
const sock = "--sock=/run/okms/kms.sock";

async function print(...argv: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await runCommand(configCommand, argv);
  assert.equal(code, 0, stderr);
  return stdout;
}

/** The parts of what is printed that the tests look at. */
interface EncryptionConfiguration {
  readonly resources: readonly [
    {
      readonly resources: readonly string[];
      readonly providers: readonly {
        readonly kms?: Readonly<Record<"name" | "endpoint" | "timeout", string>>;
      }[];
    },
  ];
}
interface Pod {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace: string };
  readonly spec: {
    readonly hostNetwork: boolean;
    readonly dnsPolicy: string;
    readonly priorityClassName: string;
    readonly automountServiceAccountToken: boolean;
    readonly securityContext: {
      readonly seccompProfile: unknown;
      readonly seLinuxOptions?: unknown;
      readonly supplementalGroups?: readonly number[];
    };
    readonly containers: readonly [Container];
    readonly volumes: readonly { readonly name: string; readonly hostPath: { readonly path: string } }[];
  };
}
interface Container {
  readonly image: string;
  readonly args: readonly string[];
  readonly securityContext: unknown;
  readonly livenessProbe: { readonly httpGet: { readonly port: number } };
  readonly readinessProbe: { readonly exec: { readonly command: readonly string[] } };
  readonly volumeMounts: readonly {
    readonly name: string;
    readonly mountPath: string;
    readonly readOnly: boolean;
  }[];
}

/** The only YAML document, as plain values. */
async function printYaml<T>(...argv: readonly string[]): Promise<T> {
  const documents = parseAllDocuments(await print(...argv));
  assert.equal(documents.length, 1);
  assert.deepEqual(documents[0]?.errors, []);
  return documents[0]?.toJS() as T;
}

/** The printed units, by the path that their first line names. */
async function printUnits(...argv: readonly string[]): Promise<Map<string, ReturnType<typeof parseUnit>>> {
  const text = await print("systemd", ...argv);
  const parts = text.split(/^# (\/etc\/systemd\/system\/\S+)\n/m).slice(1);
  const units = new Map<string, ReturnType<typeof parseUnit>>();
  for (let index = 0; index < parts.length; index += 2)
    units.set(path.basename(parts[index] ?? ""), parseUnit(parts[index + 1] ?? ""));
  return units;
}

async function complaintsOf(...argv: readonly string[]): Promise<readonly string[]> {
  try {
    await runCommand(configCommand, argv);
  } catch (error) {
    if (error instanceof ConfigError) return error.complaints;
    throw error;
  }
  return assert.fail("nothing was complained about");
}

describe("config encryption-configuration", () => {
  test("needs no more than --sock", async () => {
    assert.deepEqual(await printYaml<EncryptionConfiguration>("encryption-configuration", sock), {
      apiVersion: "apiserver.config.k8s.io/v1",
      kind: "EncryptionConfiguration",
      resources: [
        {
          resources: ["secrets"],
          providers: [
            {
              kms: {
                apiVersion: "v2",
                name: "okms-encryption-provider",
                endpoint: "unix:///run/okms/kms.sock",
                timeout: "3s",
              },
            },
            { identity: {} },
          ],
        },
      ],
    });
  });

  test("takes the default socket, and OKMS_SOCK before it", async () => {
    const byDefault = await printYaml<EncryptionConfiguration>("encryption-configuration");
    assert.equal(byDefault.resources[0].providers[0]?.kms?.endpoint, "unix:///var/run/okms_etcd_plugin.sock");
    const { stdout } = await runCommand(configCommand, ["encryption-configuration"], {
      OKMS_SOCK: "/run/x.sock",
    });
    assert.match(stdout, /endpoint: unix:\/\/\/run\/x\.sock$/m);
  });

  test("takes name, timeout and resources from its flags", async () => {
    const { resources } = await printYaml<EncryptionConfiguration>(
      "encryption-configuration",
      "--provider-name=okms-2",
      "--api-timeout=1500ms",
      "--resources=secrets, configmaps,*.example.com",
    );
    assert.deepEqual(resources[0].resources, ["secrets", "configmaps", "*.example.com"]);
    assert.equal(resources[0].providers[0]?.kms?.name, "okms-2");
    assert.equal(resources[0].providers[0]?.kms?.timeout, "1.5s");
  });

  test("puts the next key's provider first in a rotation, and keeps the one in use", async () => {
    const flags = ["encryption-configuration", sock, `--rotate-to=${nextKeyId}`];
    const providers = (await printYaml<EncryptionConfiguration>(...flags)).resources[0].providers;
    assert.deepEqual(
      providers.map((one) => [one.kms?.name, one.kms?.endpoint]),
      [
        ["okms-encryption-provider-9abcdef0", "unix:///run/okms/kms-9abcdef0.sock"],
        ["okms-encryption-provider", "unix:///run/okms/kms.sock"],
        [undefined, undefined],
      ],
    );
    assert.match(await print(...flags), /^# Rotation: the first provider writes/m);
  });

  test("puts the next key's provider second with --rotate-step read, so that all can read before one writes", async () => {
    const flags = ["encryption-configuration", sock, `--rotate-to=${nextKeyId}`, "--rotate-step=read"];
    const { resources } = await printYaml<EncryptionConfiguration>(...flags);
    assert.deepEqual(
      resources[0].providers.map((one) => one.kms?.name),
      ["okms-encryption-provider", "okms-encryption-provider-9abcdef0", undefined],
    );
  });

  test("takes the letters of the key before off, so that names do not grow with each rotation", async () => {
    const { resources } = await printYaml<EncryptionConfiguration>(
      "encryption-configuration",
      "--sock=/run/okms/kms-11111111.sock",
      "--provider-name=okms-encryption-provider-11111111",
      `--rotate-to=${nextKeyId}`,
    );
    const [next] = resources[0].providers;
    assert.equal(next?.kms?.name, "okms-encryption-provider-9abcdef0");
    assert.equal(next?.kms?.endpoint, "unix:///run/okms/kms-9abcdef0.sock");
  });

  test("takes the next provider's name and socket from flags", async () => {
    const flags = ["--rotate-to=k2", "--rotate-name=other", "--rotate-sock=/run/okms/other.sock"];
    const { resources } = await printYaml<EncryptionConfiguration>(
      "encryption-configuration",
      sock,
      ...flags,
    );
    assert.equal(resources[0].providers[0]?.kms?.name, "other");
    assert.equal(resources[0].providers[0]?.kms?.endpoint, "unix:///run/okms/other.sock");
  });
});

describe("the endpoint of a socket", () => {
  const rows: readonly (readonly [sock: string, endpoint: string])[] = [
    ["/run/okms/kms.sock", "unix:///run/okms/kms.sock"],
    ["@okms", "unix:///@okms"],
    ["/run/a b/100%/q?#.sock", "unix:///run/a%20b/100%25/q%3F%23.sock"],
  ];
  for (const [one, endpoint] of rows) {
    test(`of ${one} is ${endpoint}, and leads back to it`, () => {
      assert.equal(endpointOf(one), endpoint);
      assert.deepEqual(parseEndpoint(endpoint), { sock: one });
    });
  }

  const bad: readonly (readonly [endpoint: string, complaint: RegExp])[] = [
    ["unix://run/okms.sock", /"run" is taken for the name of a host/],
    ["/run/okms.sock", /unix:\/\//],
    ["tcp://127.0.0.1:80", /unix:\/\//],
    ["unix:run.sock", /absolute path/],
    ["unix:///a%zz", /%25/],
    ["", /unix:\/\//],
  ];
  for (const [endpoint, complaint] of bad) {
    test(`is not to be had from ${JSON.stringify(endpoint)}`, () => {
      const parsed = parseEndpoint(endpoint);
      assert.match("complaint" in parsed ? parsed.complaint : "", complaint);
    });
  }
});

describe("config systemd", () => {
  test("makes a service and a socket unit that refer to one another", async () => {
    const units = await printUnits(...serve, sock);
    const name = "okms-k8s-encryption-provider";
    assert.deepEqual([...units.keys()], [`${name}.service`, `${name}.socket`]);
    const service = units.get(`${name}.service`);
    const socket = units.get(`${name}.socket`);
    assert.deepEqual(service?.get("Unit", "Requires"), [`${name}.socket`]);
    const consumers =
      "kubelet.service kube-apiserver.service k3s.service rke2-server.service k0scontroller.service";
    assert.deepEqual(service?.get("Unit", "Before"), [consumers]);
    assert.deepEqual(socket?.get("Unit", "Before"), [consumers]);
    assert.deepEqual(service?.get("Install", "Also"), [`${name}.socket`]);
    assert.deepEqual(socket?.get("Socket", "ListenStream"), ["/run/okms/kms.sock"]);
    assert.deepEqual(socket?.get("Socket", "SocketMode"), ["0660"]);
  });

  const settings: readonly (readonly [key: string, value: string])[] = [
    ["Restart", "always"],
    ["RestartSec", "1"],
    ["LimitCORE", "0"],
    ["NoNewPrivileges", "yes"],
    ["ProtectSystem", "strict"],
    ["ProtectHome", "yes"],
    ["PrivateTmp", "yes"],
    ["PrivateDevices", "yes"],
    ["DevicePolicy", "closed"],
    ["PrivateUsers", "yes"],
    ["ProcSubset", "pid"],
    ["CapabilityBoundingSet", ""],
    ["RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6"],
    ["ExecReload", "/bin/kill -HUP $MAINPID"],
  ];
  for (const [key, value] of settings) {
    test(`sets ${key}=${value}`, async () => {
      // The Node.js of this checkout may lie in a home folder, or below /tmp.
      const units = await printUnits(...serve, sock, "--node=/usr/bin/node");
      const service = units.get("okms-k8s-encryption-provider.service");
      assert.deepEqual(service?.get("Service", key), [value]);
    });
  }

  test("gives the socket's folder to nobody: a RuntimeDirectory= would, and its socket with it", async () => {
    const service = (await printUnits(...serve, sock)).get("okms-k8s-encryption-provider.service");
    assert.deepEqual(service?.get("Service", "RuntimeDirectory"), []);
  });

  test("forbids system calls that need privileges or change limits", async () => {
    const service = (await printUnits(...serve, sock)).get("okms-k8s-encryption-provider.service");
    assert.deepEqual(service?.get("Service", "SystemCallFilter"), [
      "@system-service",
      "~@privileged @resources",
    ]);
  });

  test("leaves Node.js its compiler and every process its restart", async () => {
    const service = (await printUnits(...serve, sock)).get("okms-k8s-encryption-provider.service");
    assert.deepEqual(service?.get("Service", "MemoryDenyWriteExecute"), []);
    assert.deepEqual(service?.get("Unit", "StartLimitIntervalSec"), ["0"]);
  });

  test("starts serve with exactly the flags given, from the command line and from the environment", async () => {
    const env = { OKMS_PROTOCOL: "kmip", OKMS_SERV_ADDR: "kms:5696", OKMS_DEBUG: "1" };
    const argv = [
      "systemd",
      "--encryption-key-label=label",
      "--client-cert=cert.pem",
      "--client-key=~/key.pem",
      "--sock=kms.sock",
      "--timeout=7s",
      "--node=/opt/node/bin/node",
    ];
    const { stdout } = await runCommand(configCommand, argv, env);
    const command = splitCommand(
      parseUnit(stdout.split("\n\n# ")[0] ?? "").get("Service", "ExecStart")[0] ?? "",
    );
    assert.deepEqual(command, [
      "/opt/node/bin/node",
      "--max-semi-space-size=2",
      "--disable-sigusr1",
      "/usr/local/bin/okms-k8s-encryption-provider",
      "serve",
      "--protocol=kmip",
      "--serv-addr=kms:5696",
      `--sock=${path.resolve("kms.sock")}`,
      "--timeout=7s",
      "--encryption-key-label=label",
      `--client-cert=${path.resolve("cert.pem")}`,
      `--client-key=${path.join(os.homedir(), "key.pem")}`,
      "--debug=1",
    ]);
  });

  const odd = ["a b", "100%", "$HOME", '"quoted"', "back\\slash", "it's", "%n%%", "${X}", "semi;colon", "é"];
  for (const text of odd) {
    test(`keeps ${text} as it is through systemd's splitting and expansion`, async () => {
      const flags = serve.filter((flag) => !flag.startsWith("--encryption-key-id"));
      const units = await printUnits(
        ...flags,
        `--encryption-key-label=${text}`,
        `--sock=/run/${text}/kms.sock`,
      );
      const [service, socket] = [...units.values()];
      const command = splitCommand(service?.get("Service", "ExecStart")[0] ?? "");
      assert.ok(command.includes(`--encryption-key-label=${text}`), command.join(" "));
      assert.ok(command.includes(`--sock=/run/${text}/kms.sock`), command.join(" "));
      const listen = socket?.get("Socket", "ListenStream")[0] ?? "";
      assert.equal(listen.replaceAll("%%", "%"), `/run/${text}/kms.sock`);
    });
  }

  const homes: readonly (readonly [folder: string, key: string, value: string])[] = [
    ["/root/certs", "ProtectHome", "read-only"],
    ["/home/kms", "ProtectHome", "read-only"],
    ["/tmp/certs", "PrivateTmp", "no"],
    ["/var/tmp", "PrivateTmp", "no"],
    ["/rooted", "ProtectHome", "yes"],
  ];
  for (const [folder, key, value] of homes) {
    test(`sets ${key}=${value} for certificates in ${folder}, so that they can be read and no more`, async () => {
      const units = await printUnits(...serve, `--client-cert=${folder}/cert.pem`, sock);
      assert.deepEqual(units.get("okms-k8s-encryption-provider.service")?.get("Service", key), [value]);
    });
  }

  test("takes mode, group, user and program from the flags", async () => {
    const flags = [
      "--sock-mode=0600",
      "--sock-group=kube",
      "--user=okms",
      "--exec=/opt/okms/bin/p",
      "--node=none",
    ];
    const [service, socket] = [...(await printUnits(...serve, sock, ...flags)).values()];
    assert.deepEqual(socket?.get("Socket", "SocketMode"), ["0600"]);
    assert.deepEqual(socket?.get("Socket", "SocketGroup"), ["kube"]);
    assert.deepEqual(socket?.get("Socket", "DirectoryMode"), ["0751"], "the group comes through the folder");
    assert.deepEqual(service?.get("Service", "User"), ["okms"]);
    assert.equal(splitCommand(service?.get("Service", "ExecStart")[0] ?? "")[0], "/opt/okms/bin/p");
  });

  test("runs the program with the Node.js that runs `config`, and sets no variable for it", async () => {
    const service = (await printUnits(...serve, sock)).get("okms-k8s-encryption-provider.service");
    const [node, ...rest] = splitCommand(service?.get("Service", "ExecStart")[0] ?? "");
    assert.equal(node, process.execPath);
    assert.deepEqual(rest.slice(0, 2), ["--max-semi-space-size=2", "--disable-sigusr1"]);
    assert.deepEqual(service?.get("Service", "Environment"), []);
  });

  test("warns of a program and of a Node.js that are not there, which systemd reports as status 203", async () => {
    const flags = ["systemd", ...serve, sock, "--exec=/nowhere/program", "--node=/nowhere/node"];
    const { code, stderr } = await runCommand(configCommand, flags);
    assert.equal(code, 0);
    assert.match(stderr, /^Warning: \/nowhere\/program \(--exec\) is not on this host/m);
    assert.match(stderr, /^Warning: \/nowhere\/node \(--node\) is not on this host/m);
  });

  test("writes /run for /var/run, which systemd complains of at every start", async () => {
    const [service, socket] = [...(await printUnits(...serve)).values()];
    assert.deepEqual(socket?.get("Socket", "ListenStream"), ["/run/okms_etcd_plugin.sock"]);
    const command = splitCommand(service?.get("Service", "ExecStart")[0] ?? "");
    assert.ok(command.includes("--sock=/run/okms_etcd_plugin.sock"), command.join(" "));
  });

  test("names the units as --instance says, and leaves that name to the one that runs in a rotation", async () => {
    const name = "okms-k8s-encryption-provider";
    const flags = [...serve, sock, `--instance=${name}-1234`];
    const alone = [...(await printUnits(...flags)).keys()];
    assert.deepEqual(alone, [`${name}-1234.service`, `${name}-1234.socket`]);
    const both = [...(await printUnits(...flags, `--rotate-to=${nextKeyId}`)).keys()];
    assert.deepEqual(both, [
      `${name}-9abcdef0.service`,
      `${name}-9abcdef0.socket`,
      `${name}-1234.service`,
      `${name}-1234.socket`,
    ]);
  });

  test("keeps the units of keys apart whose identifiers begin alike", async () => {
    const [first, second] = ["0193a2b4-0000-7000-8000-00000000000a", "0193a2b4-0000-7000-8000-00000000000b"];
    const flags = serve.filter((flag) => !flag.startsWith("--encryption-key-id"));
    const units = await printUnits(
      ...flags,
      `--encryption-key-id=${first}`,
      "--instance=okms-k8s-encryption-provider-0193a2b4",
      "--sock=/run/okms/kms-0193a2b4.sock",
      `--rotate-to=${second}`,
    );
    assert.equal(units.size, 4);
  });

  test("gives the next key the port below where there is none above", async () => {
    const flags = [...serve, sock, `--rotate-to=${nextKeyId}`, "--http-addr=127.0.0.1:65535"];
    assert.match(await print("systemd", ...flags), /--http-addr=127\.0\.0\.1:65534/);
  });

  test("leaves the folder of --exec to be seen", async () => {
    const text = await print("systemd", ...serve, sock, "--exec=/root/bin/okms");
    assert.match(text, /^ProtectHome=read-only$/m);
    assert.match(await print("systemd", ...serve, sock, "--exec=/tmp/okms"), /^PrivateTmp=no$/m);
  });

  const states = [
    ["/var/lib/okms/main", "StateDirectory=okms/main\nStateDirectoryMode=0700\n"],
    ["/srv/with space", 'ReadWritePaths="/srv/with space"\n'],
    ["relative", `ReadWritePaths=${path.resolve("relative")}\n`],
  ] as const;
  for (const [folder, lines] of states)
    test(`lets the service write to --state-dir ${folder}, and no command without one`, async () => {
      const text = await print("systemd", ...serve, sock, `--state-dir=${folder}`);
      assert.ok(text.includes(lines), text);
      assert.ok(text.includes(`--state-dir=${path.resolve(folder)}`));
      assert.doesNotMatch(await print("systemd", ...serve, sock), /StateDirectory|ReadWritePaths/);
    });

  test("makes both units of both keys in a rotation, on sockets and ports of their own", async () => {
    const flags = [...serve, sock, `--rotate-to=${nextKeyId}`, "--http-addr=127.0.0.1:9000"];
    const units = await printUnits(...flags);
    const name = "okms-k8s-encryption-provider";
    assert.deepEqual(
      [...units.keys()],
      [`${name}-9abcdef0.service`, `${name}-9abcdef0.socket`, `${name}.service`, `${name}.socket`],
    );
    const argumentsOf = (unit: string): string[] =>
      splitCommand(units.get(`${unit}.service`)?.get("Service", "ExecStart")[0] ?? "");
    const next = argumentsOf(`${name}-9abcdef0`);
    assert.ok(
      next.includes(`--encryption-key-id=${nextKeyId}`) && next.includes("--http-addr=127.0.0.1:9001"),
    );
    const current = argumentsOf(name);
    assert.ok(
      current.includes(`--encryption-key-id=${keyId}`) && current.includes("--http-addr=127.0.0.1:9000"),
    );
    assert.deepEqual(units.get(`${name}-9abcdef0.socket`)?.get("Socket", "ListenStream"), [
      "/run/okms/kms-9abcdef0.sock",
    ]);
  });

  test("passes systemd-analyze verify where that is installed, and a strict reader in any case", async (t) => {
    const folder = temporaryFolder(t);
    await print("systemd", ...serve, sock, `--rotate-to=${nextKeyId}`, "--exec=/bin/true", `--out=${folder}`);
    const files = readdirSync(folder).map((file) => path.join(folder, file));
    assert.equal(files.length, 4);
    for (const file of files) parseUnit(readFileSync(file, "utf8"));
    const verified = spawnSync("systemd-analyze", ["verify", ...files], { encoding: "utf8" });
    if (verified.error !== undefined) {
      t.diagnostic("systemd-analyze is not installed: the strict reader alone has read the units");
      return;
    }
    const own = verified.stderr.split("\n").filter((line) => line.includes(folder));
    assert.deepEqual(own, []);
  });
});

describe("config static-pod", () => {
  const image = "--image=registry.example.com/okms:1.0";

  test("makes a Pod on the host's network, critical, with nothing it does not need", async () => {
    const pod = await printYaml<Pod>("static-pod", ...serve, sock, image);
    assert.deepEqual([pod.apiVersion, pod.kind, pod.metadata.namespace], ["v1", "Pod", "kube-system"]);
    assert.equal(pod.spec.hostNetwork, true);
    assert.equal(pod.spec.dnsPolicy, "Default");
    assert.equal(pod.spec.priorityClassName, "system-node-critical");
    assert.equal(pod.spec.automountServiceAccountToken, false);
    const [container] = pod.spec.containers;
    assert.equal(container.image, "registry.example.com/okms:1.0");
    assert.deepEqual(container.securityContext, {
      readOnlyRootFilesystem: true,
      allowPrivilegeEscalation: false,
      privileged: false,
      capabilities: { drop: ["ALL"] },
    });
    assert.deepEqual(pod.spec.securityContext.seccompProfile, { type: "RuntimeDefault" });
    assert.equal(pod.spec.securityContext.supplementalGroups, undefined);
  });

  test("is a member of --sock-group, for without capabilities it could not give the socket to another", async () => {
    const { spec } = await printYaml<Pod>("static-pod", ...serve, sock, image, "--sock-group=4242");
    assert.deepEqual(spec.securityContext.supplementalGroups, [4242]);
    assert.ok(spec.containers[0].args.includes("--sock-group=4242"));
  });

  test("mounts the socket's folder to write and the certificates' to read, each with its volume", async () => {
    const { spec } = await printYaml<Pod>("static-pod", ...serve, sock, image, "--ca=/etc/ssl/okms/ca.pem");
    const volumes = new Map(spec.volumes.map((one) => [one.name, one.hostPath]));
    const mounts = spec.containers[0].volumeMounts.map((one) => [one.mountPath, one.readOnly]);
    assert.deepEqual(mounts, [
      ["/run/okms", false],
      ["/etc/okms", true],
      ["/etc/ssl/okms", true],
    ]);
    for (const { name, mountPath } of spec.containers[0].volumeMounts)
      assert.equal(volumes.get(name)?.path, mountPath);
    assert.equal(volumes.size, 3);
  });

  test("mounts a folder once that holds socket and certificates", async () => {
    const { spec } = await printYaml<Pod>("static-pod", ...serve, "--sock=/etc/okms/kms.sock", image);
    assert.deepEqual(
      spec.containers[0].volumeMounts.map((one) => [one.mountPath, one.readOnly]),
      [["/etc/okms", false]],
    );
  });

  test("mounts nothing for an abstract socket", async () => {
    const { spec } = await printYaml<Pod>("static-pod", ...serve, "--sock=@okms", image);
    assert.deepEqual(
      spec.volumes.map((one) => one.hostPath.path),
      ["/etc/okms"],
    );
  });

  test("asks over HTTP whether it lives, and with `probe` whether it is ready", async () => {
    const { spec } = await printYaml<Pod>("static-pod", ...serve, sock, image);
    const [container] = spec.containers;
    assert.ok(container.args.includes("--http-addr=127.0.0.1:8088"));
    assert.deepEqual(container.livenessProbe.httpGet, { host: "127.0.0.1", port: 8088, path: "/livez" });
    assert.deepEqual(container.readinessProbe.exec.command, [
      "okms-k8s-encryption-provider",
      "probe",
      "--sock=/run/okms/kms.sock",
      "--timeout=3s",
    ]);
  });

  test("keeps $(NAME) in a value from the kubelet's variables", async () => {
    const flags = serve.filter((flag) => !flag.startsWith("--encryption-key-id"));
    const { spec } = await printYaml<Pod>(
      "static-pod",
      ...flags,
      "--encryption-key-label=$(HOME)",
      sock,
      image,
    );
    assert.ok(spec.containers[0].args.includes("--encryption-key-label=$$(HOME)"));
  });

  test("makes a manifest for each key in a rotation, on ports of their own", async () => {
    const text = await print("static-pod", ...serve, sock, image, `--rotate-to=${nextKeyId}`);
    const pods = parseAllDocuments(text).map((one) => one.toJS() as Pod);
    assert.deepEqual(
      pods.map((pod) => [pod.metadata.name, pod.spec.containers[0].livenessProbe.httpGet.port]),
      [
        ["okms-k8s-encryption-provider-9abcdef0", 8089],
        ["okms-k8s-encryption-provider", 8088],
      ],
    );
  });

  test("sets no variable for Node.js: the image has its flags inside", async () => {
    const { spec } = await printYaml<Pod>("static-pod", ...serve, sock, image);
    assert.equal(Object.hasOwn(spec.containers[0], "env"), false);
  });

  test("has the SELinux type that is asked for, and none else", async () => {
    const flags = ["static-pod", ...serve, sock, image];
    assert.doesNotMatch(await print(...flags), /seLinuxOptions/);
    const { spec } = await printYaml<Pod>(...flags, "--selinux-type=spc_t");
    assert.deepEqual(spec.securityContext.seLinuxOptions, { type: "spc_t" });
  });

  for (const folder of ["/run", "/var/run", "/tmp", "/"]) {
    test(`refuses to mount all of ${folder} for the socket`, async () => {
      const complaints = await complaintsOf(
        "static-pod",
        ...serve,
        image,
        `--sock=${path.join(folder, "kms.sock")}`,
      );
      assert.match(complaints.join("\n"), /give it a folder of its own/);
    });
  }
});

describe("config", () => {
  test("writes into a folder with --out, which it makes, and prints the paths", async (t) => {
    const folder = path.join(temporaryFolder(t), "new");
    const text = await print("systemd", ...serve, sock, `--out=${folder}`);
    const written = text.trim().split("\n");
    assert.deepEqual(written.map((file) => path.basename(file)).toSorted(), readdirSync(folder).toSorted());
  });

  test("leaves a file with the same content alone, and says so: a static Pod restarts when its manifest changes", async (t) => {
    const folder = temporaryFolder(t);
    await print("systemd", ...serve, sock, `--out=${folder}`);
    const files = readdirSync(folder).map((file) => path.join(folder, file));
    const before = files.map((file) => statSync(file).ino);
    const text = await print("systemd", ...serve, sock, `--out=${folder}`);
    assert.match(text, /^(?:\S+ \(unchanged\)\n){2}$/);
    assert.deepEqual(
      files.map((file) => statSync(file).ino),
      before,
    );
  });

  test("replaces a file by a rename: who reads meanwhile sees the old one whole or the new one whole", async (t) => {
    const folder = temporaryFolder(t);
    const file = path.join(folder, "encryption-configuration.yaml");
    writeFileSync(file, "old");
    const reader = openSync(file, "r");
    t.after(() => closeSync(reader));
    const names: string[] = [];
    const watcher = watch(folder, (_event, name) => void names.push(name ?? ""));
    t.after(() => watcher.close());
    await print("encryption-configuration", sock, `--out=${folder}`);
    assert.equal(readFileSync(reader, "utf8"), "old", "what was open was not written into");
    assert.match(readFileSync(file, "utf8"), /^kind: EncryptionConfiguration$/m);
    assert.deepEqual(readdirSync(folder), ["encryption-configuration.yaml"], "nothing is left beside it");
    while (names.length === 0) await setImmediate();
    const aside = names.filter((name) => name !== "encryption-configuration.yaml");
    assert.ok(
      aside.every((name) => name.startsWith(".")),
      `the kubelet reads what is not hidden: ${aside.join(", ")}`,
    );
  });

  test("exits 1 and says why where the folder cannot be written", async (t) => {
    const file = path.join(temporaryFolder(t), "file");
    writeFileSync(file, "");
    const { code, stderr } = await runCommand(configCommand, ["encryption-configuration", `--out=${file}/x`]);
    assert.equal(code, 1);
    assert.match(stderr, /^Could not write to .*: it is not a folder\n$/);
  });

  const rows: readonly (readonly [what: string, argv: readonly string[], complaint: RegExp])[] = [
    ["no kind", [], /^Missing or unknown kind: give one of encryption-configuration, systemd, static-pod, /],
    ["an unknown kind", ["helm"], /^Missing or unknown kind/],
    ["a static Pod without an image", ["static-pod", ...serve, sock], /^Missing required flag --image/],
    [
      "a static Pod with a group of the host by its name",
      ["static-pod", ...serve, sock, "--image=i", "--sock-group=kube"],
      /^Invalid value for --sock-group: a static Pod knows no group "kube" of the host: give its number$/,
    ],
    ["units without the flags of serve", ["systemd"], /^Missing required flag --protocol/],
    [
      "a rotation of a label",
      ["encryption-configuration", "--encryption-key-label=l", "--rotate-to=k"],
      /--rotate-to is for --encryption-key-id/,
    ],
    [
      "a rotation to the key in use",
      ["encryption-configuration", "--encryption-key-id=k", "--rotate-to=k"],
      /already in use/,
    ],
    [
      "--rotate-sock alone",
      ["encryption-configuration", "--rotate-sock=/x"],
      /--rotate-sock needs --rotate-to/,
    ],
    [
      "a provider's name with a colon",
      ["encryption-configuration", "--provider-name=a:b"],
      /"a:b" may hold letters/,
    ],
    ["a relative --exec", ["systemd", ...serve, "--exec=bin/p"], /"bin\/p" is not an absolute path/],
    ["a timeout without a unit", ["encryption-configuration", "--api-timeout=3"], /"3" is not a duration/],
    ["a list of no resources", ["encryption-configuration", "--resources=,"], /--resources: it names none/],
    [
      "resources that kube-apiserver refuses",
      ["encryption-configuration", "--resources=secrets,secrets"],
      /--resources: "secrets" is there twice/,
    ],
    [
      "a socket path that no kernel takes",
      ["encryption-configuration", `--sock=/run/${"x".repeat(110)}`],
      /Linux allows 107/,
    ],
    [
      "a rotation whose socket no kernel takes",
      ["encryption-configuration", `--sock=/run/${"x".repeat(100)}`, "--rotate-to=next"],
      /Linux allows 107/,
    ],
    [
      "a rotation onto the same socket",
      ["encryption-configuration", sock, "--rotate-to=k", "--rotate-sock=/run/okms/kms.sock"],
      /Both keys would have the socket \/run\/okms\/kms\.sock/,
    ],
    [
      "a rotation onto the same provider",
      ["encryption-configuration", sock, "--rotate-to=k", "--rotate-name=okms-encryption-provider"],
      /Both keys would have the provider "okms-encryption-provider"/,
    ],
    [
      "a rotation of REST to what is no UUID",
      ["encryption-configuration", "--protocol=rest", "--rotate-to=k"],
      /--rotate-to: "k" is not a UUID/,
    ],
    [
      "a static Pod whose certificate lies among the host's files",
      ["static-pod", ...serve, sock, "--image=i", "--client-cert=/etc/c.pem"],
      /^--client-cert \/etc\/c\.pem would mount all of \/etc into the Pod/,
    ],
    [
      "a static Pod on a port that nobody knows",
      ["static-pod", ...serve, sock, "--image=i", "--http-addr=127.0.0.1:0"],
      /^--http-addr needs a port/,
    ],
    [
      "a static Pod by a name that no Pod may have",
      ["static-pod", ...serve, sock, "--image=i", "--instance=Foo_bar"],
      /"Foo_bar" is no name of a Pod/,
    ],
    ["an image with a space", ["static-pod", ...serve, sock, "--image=a b"], /--image: "a b" holds a space/],
  ];
  for (const [what, argv, complaint] of rows) {
    test(`refuses ${what}`, async () => {
      const complaints = await complaintsOf(...argv);
      assert.ok(
        complaints.some((one) => complaint.test(one)),
        complaints.join("\n"),
      );
    });
  }
});

/** The printed files, by the path that their first line names. */
async function printFiles(...argv: readonly string[]): Promise<Map<string, Record<string, unknown>>> {
  const parts = (await print(...argv)).split(/^---$/m);
  return new Map(
    parts.map((part) => [
      /^# (\S+)$/m.exec(part)?.[1] ?? "",
      parse(part, { strict: true }) as Record<string, unknown>,
    ]),
  );
}
function args(file: string): string[] {
  return [`encryption-provider-config=${file}`, "encryption-provider-config-automatic-reload=true"];
}

function volume(name: string, folder: string): object {
  return { name, hostPath: folder, mountPath: folder, readOnly: true, pathType: "DirectoryOrCreate" };
}

/** The host's folders that kubeadm's kube-apiserver is given. */
async function kubeadmFolders(...flags: readonly string[]): Promise<unknown[]> {
  const files = await printFiles("kubeadm", ...flags);
  const cluster = files.get("/etc/kubernetes/okms/cluster-configuration.yaml") as {
    apiServer: { extraVolumes: { hostPath: string }[] };
  };
  return cluster.apiServer.extraVolumes.map(({ hostPath }) => hostPath);
}

describe("config for a distribution", () => {
  test("kubeadm: arguments and volumes of a ClusterConfiguration that lead to the file and the socket", async () => {
    const files = await printFiles("kubeadm", sock);
    const file = "/etc/kubernetes/okms/encryption-configuration.yaml";
    assert.deepEqual([...files.keys()], [file, "/etc/kubernetes/okms/cluster-configuration.yaml"]);
    const cluster = files.get("/etc/kubernetes/okms/cluster-configuration.yaml");
    assert.equal(cluster?.["apiVersion"], "kubeadm.k8s.io/v1beta4");
    assert.deepEqual(cluster["apiServer"], {
      extraArgs: [
        { name: "encryption-provider-config", value: file },
        { name: "encryption-provider-config-automatic-reload", value: "true" },
      ],
      extraVolumes: [
        volume("okms-configuration", "/etc/kubernetes/okms"),
        volume("okms-socket", "/run/okms"),
      ],
    });
  });

  test("kubeadm: no volume for an abstract socket, and both folders in a rotation to another one", async () => {
    assert.deepEqual(await kubeadmFolders("--sock=@okms"), ["/etc/kubernetes/okms"]);
    assert.deepEqual(await kubeadmFolders(sock, "--rotate-to=k2", "--rotate-sock=/run/okms2/kms.sock"), [
      "/etc/kubernetes/okms",
      "/run/okms",
      "/run/okms2",
    ]);
  });

  test("k3s: arguments that are added to those of the main file", async () => {
    const files = await printFiles("k3s", sock);
    assert.deepEqual(files.get("/etc/rancher/k3s/config.yaml.d/okms.yaml"), {
      "kube-apiserver-arg+": args("/etc/rancher/k3s/okms/encryption-configuration.yaml"),
    });
  });

  test("rke2: arguments, and the folders that its kube-apiserver's Pod needs", async () => {
    const files = await printFiles("rke2", sock);
    assert.deepEqual(files.get("/etc/rancher/rke2/config.yaml.d/okms.yaml"), {
      "kube-apiserver-arg+": args("/etc/rancher/rke2/okms/encryption-configuration.yaml"),
      "kube-apiserver-extra-mount+": ["/etc/rancher/rke2/okms:/etc/rancher/rke2/okms", "/run/okms:/run/okms"],
    });
  });

  test("kops: the static Pod and a place for each file, as assets of the cluster's specification", async () => {
    const kopsSock = "--sock=/srv/kubernetes/kube-apiserver/okms/kms.sock";
    const files = await printFiles("kops", ...serve, kopsSock, "--image=i");
    const { spec } = files.get("kops-cluster.yaml") as {
      spec: { encryptionConfig: boolean; fileAssets: { path: string; content: string }[] };
    };
    assert.equal(spec.encryptionConfig, true);
    assert.deepEqual(
      spec.fileAssets.map((asset) => asset.path),
      [
        "/etc/okms/cert.pem",
        "/etc/okms/key.pem",
        "/etc/kubernetes/manifests/okms-k8s-encryption-provider.manifest",
      ],
    );
    const pod = parse(spec.fileAssets[2]?.content ?? "") as Pod;
    assert.equal(pod.spec.containers[0].image, "i");
    assert.equal(pod.spec.volumes[0]?.hostPath.path, "/srv/kubernetes/kube-apiserver/okms");
  });

  for (const kind of ["kubeadm", "rke2"])
    test(`${kind} refuses a socket whose folder is the host's`, async () => {
      const complaints = await complaintsOf(kind, "--sock=/run/kms.sock");
      assert.match(complaints.join("\n"), /give it a folder of its own/);
    });

  test("kops refuses a socket that its kube-apiserver would not see", async () => {
    const complaints = await complaintsOf("kops", ...serve, sock, "--image=i");
    assert.match(complaints.join("\n"), /kOps mounts \/srv\/kubernetes\/kube-apiserver alone/);
  });
});
