/**
 * kmip-go for tests: a KMIP server and a KMIP client on the library of the Go original, built by Go.
 */
import { spawn } from "node:child_process";
import path from "node:path";
import type { VersionText } from "../../src/kmip/version.ts";
import { type Authority, type CertificateFiles, writeCertificateFiles } from "../devkms/certificates.ts";
import { buildGo, goVersion } from "../support/go.ts";
import { converse, type Conversation } from "./conversation.ts";

/** Whether this machine has Go. */
export async function hasGo(): Promise<boolean> {
  return (await goVersion()) !== undefined;
}

/** The path of the program, built where there is none of this source. */
export async function buildKmipGo(): Promise<string> {
  return path.join(await buildGo(path.join(import.meta.dirname, "kmip-go")), "kmip-go");
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
  /** The same key's OKMS REST API. */
  readonly rest: { readonly url: string; readonly okmsId: string; readonly keyId: string };
  /** New connections, and new requests on those that are open, are served so. */
  set(settings: KmipGoSettings): Promise<void>;
  close(): Promise<void>;
}

interface Ready {
  readonly port: number;
  readonly id: string;
  readonly name: string;
  readonly rest: { readonly port: number; readonly okmsId: string; readonly id: string };
}

/**
 * Starts the server, with its certificate in `folder`. It speaks 1.0 to 1.4 at first.
 * @param oneWayMs how far away it is, in ms. Default: 0.
 */
export async function startKmipGoServer(
  program: string,
  folder: string,
  authority: Authority,
  oneWayMs = 0,
): Promise<KmipGoServer> {
  const issued = await authority.issue({ commonName: "kmip-go", ipAddresses: ["127.0.0.1"], server: true });
  const files = await writeCertificateFiles(path.join(folder, "tls"), issued, authority.caPem);
  const server = start(program, ["serve", files.cert, files.key, files.ca, `${oneWayMs}ms`]);
  const { port, id, name, rest } = (await server.next()) as Ready;
  return {
    address: `127.0.0.1:${port}`,
    keyId: id,
    keyName: name,
    rest: { url: `https://127.0.0.1:${rest.port}`, okmsId: rest.okmsId, keyId: rest.id },
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
