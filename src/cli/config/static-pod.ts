/**
 * A static Pod for one plugin, for the kubelet's staticPodPath on each control-plane node: there before the API
 * server is, on the host's network, with nothing of the host but its socket's folder and its certificates.
 */
import path from "node:path";
import { programName } from "../help.ts";
import { materialFolders, stateFolder, yamlFile, type Instance, type OutputFile } from "./output.ts";

/** What the Pod needs beyond the plugin's own flags. */
export interface StaticPodOptions {
  /** Image with the program on its PATH. */
  readonly image: string;
  /** SELinux type of its process; undefined: what the container runtime gives it. */
  readonly selinuxType?: string | undefined;
}

/** Priority of the class system-node-critical: a static Pod passes no admission that would fill it in. */
const nodeCriticalPriority = 2_000_001_000;
const folder = "/etc/kubernetes/manifests";

const head = ` A static Pod: put it into the kubelet's staticPodPath on each control-plane node.
 Its user is root without capabilities, so that it reads files that only root may read.`;

/** Makes the manifest of an instance, whose configuration has an HTTP address, and a group by number if any. */
export function staticPod(instance: Instance, { image, selinuxType }: StaticPodOptions): OutputFile {
  const { name, config, serveArguments } = instance;
  const volumes = volumesOf(instance);
  return yamlFile(`${folder}/${name}.yaml`, head, {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name,
      namespace: "kube-system",
      labels: { "app.kubernetes.io/name": programName, component: name, tier: "control-plane" },
    },
    spec: {
      hostNetwork: true,
      // The cluster's DNS needs the API server, which needs this Pod.
      dnsPolicy: "Default",
      priorityClassName: "system-node-critical",
      priority: nodeCriticalPriority,
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      terminationGracePeriodSeconds: Math.ceil(config.timeoutMs / 1000) + 5,
      securityContext: {
        runAsUser: 0,
        ...groupsOf(instance),
        ...(selinuxType !== undefined && { seLinuxOptions: { type: selinuxType } }),
        seccompProfile: { type: "RuntimeDefault" },
      },
      containers: [
        {
          name: programName,
          image,
          imagePullPolicy: "IfNotPresent",
          command: [programName],
          args: ["serve", ...serveArguments].map(escapeVariables),
          securityContext: {
            readOnlyRootFilesystem: true,
            allowPrivilegeEscalation: false,
            privileged: false,
            capabilities: { drop: ["ALL"] },
          },
          resources: { requests: { cpu: "50m", memory: "128Mi" }, limits: { memory: "512Mi" } },
          ...probes(instance),
          volumeMounts: volumes.map(({ name: volume, path: mountPath, readOnly }) => ({
            name: volume,
            mountPath,
            readOnly,
          })),
        },
      ],
      volumes: volumes.map(({ name: volume, path: hostPath, type }) => ({
        name: volume,
        hostPath: { path: hostPath, type },
      })),
    },
  });
}

/**
 * Alive is the process and its socket alone: a restart repairs no KMS. Ready is a Status, an Encrypt and a Decrypt
 * as the API server would ask for.
 */
function probes({ config, sock }: Instance): Record<string, unknown> {
  return {
    livenessProbe: {
      httpGet: { host: config.httpAddr?.host, port: config.httpAddr?.port, path: "/livez" },
      periodSeconds: 10,
      timeoutSeconds: 5,
      failureThreshold: 6,
    },
    readinessProbe: {
      exec: { command: [programName, "probe", `--sock=${sock}`, "--timeout=3s"] },
      periodSeconds: 60,
      timeoutSeconds: 15,
      failureThreshold: 2,
    },
  };
}

/** Without CAP_CHOWN a process can give its socket to none but a group of its own. */
function groupsOf({ config: { sockGroup } }: Instance): { readonly supplementalGroups?: readonly number[] } {
  return sockGroup === undefined ? {} : { supplementalGroups: [Number(sockGroup)] };
}

/** The kubelet puts variables in for `$(NAME)`. */
function escapeVariables(argument: string): string {
  return argument.replaceAll("$(", "$$$$(");
}

interface Volume {
  readonly name: string;
  readonly path: string;
  readonly type: "Directory" | "DirectoryOrCreate";
  readonly readOnly: boolean;
}

/** Folders and not files: a file that is exchanged by a rename would stay the old one in the Pod. */
function volumesOf({ sock, config }: Instance): Volume[] {
  const socket: Volume[] = sock.startsWith("@")
    ? []
    : [{ name: "socket", path: path.dirname(sock), type: "DirectoryOrCreate", readOnly: false }];
  const material = materialFolders(config)
    .filter((one) => one !== socket[0]?.path)
    .map((one, index) => ({ name: `tls-${index}`, path: one, type: "Directory", readOnly: true }) as const);
  const state = stateFolder(config);
  const written: Volume[] =
    state === undefined || state === socket[0]?.path
      ? []
      : [{ name: "state", path: state, type: "DirectoryOrCreate", readOnly: false }];
  return [...socket, ...material.filter((one) => one.path !== state), ...written];
}
