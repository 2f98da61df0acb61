/**
 * What a run happens in: two KMS with the same keys, a relay before each that adds a round trip, the plugin from
 * dist/ with both addresses, and the callers. Plugin and callers are processes of their own.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { connectCaller } from "../support/caller.ts";
import { type DevKms, startDevKms } from "../devkms/devkms.ts";
import { type Relay, startRelay } from "../devkms/relay.ts";
import { type Callers, startCallers } from "./callers.ts";
import { type ClientFiles, createClientFiles } from "./client-files.ts";
import { type Plugin, startPlugin } from "./plugin.ts";

export type Protocol = "kmip" | "rest";

/** One way to the keys: a KMS, and the relay before it. */
export interface Path {
  readonly name: "A" | "B";
  readonly kms: DevKms;
  readonly relay: Relay;
}

/** See above. */
export interface World {
  readonly protocol: Protocol;
  readonly paths: readonly [Path, Path];
  readonly plugin: Plugin;
  readonly callers: Callers;
  readonly clientFiles: ClientFiles;
  readonly sock: string;
  readonly label: string;
  /** The key that the label leads to. */
  keyId: string;
  /** Ends everything; gives the plugin's exit code. */
  close(): Promise<number | null>;
}

/** Round trip that the relays add, in ms. */
export const roundTripMs = 20;
/**
 * What differs from the default. A label that moves can be seen by no sooner than the next probe: with the default
 * of 15 s no program could say so within 5 s. The grace is short so that its end is seen at all.
 */
export const probeIntervalMs = 3000;
export const graceMs = 12_000;
/** What the callers give as grpc-timeout: kube-apiserver's default, and half of it. */
const timeoutsMs = [3000, 3000, 3000, 1500] as const;

async function startPath(name: Path["name"], protocol: Protocol, first?: DevKms): Promise<Path> {
  const other = protocol === "kmip" ? { rest: false as const } : { kmip: false as const };
  const shared =
    first === undefined
      ? {}
      : {
          keys: first.keys,
          authority: first.authority,
          ...(protocol === "rest" ? { rest: { okmsId: first.okmsId } } : {}),
        };
  const kms = await startDevKms({ ...other, ...shared });
  const target = protocol === "kmip" ? kms.kmipAddress : new URL(kms.restUrl).host;
  return { name, kms, relay: await startRelay(target, { delayMs: roundTripMs / 2 }) };
}

function flagsOf(protocol: Protocol, paths: World["paths"], files: ClientFiles, own: object): string[] {
  const servers = paths.map(({ relay }) =>
    protocol === "kmip" ? relay.address : `https://${relay.address}`,
  );
  const { cert, key, ca } = files.paths;
  const flags: Record<string, string> = {
    protocol,
    "serv-addr": servers.join(","),
    "client-cert": cert,
    "client-key": key,
    ca,
    "probe-interval": `${probeIntervalMs}ms`,
    "status-grace": `${graceMs}ms`,
    ...(protocol === "rest" ? { "okms-id": paths[0].kms.okmsId } : {}),
    ...own,
  };
  return Object.entries(flags).flatMap(([name, value]) => [`--${name}`, value]);
}

/** Resolves once Status says ok. */
async function untilOk(sock: string): Promise<void> {
  for (const deadline = Date.now() + 10_000; ;) {
    try {
      const caller = await connectCaller(sock);
      const { healthz } = await caller.status();
      await caller.close();
      if (healthz === "ok") return;
    } catch (error) {
      if (Date.now() > deadline) throw error;
    }
    await sleep(20);
  }
}

/** Makes a world in which all is well and 16 callers call. @param onEnd told where the plugin ends by itself */
export async function createWorld(protocol: Protocol, onEnd: (how: string) => void): Promise<World> {
  const folder = await mkdtemp(path.join(tmpdir(), "okms-chaos-"));
  const first = await startPath("A", protocol);
  const paths = [first, await startPath("B", protocol, first.kms)] as const;
  const label = "chaos";
  const { id: keyId } = first.kms.keys.create({ name: label });
  const clientFiles = await createClientFiles(path.join(folder, "client"), first.kms.authority);
  const sock = path.join(folder, "kms.sock");
  const own = { sock, "encryption-key-label": label };
  const plugin = startPlugin(flagsOf(protocol, paths, clientFiles, own), onEnd);
  await untilOk(sock);
  const callers = startCallers({ sock, callers: 16, leavers: 3, timeoutsMs });
  return {
    protocol,
    paths,
    plugin,
    callers,
    clientFiles,
    sock,
    label,
    keyId,
    async close() {
      await callers.stop();
      const code = await plugin.end();
      await Promise.all(paths.map(({ relay }) => relay.close()));
      // B borrows from A, whose folder goes with it.
      await paths[1].kms.close();
      await paths[0].kms.close();
      await rm(folder, { recursive: true, force: true });
      return code;
    },
  };
}
