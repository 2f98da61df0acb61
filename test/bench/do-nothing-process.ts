/**
 * A process for the benchmarks: the plugin's own server with an encryptor that does nothing, so that what the
 * socket itself costs is known. Argument: the socket's path. Says `{}` when it is ready; ends on SIGTERM.
 */
import type { Encryptor } from "../../src/encryptors/encryptor.ts";
import { createLogger } from "../../src/log/log.ts";
import { createMetrics } from "../../src/metrics.ts";
import { createKeyStatus } from "../../src/server/key/key-status.ts";
import { createKmsServer } from "../../src/server/rpc/server.ts";

const [socketPath = ""] = process.argv.slice(2);

const doNothing: Encryptor = {
  protocol: "kmip",
  resolveKey: async () => ({ keyId: "do-nothing" }),
  encrypt: async (plaintext) => ({
    ciphertext: plaintext,
    annotations: { "alg.okms.ovh.com": Buffer.from("AES_GCM"), "iv.okms.ovh.com": Buffer.alloc(12) },
  }),
  decrypt: async ({ ciphertext }) => ciphertext,
  setTlsMaterial: () => {},
  connections: () => ({ idle: 0, busy: 0, connecting: 0 }),
  close: async () => {},
};

const logger = createLogger({ level: "error", format: "json" });
const metrics = createMetrics({ version: "bench", protocol: "kmip" });
const status = createKeyStatus({
  encryptor: doNothing,
  probeIntervalMs: 15_000,
  deepProbeIntervalMs: 300_000,
  graceMs: 120_000,
  timeoutMs: 10_000,
  onEvent: () => {},
});
const server = createKmsServer({
  backend: Promise.resolve({ encryptor: doNothing, status }),
  logger,
  metrics,
  timeoutMs: 10_000,
  maxInflight: 512,
  socket: { path: socketPath, mode: 0o660, replace: false },
});
await server.listen();
status.start();
console.log("{}");

process.once("SIGTERM", async () => {
  await status.stop();
  await server.close();
});
