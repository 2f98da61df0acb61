/**
 * A process for the benchmarks: the embedded KMS with one key, its REST face once with HTTP/2 and once
 * without, and before each face a relay for each round trip asked for. Arguments: round trips in ms.
 * Says where everything is in one line of JSON, takes `silent`, `stop`, `start`, `rotate` (another key gets the
 * label) and `destroy` (of the keys that had it) as lines and answers each with `done`; ends on SIGTERM.
 */
import { createInterface } from "node:readline";
import { startDevKms } from "../devkms/devkms.ts";
import { startRelay, type Relay } from "../devkms/relay.ts";
import type { KmsReady } from "./processes.ts";

const roundTripsMs = process.argv.slice(2).map(Number);
const label = "bench";
/** The name of keys that had the label. */
const retired = "retired";

const kms = await startDevKms({ rest: { http2: true } });
const old = await startDevKms({
  kmip: false,
  rest: { http2: false, okmsId: kms.okmsId },
  keys: kms.keys,
  authority: kms.authority,
});
kms.keys.create({ name: label });

const relays: Relay[] = [];
/** Addresses of `target` by the round trip of the relay before it. */
async function behindRelays(target: string): Promise<Record<string, string>> {
  const addresses: Record<string, string> = { 0: target };
  for (const roundTripMs of roundTripsMs.filter((each) => each > 0)) {
    const relay = await startRelay(target, { delayMs: roundTripMs / 2 });
    relays.push(relay);
    addresses[roundTripMs] = relay.address;
  }
  return addresses;
}
/** The same for URLs. */
async function urlsBehindRelays(url: string): Promise<Record<string, string>> {
  const addresses = await behindRelays(new URL(url).host);
  return Object.fromEntries(Object.entries(addresses).map(([key, host]) => [key, `https://${host}`]));
}

const ready: KmsReady = {
  kmip: await behindRelays(kms.kmipAddress),
  rest: { http1: await urlsBehindRelays(old.restUrl), http2: await urlsBehindRelays(kms.restUrl) },
  okmsId: kms.okmsId,
  label,
  ...kms.clientFiles,
};
console.log(JSON.stringify(ready));

const commands: Readonly<Record<string, () => Promise<void> | void>> = {
  silent: () => {
    kms.faults.silent = true;
  },
  stop: () => kms.stop(),
  start: async () => {
    kms.faults.silent = false;
    await kms.start();
  },
  rotate: () => {
    for (const { id } of kms.keys.byName(label)) kms.keys.update(id, { names: [retired] });
    kms.keys.create({ name: label });
  },
  destroy: () => {
    for (const { id } of kms.keys.byName(retired)) kms.keys.update(id, { state: "Destroyed" });
  },
};
createInterface({ input: process.stdin }).on("line", async (line) => {
  await commands[line]?.();
  console.log("done");
});

process.once("SIGTERM", async () => {
  process.stdin.destroy();
  await Promise.all(relays.map((relay) => relay.close()));
  await Promise.all([kms.close(), old.close()]);
});
