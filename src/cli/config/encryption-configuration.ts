/**
 * kube-apiserver's EncryptionConfiguration (apiserver.config.k8s.io/v1) for one plugin, or for two in a rotation by
 * key id: the first provider writes, all of them read.
 */
import { formatDuration } from "../../config/settings.ts";
import { endpointOf } from "../kms-endpoint.ts";
import { type Instance, type OutputFile, yamlFile } from "./output.ts";

/** What of an instance the API server has to know. */
export type Provider = Pick<Instance, "providerName" | "sock">;

/** The content of the file. */
export interface EncryptionConfigurationOptions {
  /** The first writes. */
  readonly providers: readonly Provider[];
  /** As `secrets`, `configmaps`, `*.example.com`. */
  readonly resources: readonly string[];
  /** Of each call, in ms. */
  readonly timeoutMs: number;
}

/** Where the file belongs on a host whose distribution does not say otherwise. In a folder of its own, to be mounted. */
export const installPath = "/etc/kubernetes/okms/encryption-configuration.yaml";

const plainHead = ` For kube-apiserver:
   --encryption-provider-config=${installPath}
   --encryption-provider-config-automatic-reload=true
 Where kube-apiserver is a Pod, mount this file's folder and the socket's folder into it.`;

const forever = `
 The name of a provider is part of what is stored in etcd: never change it.`;

const rotation = `
 Rotation: the first provider writes, all of them read. With several API servers, give every one the file of
 --rotate-step read before any gets that of --rotate-step write. Once all have the second, have
 all that is stored rewritten (reencrypt --encryption-config THIS-FILE), then take the old provider out.`;

/**
 * Makes the file.
 * @param place where it belongs, and the comment at its head; default: a host whose kube-apiserver one starts oneself
 */
export function encryptionConfiguration(
  options: EncryptionConfigurationOptions,
  place: { readonly path: string; readonly head: string } = { path: installPath, head: plainHead },
): OutputFile {
  const { providers, resources, timeoutMs } = options;
  return yamlFile(place.path, `${place.head}${forever}${providers.length > 1 ? rotation : ""}`, {
    apiVersion: "apiserver.config.k8s.io/v1",
    kind: "EncryptionConfiguration",
    resources: [
      {
        resources,
        providers: [
          ...providers.map((provider) => ({
            kms: {
              // The default is v1, which kube-apiserver no longer has.
              apiVersion: "v2",
              name: provider.providerName,
              endpoint: endpointOf(provider.sock),
              timeout: formatDuration(timeoutMs),
            },
          })),
          // What was stored before encryption was turned on can still be read.
          { identity: {} },
        ],
      },
    ],
  });
}
