/**
 * A service and a socket unit for one plugin. systemd holds the socket, so that kube-apiserver can connect while
 * the service restarts; the service may do little but speak to the KMS. Source: systemd.exec(5), systemd.socket(5).
 */
import path from "node:path";
import type { Instance, OutputFile } from "./output.ts";
import { materialFolders, nodeOptions } from "./output.ts";

/** What the units need beyond the plugin's own flags. */
export interface SystemdOptions {
  /** Absolute path of the program. */
  readonly exec: string;
  /** User to run as; undefined: root, without any capability. */
  readonly user: string | undefined;
}

const unitFolder = "/etc/systemd/system";

/** Makes both units of an instance. */
export function systemdUnits(instance: Instance, options: SystemdOptions): OutputFile[] {
  return [
    { path: `${unitFolder}/${instance.name}.service`, text: serviceUnit(instance, options) },
    { path: `${unitFolder}/${instance.name}.socket`, text: socketUnit(instance) },
  ];
}

function serviceUnit(instance: Instance, { exec, user }: SystemdOptions): string {
  const { name, config } = instance;
  // ProtectHome=yes would hide the very certificates, or the program.
  const folders = [...materialFolders(config), path.dirname(exec)];
  const command = [exec, "serve", ...instance.serveArguments].map(quoteArgument).join(" \\\n  ");
  return `[Unit]
Description=Kubernetes KMS v2 plugin (${name})
Requires=${name}.socket
After=${name}.socket network.target
Before=kubelet.service
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart=${command}
ExecReload=/bin/kill -HUP $MAINPID
Restart=always
RestartSec=1
TimeoutStopSec=${Math.ceil(config.timeoutMs / 1000) + 5}
${user === undefined ? "" : `User=${user}\n`}UMask=0077
Environment="NODE_OPTIONS=${nodeOptions.join(" ")}"
OOMScoreAdjust=-900

# The socket lives here: without Preserve its folder would be another one after each restart, and the one that
# is mounted into kube-apiserver's Pod an empty one.
RuntimeDirectory=${quoteWord(runtimeDirectory(instance))}
RuntimeDirectoryMode=${folderMode(instance)}
RuntimeDirectoryPreserve=yes

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
ProtectProc=invisible
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
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM
# Not MemoryDenyWriteExecute: Node.js compiles JavaScript to machine code.

[Install]
WantedBy=multi-user.target
Also=${name}.socket
`;
}

function socketUnit(instance: Instance): string {
  const { name, sock, config } = instance;
  const mode = config.sockMode.toString(8).padStart(4, "0");
  const group = config.sockGroup === undefined ? "" : `SocketGroup=${config.sockGroup}\n`;
  return `[Unit]
Description=Socket of the Kubernetes KMS v2 plugin (${name})
Before=kubelet.service

[Socket]
ListenStream=${escapeSpecifiers(sock)}
SocketMode=${mode}
${group}DirectoryMode=${folderMode(instance)}

[Install]
WantedBy=sockets.target
`;
}

/** The socket's folder below /run; the unit's own where the socket is elsewhere, or in /run itself. */
function runtimeDirectory({ name, sock }: Instance): string {
  const below = /^(?:\/var)?\/run\/(.+)$/.exec(path.dirname(sock))?.[1];
  return below === undefined || sock.startsWith("@") ? name : below;
}

/** Whoever is of the socket's group is to come through the folder, which is root's: to see nothing else in it. */
function folderMode({ config }: Instance): string {
  return config.sockGroup === undefined ? "0750" : "0751";
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
