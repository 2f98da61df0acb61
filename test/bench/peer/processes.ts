/** The processes of the comparison: two KMSs, one at hand and one 5 ms away, and whoever is measured in front of them. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { ftruncateSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { stripTypeScriptTypes } from "node:module";
import { createConnection } from "node:net";
import path from "node:path";
import { promisify } from "node:util";
import { create, toBinary } from "@bufbuild/protobuf";
import {
  DecryptResponseSchema,
  EncryptResponseSchema,
  StatusResponseSchema,
} from "../../../gen/kms/v2/api_pb.ts";
import { createKmipEncryptor } from "../../../src/encryptors/kmip.ts";
import { createRestEncryptor } from "../../../src/encryptors/rest.ts";
import {
  call,
  createRequest,
  decryptOperation,
  encodeRequest,
  parseKmipAddress,
  parseVersion,
} from "../../../src/kmip/index.ts";
import { parseRestAddress } from "../../../src/net/address.ts";
import { loadTlsMaterial } from "../../../src/net/tls.ts";
import { type CertificateFiles, createAuthority, writeClientFiles } from "../../devkms/certificates.ts";
import { converse, type Conversation } from "../../interop/conversation.ts";
import { buildKmipGo, type KmipGoServer, startKmipGoServer } from "../../interop/kmip-go.ts";
import { buildGo } from "../../support/go.ts";
import { residentBytes } from "../processes.ts";
import type { FloorOptions } from "./floor.ts";

const dist = path.resolve(import.meta.dirname, "../../../dist/okms-k8s-encryption-provider.js");

export type Protocol = "kmip" | "rest";
/** In ms. */
export type RoundTrip = 0 | 5;
/** What is measured: the plugin in Go, the one of dist/, the same at `--log-level warn`, and the floor. */
export type Kind = "go" | "here" | "quiet" | "floor";

/** What every process of a run shares. */
export interface World {
  readonly folder: string;
  readonly files: CertificateFiles;
  readonly kms: Readonly<Record<RoundTrip, KmipGoServer>>;
  readonly caller: Conversation;
  readonly commands: Readonly<Record<"go" | "here" | "floor", readonly string[]>>;
  /** Runs a command to its end. */
  run(command: readonly string[]): Promise<{ readonly ms: number; readonly peakBytes: number }>;
  close(): Promise<void>;
}

/** Builds what is in Go, and starts the KMSs and the caller. */
export async function createWorld(folder: string): Promise<World> {
  const programs = await buildGo(import.meta.dirname);
  const kmipGo = await buildKmipGo();
  const authority = await createAuthority();
  const files = await writeClientFiles(path.join(folder, "client"), authority);
  const kms = {
    0: await startKmipGoServer(kmipGo, path.join(folder, "near"), authority),
    5: await startKmipGoServer(kmipGo, path.join(folder, "far"), authority, 2.5),
  };
  const callerProgram = path.join(programs, "caller");
  const caller = converse(spawn(callerProgram, { stdio: ["pipe", "pipe", "pipe"] }), "caller");
  const floor = path.join(folder, "floor.mjs");
  const source = readFileSync(path.join(import.meta.dirname, "floor.ts"), "utf8");
  writeFileSync(floor, stripTypeScriptTypes(source));
  return {
    folder,
    files,
    kms,
    caller,
    commands: {
      go: [path.join(programs, "plugin")],
      here: [process.execPath, dist],
      floor: [process.execPath, floor],
    },
    async run(command) {
      const { stdout } = await promisify(execFile)(callerProgram, ["run", ...command]);
      return JSON.parse(stdout) as { ms: number; peakBytes: number };
    },
    async close() {
      await Promise.all([caller.close(), kms[0].close(), kms[5].close()]);
    },
  };
}

/** A plugin under way. */
export interface Subject {
  readonly kind: Kind;
  readonly sock: string;
  /** From the start to the first connection that the socket took, in ms. */
  readonly listeningMs: number;
  residentBytes(): number;
  /** Processor time so far, in ms, to 10 ms. */
  cpuMs(): number;
  hasEnded(): boolean;
  /** The end of what it has said. */
  logTail(): string;
  /** Drops its log so far. */
  forgetLog(): void;
  stop(): Promise<void>;
}

let sockets = 0;

const running = new Set<ChildProcess>();
process.once("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1));

/** Starts one, as by hand: no option of Node's, the default level of the log, which goes to a file. */
export async function startSubject(
  world: World,
  kind: Kind,
  protocol: Protocol,
  roundTrip: RoundTrip,
): Promise<Subject> {
  sockets += 1;
  const sock = path.join(world.folder, `${kind}-${sockets}.sock`);
  const flags =
    kind === "floor"
      ? [JSON.stringify(await floorOptions(world, protocol, roundTrip, sock))]
      : [...pluginFlags(world, protocol, roundTrip, sock), ...(kind === "quiet" ? ["--log-level=warn"] : [])];
  const [program = "", ...before] = world.commands[kind === "quiet" ? "here" : kind];
  const log = openSync(`${sock}.log`, "a");
  const began = performance.now();
  const child = spawn(program, [...before, ...flags], { stdio: ["ignore", log, log] });
  running.add(child);
  child.once("exit", () => running.delete(child));
  await listening(child, sock);
  const listeningMs = performance.now() - began;
  const pid = child.pid ?? 0;
  const hasEnded = (): boolean => child.exitCode !== null || child.signalCode !== null;
  return {
    kind,
    sock,
    hasEnded,
    listeningMs,
    residentBytes: () => residentBytes(pid),
    cpuMs: () => cpuMs(pid),
    logTail: () => readFileSync(`${sock}.log`, "utf8").slice(-2000),
    forgetLog: () => ftruncateSync(log),
    async stop() {
      if (hasEnded()) return;
      const ended = once(child, "exit");
      child.kill("SIGTERM");
      await ended;
    },
  };
}

/** Waits until the socket takes a connection. */
async function listening(child: ChildProcess, sock: string): Promise<void> {
  for (;;) {
    if (child.exitCode !== null)
      throw new Error(`${sock}: ended with ${child.exitCode}: ${readFileSync(`${sock}.log`, "utf8")}`);
    const socket = createConnection(sock);
    const connected = await once(socket, "connect").then(
      () => true,
      () => false,
    );
    socket.destroy();
    if (connected) return;
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** Linux: user and system time are fields 14 and 15 of /proc/PID/stat, in hundredths of a second. */
function cpuMs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

/** Both plugins take the same. */
function pluginFlags(
  { kms, files }: World,
  protocol: Protocol,
  roundTrip: RoundTrip,
  sock: string,
): string[] {
  const { address, keyId, rest } = kms[roundTrip];
  const own =
    protocol === "kmip"
      ? { "serv-addr": address, "encryption-key-id": keyId }
      : { "serv-addr": rest.url, "encryption-key-id": rest.keyId, "okms-id": rest.okmsId };
  const all = { protocol, sock, ...own, "client-cert": files.cert, "client-key": files.key, ca: files.ca };
  return Object.entries(all).map(([name, value]) => `--${name}=${value}`);
}

/** What the caller encrypts, and so what each Decrypt must give. */
const seed = Buffer.alloc(32, 42);

async function floorOptions(
  { kms, files }: World,
  protocol: Protocol,
  roundTrip: RoundTrip,
  sock: string,
): Promise<FloorOptions> {
  const { address, rest } = kms[roundTrip];
  const keyId = protocol === "kmip" ? kms[roundTrip].keyId : rest.keyId;
  const key = { id: keyId };
  const encryptor =
    protocol === "kmip"
      ? createKmipEncryptor({ servers: [parseKmipAddress(address)], key })
      : createRestEncryptor({ servers: [parseRestAddress(rest.url)], key, okmsId: rest.okmsId });
  encryptor.setTlsMaterial(await loadTlsMaterial(files));
  const context = { signal: AbortSignal.timeout(10_000), deadline: performance.now() + 10_000 };
  const { ciphertext, annotations } = await encryptor.encrypt(seed, keyId, context);
  await encryptor.close();
  const wrapped = create(EncryptResponseSchema, { ciphertext, keyId, annotations });
  const status = create(StatusResponseSchema, { version: "v2", healthz: "ok", keyId });
  const opened = create(DecryptResponseSchema, { plaintext: seed });
  return {
    sock,
    files,
    replies: {
      Status: hex(toBinary(StatusResponseSchema, status)),
      Encrypt: hex(toBinary(EncryptResponseSchema, wrapped)),
      Decrypt: hex(toBinary(DecryptResponseSchema, opened)),
    },
    ...(protocol === "kmip"
      ? { kmip: { ...endpoint(address), request: decryptRequest(keyId, ciphertext, annotations) } }
      : {
          rest: {
            url: rest.url,
            path: `/api/${rest.okmsId}/v1/servicekey/${keyId}/decrypt`,
            body: JSON.stringify({ ciphertext: Buffer.from(ciphertext).toString() }),
          },
        }),
  };
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

function endpoint(address: string): { host: string; port: number } {
  const [host = "", port = ""] = address.split(":");
  return { host, port: Number(port) };
}

function decryptRequest(
  uniqueIdentifier: string,
  sealed: Uint8Array,
  annotations: Readonly<Record<string, Uint8Array>>,
): string {
  const request = {
    uniqueIdentifier,
    // AES in the mode GCM, with a tag of 16 bytes and an IV of 12.
    cryptographicParameters: { cryptographicAlgorithm: 3, blockCipherMode: 9, tagLength: 16, ivLength: 12 },
    data: sealed.subarray(0, -16),
    authenticatedEncryptionTag: sealed.subarray(-16),
    ivCounterNonce: annotations["iv.okms.ovh.com"],
  };
  return hex(encodeRequest(createRequest(parseVersion("1.4"), [call(decryptOperation, request)])));
}
