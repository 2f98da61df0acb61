/**
 * A service and a socket unit for one plugin. systemd holds the socket, so that kube-apiserver can connect while
 * the service restarts; the service may do little but speak to the KMS. Source: systemd.exec(5), systemd.socket(5).
 */
import path from "node:path";
import { materialFolders, nodeOptions, stateFolder, type Instance, type OutputFile } from "./output.ts";

/** What the units need beyond the plugin's own flags. */
export interface SystemdOptions {
  /** Absolute path of the program. */
  readonly exec: string;
  /** Absolute path of the Node.js that runs it; undefined: it is the single executable. */
  readonly node: string | undefined;
  /** User to run as; undefined: root, without any capability. */
  readonly user: string | undefined;
}

const unitFolder = "/etc/systemd/system";

/** Who may need the plugin at a boot: the kubelet, or what runs kube-apiserver without one. */
const consumers = [
  "kubelet.service",
  "kube-apiserver.service",
  "k3s.service",
  "rke2-server.service",
  "k0scontroller.service",
].join(" ");

/** Makes both units of an instance. */
export function systemdUnits(instance: Instance, options: SystemdOptions): OutputFile[] {
  const { name, config, sock } = instance;
  const { exec, node, user } = options;
  const state = stateFolder(config);
  const command = [...(node === undefined ? [exec] : [node, ...nodeOptions, exec]), "serve"];
  // ProtectHome=yes would hide the very certificates, or the program.
  const folders = [exec, ...(node === undefined ? [] : [node])].map((file) => path.dirname(file));
  const service = serviceUnit({
    name,
    command: [...command, ...instance.serveArguments].map(quoteArgument).join(" \\\n  "),
    settings: [...(user === undefined ? [] : [`User=${user}`]), ...writable(state)],
    longestStopSeconds: Math.ceil(config.timeoutMs / 1000) + 5,
    folders: [...materialFolders(config), ...folders, ...(state === undefined ? [] : [state])],
  });
  const socket = socketUnit({
    name,
    sock: escapeSpecifiers(sock),
    mode: config.sockMode.toString(8).padStart(4, "0"),
    group: config.sockGroup,
  });
  return [
    { path: `${unitFolder}/${name}.service`, text: service },
    { path: `${unitFolder}/${name}.socket`, text: socket },
  ];
}

/**
 * Lets the service write to a folder, which ProtectSystem= forbids. Below /var/lib systemd makes it, for the service's user;
 * elsewhere it has to be there, or the service does not start.
 */
function writable(folder: string | undefined): string[] {
  if (folder === undefined) return [];
  const [, name] = /^\/var\/lib\/(.+)$/.exec(folder) ?? [];
  return name === undefined
    ? [`ReadWritePaths=${quoteWord(folder)}`]
    : [`StateDirectory=${quoteWord(name)}`, "StateDirectoryMode=0700"];
}

/** A service unit's parts that differ, in the syntax of unit files. */
export interface ServiceUnit {
  readonly name: string;
  /** The value of ExecStart=. */
  readonly command: string;
  /** Lines of the section Service. */
  readonly settings: readonly string[];
  /** How long a stop may take, in s. */
  readonly longestStopSeconds: number;
  /** Folders that the service reads. */
  readonly folders: readonly string[];
}

/** Makes a service unit. */
export function serviceUnit({ name, command, settings, longestStopSeconds, folders }: ServiceUnit): string {
  return `[Unit]
Description=Kubernetes KMS v2 plugin (${name})
Requires=${name}.socket
After=${name}.socket network.target
Before=${consumers}
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart=${command}
ExecReload=/bin/kill -HUP $MAINPID
Restart=always
RestartSec=1
TimeoutStopSec=${longestStopSeconds}
${settings.map((line) => `${line}\n`).join("")}UMask=0077
OOMScoreAdjust=-900

# No RuntimeDirectory=: it would give the socket, and its group, to the service's user. The socket unit makes the folder.

# No seed in a core dump or in swap.
LimitCORE=0
MemorySwapMax=0
LimitNOFILE=8192

NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectSystem=strict
ProtectHome=${folders.some(isHome) ? "read-only" : "yes"}
PrivateTmp=${folders.some(isTmp) ? "no" : "yes"}
PrivateDevices=yes
DevicePolicy=closed
PrivateUsers=yes
ProtectProc=invisible
ProcSubset=pid
ProtectClock=yes
ProtectHostname=yes
ProtectControlGroups=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RemoveIPC=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
# Not MemoryDenyWriteExecute: Node.js compiles JavaScript to machine code.

[Install]
WantedBy=multi-user.target
Also=${name}.socket
`;
}

/** A socket unit's parts that differ, in the syntax of unit files. */
export interface SocketUnit {
  readonly name: string;
  readonly sock: string;
  /** Octal, as `0660`. */
  readonly mode: string;
  /** Name or number; undefined: root. */
  readonly group: string | undefined;
}

/**
 * Makes a socket unit. Its folder is root's, and lets everybody come through without seeing what is in it: the socket's
 * own mode says who may connect, and another instance in the same folder may be for another group.
 */
export function socketUnit({ name, sock, mode, group }: SocketUnit): string {
  return `[Unit]
Description=Socket of the Kubernetes KMS v2 plugin (${name})
Before=${consumers}

[Socket]
ListenStream=${sock}
SocketMode=${mode}
${group === undefined ? "" : `SocketGroup=${group}\n`}DirectoryMode=0751

[Install]
WantedBy=sockets.target
`;
}

function isHome(folder: string): boolean {
  return /^\/(?:home|root|run\/user)(?:\/|$)/.test(folder);
}

function isTmp(folder: string): boolean {
  return /^(?:\/var)?\/tmp(?:\/|$)/.test(folder);
}

/** An argument of a command line: `$` doubled as well, for systemd puts variables in. */
function quoteArgument(text: string): string {
  return quoteWord(text.replaceAll("$", "$$$$"));
}

/** A word for systemd's own splitting and expansion: quoted where need be, `%` doubled. */
function quoteWord(text: string): string {
  const escaped = escapeSpecifiers(text);
  if (/^[\w@%+=:,./$-]+$/.test(escaped)) return escaped;
  const inner = escaped
    .replaceAll(/[\\"]/g, String.raw`\$&`)
    .replaceAll(/\p{Cc}/gu, (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`);
  return `"${inner}"`;
}

function escapeSpecifiers(text: string): string {
  return text.replaceAll("%", "%%");
}
