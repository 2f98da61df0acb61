/**
 * kmip-go for tests: a KMIP server and a KMIP client on the library of the Go original, built by Go from modules at the
 * first use and kept in .interop/ of the checkout, under a name that is its source's hash.
 */
import { execFile, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { mkdir, rename } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";
import type { VersionText } from "../../src/kmip/version.ts";
import { type Authority, type CertificateFiles, writeCertificateFiles } from "../devkms/certificates.ts";
import { converse, type Conversation } from "./conversation.ts";

const run = promisify(execFile);
const source = path.join(import.meta.dirname, "kmip-go");
const kept = path.resolve(import.meta.dirname, "../../.interop");

/** Whether this machine has Go. */
export async function hasGo(): Promise<boolean> {
  return run("go", ["version"]).then(
    () => true,
    () => false,
  );
}

/** The path of the program, built where there is none of this source. */
export async function buildKmipGo(): Promise<string> {
  const hash = createHash("sha256");
  for (const name of readdirSync(source).toSorted())
    hash.update(name).update(readFileSync(path.join(source, name)));
  const program = path.join(kept, `kmip-go-${hash.digest("hex").slice(0, 16)}`);
  if (existsSync(program)) return program;
  await mkdir(kept, { recursive: true });
  const aside = `${program}.${process.pid}`;
  await run("go", ["build", "-buildvcs=false", "-o", aside, "."], { cwd: source });
  await rename(aside, program);
  return program;
}

function start(program: string, args: readonly string[]): Conversation {
  return converse(spawn(program, args, { stdio: ["pipe", "pipe", "pipe"] }), "kmip-go");
}

/** What the server does. */
export interface KmipGoSettings {
  /** Speaks these versions. */
  readonly versions: readonly VersionText[];
  /** The tag travels at the end of Data in KMIP 1.4, too. */
  readonly tagInData: boolean;
}

/** A running server, with one AES key. */
export interface KmipGoServer {
  /** `127.0.0.1:PORT`. */
  readonly address: string;
  readonly keyId: string;
  readonly keyName: string;
  /** New connections, and new requests on those that are open, are served so. */
  set(settings: KmipGoSettings): Promise<void>;
  close(): Promise<void>;
}

/** Starts the server, with its certificate in `folder`. It speaks 1.0 to 1.4 at first. */
export async function startKmipGoServer(
  program: string,
  folder: string,
  authority: Authority,
): Promise<KmipGoServer> {
  const issued = await authority.issue({ commonName: "kmip-go", ipAddresses: ["127.0.0.1"], server: true });
  const files = await writeCertificateFiles(path.join(folder, "tls"), issued, authority.caPem);
  const server = start(program, ["serve", files.cert, files.key, files.ca]);
  const { port, id, name } = (await server.next()) as { port: number; id: string; name: string };
  return {
    address: `127.0.0.1:${port}`,
    keyId: id,
    keyName: name,
    async set(settings) {
      server.write(settings);
      await server.next();
    },
    close: () => server.close(),
  };
}

/** What the client answers; bytes are hexadecimal. */
export interface KmipGoReply {
  readonly failed?: string;
  readonly id?: string;
  readonly data?: string;
  readonly tag?: string;
}

/** The client, connected. */
export interface KmipGoClient {
  /** Carries out requests in order, as `{ do: "encrypt", id, data, iv }`. */
  act(requests: readonly Readonly<Record<string, unknown>>[]): Promise<KmipGoReply[]>;
  close(): Promise<void>;
}

/** Connects the client to a KMIP server, under one version. */
export function startKmipGoClient(
  program: string,
  address: string,
  files: CertificateFiles,
  version: VersionText,
): KmipGoClient {
  const client = start(program, ["client", address, files.cert, files.key, files.ca, version]);
  return {
    async act(requests) {
      for (const request of requests) client.write(request);
      const replies: KmipGoReply[] = [];
      for (const _ of requests) replies.push((await client.next()) as KmipGoReply);
      return replies;
    },
    close: () => client.close(),
  };
}
