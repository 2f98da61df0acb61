/**
 * `npm run dev`, `npm run dev -- --protocol rest`: the embedded KMS with a key, the plugin before it, and the calls that
 * kube-apiserver would make, shown in a few lines; then both go on serving until Ctrl-C. What they keep is in .dev/.
 */
import { createHash, randomBytes } from "node:crypto";
import { chmodSync, mkdirSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { encryptionConfiguration } from "../../src/cli/config/encryption-configuration.ts";
import { createApiServer } from "./api-server.ts";
import { endOrphan, startDevPlugin, type DevPlugin } from "./dev-plugin.ts";
import { type DevKms, startDevKms } from "./devkms.ts";

const checkout = path.resolve(import.meta.dirname, "../..");
const label = "okms-dev";
const providerName = "okms-encryption-provider";
/** The kernel's limit of a socket's path is 107 bytes; Node adds none. */
const maxSocketPathBytes = 107;

type Protocol = "kmip" | "rest";

interface Options {
  readonly protocol: Protocol;
  /** Where keys, certificates and the socket are kept: .dev/, or another where told (for tests). */
  readonly folder: string;
}

function parseOptions(): Options {
  const { values } = parseArgs({
    options: {
      protocol: { type: "string", default: "kmip" },
      folder: { type: "string", default: path.join(checkout, ".dev") },
    },
  });
  const { protocol, folder } = values;
  if (protocol === "kmip" || protocol === "rest") return { protocol, folder: path.resolve(folder) };
  throw new Error(`--protocol ${protocol}: must be kmip or rest`);
}

/** In the folder, or where that lies too deep for a socket, in one of its own under /tmp. */
function socketPathOf(folder: string): string {
  const inside = path.join(folder, "okms.sock");
  if (Buffer.byteLength(inside) <= maxSocketPathBytes) return inside;
  const short = createHash("sha256").update(folder).digest("hex").slice(0, 12);
  return path.join(tmpdir(), `okms-dev-${short}`, "okms.sock");
}

function commandLineOf(protocol: Protocol, kms: DevKms, socketPath: string): string[] {
  const { cert, key, ca } = kms.clientFiles;
  const flags = {
    protocol,
    "serv-addr": protocol === "kmip" ? kms.kmipAddress : kms.restUrl,
    ...(protocol === "rest" ? { "okms-id": kms.okmsId } : {}),
    "encryption-key-label": label,
    "client-cert": cert,
    "client-key": key,
    ca,
    sock: socketPath,
    "log-format": "text",
  };
  return Object.entries(flags).flatMap(([name, value]) => [`--${name}`, value]);
}

/** As somebody in the checkout would type it. */
function shown(argument: string): string {
  return argument.startsWith(checkout + path.sep) ? path.relative(checkout, argument) : argument;
}

async function timed<Result>(work: Promise<Result>): Promise<[Result, string]> {
  const begin = performance.now();
  const result = await work;
  return [result, `${(performance.now() - begin).toFixed(1)} ms`];
}

/** What kube-apiserver does with a provider at its start. */
async function demonstrate(socketPath: string): Promise<void> {
  const apiServer = createApiServer(socketPath, 8000);
  try {
    const [status, statusTime] = await timed(apiServer.status());
    if (status.healthz !== "ok") throw new Error(`Status says: ${status.healthz}`);
    console.log(
      `✔ Status   ${status.version}, healthz ${status.healthz}, key_id ${status.keyId} (${statusTime})`,
    );
    const seed = randomBytes(32);
    const [wrapped, encryptTime] = await timed(apiServer.encrypt(seed));
    const annotations = Object.keys(wrapped.annotations).join(", ") || "no annotations";
    console.log(`✔ Encrypt  32 bytes to ${wrapped.ciphertext.length}, ${annotations} (${encryptTime})`);
    const [{ plaintext }, decryptTime] = await timed(apiServer.decrypt(wrapped));
    if (!seed.equals(plaintext)) throw new Error("Decrypt gave other bytes than Encrypt had");
    console.log(`✔ Decrypt  the same 32 bytes (${decryptTime})`);
  } finally {
    apiServer.close();
  }
}

function printNextSteps(socketPath: string): void {
  const { text } = encryptionConfiguration({
    providers: [{ providerName, sock: socketPath }],
    resources: ["secrets"],
    timeoutMs: 3000,
  });
  console.log(`\nEncryptionConfiguration, to paste:\n\n${text.replaceAll(/^(?=.)/gm, "  ")}`);
  console.log(`In another terminal:

  npx buf curl --protocol grpc --http2-prior-knowledge --unix-socket ${shown(socketPath)} \\
    http://localhost/v2.KeyManagementService/Status
`);
}

/** Resolves when somebody wants an end of it: Ctrl-C, a signal, the terminal closed, nobody reading (`| head`). */
function untilSignal(): Promise<"signal"> {
  const { promise, resolve } = Promise.withResolvers<"signal">();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => resolve("signal"));
  process.stdout.on("error", () => resolve("signal"));
  return promise;
}

async function runBoth(plugin: DevPlugin, socketPath: string, signal: Promise<"signal">): Promise<void> {
  const showOff = async (): Promise<void> => {
    await plugin.listening();
    await demonstrate(socketPath);
    printNextSteps(socketPath);
    console.log("Both go on serving; Ctrl-C ends them. The plugin's log:\n");
    plugin.follow((text) => process.stdout.write(text));
  };
  const first = await Promise.race([signal, showOff()]);
  if (first === "signal") return;
  const last = await Promise.race([signal, plugin.ended]);
  if (last !== "signal" && last !== 0) throw new Error(`the plugin has ended (exit code ${last})`);
}

async function main(): Promise<void> {
  const { protocol, folder } = parseOptions();
  const signal = untilSignal();
  const socketPath = socketPathOf(folder);
  for (const each of new Set([folder, path.dirname(socketPath)])) {
    mkdirSync(each, { recursive: true, mode: 0o700 });
    // An earlier run under another umask may have made it; the plugin refuses a folder that others write to.
    chmodSync(each, 0o700);
  }
  const pidFile = path.join(folder, "run.json");
  await endOrphan(pidFile, socketPath);

  const faces = protocol === "kmip" ? { rest: false as const } : { kmip: false as const };
  const kms = await startDevKms({ folder: path.join(folder, "kms"), ...faces });
  try {
    const isNew = !kms.keys.byName(label).some((key) => key.state === "Active");
    if (isNew) kms.keys.create({ name: label });
    const address = protocol === "kmip" ? kms.kmipAddress : kms.restUrl;
    console.log(
      `✔ KMS      ${protocol} at ${address}, key "${label}" ${isNew ? "made" : "of an earlier run"}`,
    );
    const args = commandLineOf(protocol, kms, socketPath);
    const plugin = startDevPlugin(args, socketPath, pidFile);
    console.log(`✔ Plugin   okms-k8s-encryption-provider ${args.map(shown).join(" ")}`);
    try {
      await runBoth(plugin, socketPath, signal);
    } catch (error) {
      plugin.follow((text) => process.stderr.write(text));
      throw error;
    } finally {
      await plugin.stop();
    }
  } finally {
    await kms.close();
  }
}

try {
  await main();
} catch (error) {
  console.error(`✖ ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
