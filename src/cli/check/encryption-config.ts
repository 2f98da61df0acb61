/**
 * kube-apiserver's EncryptionConfiguration, held to what kube-apiserver demands (k8s.io/apiserver,
 * pkg/apis/apiserver/validation/validation_encryption.go), to this plugin's flags, and to what makes sense.
 */
import type { Config } from "../../config/config.ts";
import { readBounded, readFailure } from "../../net/pem.ts";
import { formatDuration, parseGoDuration } from "../../config/settings.ts";
import { quote, quotePath } from "../../text/quote.ts";
import { absoluteSock, endpointOf, parseEndpoint } from "../kms-endpoint.ts";
import { readEncryptionConfiguration, type KmsProvider, type Resource } from "./encryption-config-file.ts";
import { checkResources } from "./encryption-config-resources.ts";
import { allSkipped, failed, ok, warning, type Finding } from "./finding.ts";

/** The checks that need a file that can be read and a provider that leads here. */
const later = [
  "api version",
  "api cachesize",
  "api timeout",
  "api names",
  "api order",
  "api resources",
] as const;

/** kube-apiserver's own default. */
const defaultTimeoutMs = 3000;
/** Below, a KMS a continent away times out; above, health probes of kube-apiserver wait too long. */
const sensibleTimeoutMs = { min: 1000, max: 30_000 } as const;

type Plugin = Pick<Config, "sock" | "timeoutMs">;

/** Checks the file at `path` against the plugin's flags. */
export async function checkEncryptionConfig(path: string, plugin: Plugin): Promise<Finding[]> {
  let text: string;
  try {
    const bytes = await readBounded(path);
    if (bytes === undefined) throw Object.assign(new Error("too long"), { code: "EFBIG" });
    text = bytes.toString("utf8");
  } catch (error) {
    return [
      failed(
        "api file",
        `${quotePath(path)}: ${readFailure(error)}`,
        "give --encryption-config the path that kube-apiserver has",
      ),
      ...allSkipped(["api provider", ...later], earlierFailed),
    ];
  }
  return checkEncryptionConfigText(text, plugin);
}

/** Checks the text of an EncryptionConfiguration. */
export function checkEncryptionConfigText(text: string, plugin: Plugin): Finding[] {
  const read = readEncryptionConfiguration(text);
  if ("complaints" in read) {
    const advice = "`config encryption-configuration` prints one that is right";
    return [
      failed("api file", read.complaints.join("; "), advice),
      ...allSkipped(["api provider", ...later], earlierFailed),
    ];
  }
  const providers = read.resources.flatMap((resource) => resource.kms);
  const own = providers.filter((provider) => leadsTo(provider, plugin.sock));
  const [first] = own;
  if (first === undefined)
    return [fileRead, noProvider(providers, plugin.sock), ...allSkipped(later, earlierFailed)];
  return [
    fileRead,
    ok("api provider", `${quote(first.name ?? "")} at ${first.path} leads to ${plugin.sock}`),
    checkVersion(providers),
    checkCacheSize(providers),
    checkTimeout(first, plugin),
    checkNames(providers),
    checkOrder(read.resources, own),
    checkResources(read.resources.filter((resource) => resource.kms.some((one) => own.includes(one)))),
  ];
}

const earlierFailed = "an earlier check of the file failed";
const fileRead = ok("api file", "an EncryptionConfiguration that kube-apiserver can read");

function leadsTo({ endpoint }: KmsProvider, sock: string): boolean {
  const parsed = parseEndpoint(endpoint ?? "");
  return "sock" in parsed && plainPath(parsed.sock) === plainPath(sock);
}

/** `/var/run` is `/run` on every Linux that has systemd. */
function plainPath(sock: string): string {
  return absoluteSock(sock).replace(/^\/var\/run\//, "/run/");
}

function noProvider(providers: readonly KmsProvider[], sock: string): Finding {
  const advice = `write endpoint: ${endpointOf(absoluteSock(sock))}`;
  const seen = providers.map(({ endpoint = "" }) => {
    const parsed = parseEndpoint(endpoint);
    return "complaint" in parsed ? `${quote(endpoint)} (${parsed.complaint})` : quote(endpoint);
  });
  const what =
    seen.length === 0 ? "there is no kms provider" : `no endpoint leads to ${sock}: ${seen.join(", ")}`;
  return failed("api provider", what, advice);
}

function checkVersion(providers: readonly KmsProvider[]): Finding {
  const wrong = providers.filter(({ apiVersion }) => apiVersion !== "v2");
  if (wrong.length === 0) return ok("api version", "apiVersion: v2 is written");
  const what = wrong.map(({ path, apiVersion }) =>
    apiVersion === undefined
      ? `${path} has no apiVersion, which means v1`
      : `${path} has ${quote(apiVersion)}`,
  );
  return failed(
    "api version",
    what.join("; "),
    "write apiVersion: v2 below kms: — v1 is off since Kubernetes 1.29",
  );
}

function checkCacheSize(providers: readonly KmsProvider[]): Finding {
  const wrong = providers.filter(({ cachesize }) => cachesize !== undefined);
  if (wrong.length === 0) return ok("api cachesize", "not there, as it must be with v2");
  const paths = wrong.map(({ path }) => path).join(", ");
  return failed(
    "api cachesize",
    `${paths} has cachesize`,
    "take cachesize out: with v2 kube-apiserver refuses it",
  );
}

function checkTimeout({ timeout }: KmsProvider, plugin: Plugin): Finding {
  const name = "api timeout";
  const ms = timeout === undefined ? defaultTimeoutMs : parseGoDuration(timeout);
  if (ms === undefined || ms <= 0)
    return failed(name, `${quote(timeout ?? "")} is not a positive duration`, "write timeout: 3s");
  const shown = timeout ?? `${formatDuration(ms)}, kube-apiserver's default`;
  if (ms < sensibleTimeoutMs.min)
    return failed(name, `${shown} is too short for a KMS over the network`, "write timeout: 3s");
  if (ms > sensibleTimeoutMs.max)
    return warning(name, `${shown}: kube-apiserver's health probes may hang as long`, "write timeout: 3s");
  if (ms > plugin.timeoutMs)
    return warning(
      name,
      `${shown} is longer than the plugin's --timeout ${formatDuration(plugin.timeoutMs)}, which ends a call first`,
      "make --timeout at least as long",
    );
  return ok(name, `${shown}, within the plugin's --timeout ${formatDuration(plugin.timeoutMs)}`);
}

function checkNames(providers: readonly KmsProvider[]): Finding {
  const name = "api names";
  const seen = new Set<string>();
  for (const { name: own = "", path } of providers) {
    if (own === "") return failed(name, `${path} has no name`, "give each kms provider a name, for ever");
    if (own.includes(":")) return failed(name, `${quote(own)} holds a colon`, "choose a name without one");
    if (seen.has(own))
      return failed(name, `${quote(own)} is the name of two kms providers`, "give each a name of its own");
    seen.add(own);
  }
  return ok(name, [...seen].map((one) => quote(one)).join(", "));
}

/** The first provider of a resource writes. */
function checkOrder(resources: readonly Resource[], own: readonly KmsProvider[]): Finding {
  const name = "api order";
  for (const { kinds, kms, path } of resources) {
    if (!kms.some((one) => own.includes(one))) continue;
    if (kinds[0] === "identity")
      return failed(name, `${path}: identity comes first, so that nothing is encrypted`, "put identity last");
    const before = kinds.indexOf("identity") !== -1 && kinds.indexOf("identity") < kinds.lastIndexOf("kms");
    if (before) return warning(name, `${path}: identity comes before a kms provider`, "put identity last");
    const writer = kms[0];
    if (kinds[0] !== "kms" || writer === undefined || !own.includes(writer))
      return warning(
        name,
        `${path}: another provider comes first, and writes; this plugin only reads`,
        "leave it so in a rotation only; else put this plugin's provider first",
      );
    if (!kinds.includes("identity"))
      return warning(
        name,
        `${path}: there is no identity, so that what was stored unencrypted cannot be read`,
        "add identity: {} at the end until everything has been rewritten",
      );
  }
  return ok(name, "this plugin writes, identity only reads");
}
