/**
 * The embedded KMS: a KMIP and a REST face on one key store, with real mutual TLS and real AES-256-GCM, for tests and
 * for `npm run dev`. Stops, starts again on the same ports, changes its certificate and misbehaves on command.
 * What it keeps is in its folder, so that a second start still decrypts.
 */
import { randomUUID } from "node:crypto";
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import type { VersionText } from "../../src/kmip/version.ts";
import {
  type Authority,
  type CertificateFiles,
  type CertificateOptions,
  openAuthority,
  writeClientFiles,
} from "./certificates.ts";
import { createFaults, type Faults } from "./faults.ts";
import { type KeyStore, openKeyStore } from "./key-store.ts";
import { type KmipFace, type ServerTls, startKmipFace } from "./kmip-face.ts";
import { type RestFace, startRestFace } from "./rest-face.ts";

/** How the KMIP face is started. */
export interface DevKmsKmipOptions {
  /** Default: a free one. */
  readonly port?: number;
  /** The best version that it speaks. Default: 1.4. */
  readonly maxVersion?: VersionText;
}

/** How the REST face is started. */
export interface DevKmsRestOptions {
  /** Default: a free one. */
  readonly port?: number;
  /** Offer HTTP/2. Default: true. */
  readonly http2?: boolean;
  /** Most keys on one page. Default: the face's. */
  readonly pageSize?: number;
  /** Default: the folder's, made at the first start. */
  readonly okmsId?: string;
}

/** How the embedded KMS is started. */
export interface DevKmsOptions {
  /** Where keys and certificates are kept, made where missing. Default: a temporary one, gone with the KMS. */
  readonly folder?: string;
  /** False: no KMIP face. */
  readonly kmip?: DevKmsKmipOptions | false;
  /** False: no REST face. */
  readonly rest?: DevKmsRestOptions | false;
  /** Keys of another KMS to share. Default: the folder's. */
  readonly keys?: KeyStore;
  /** An authority to share. Default: the folder's. */
  readonly authority?: Authority;
}

/** A running KMS. */
export interface DevKms {
  readonly folder: string;
  readonly keys: KeyStore;
  readonly faults: Faults;
  readonly authority: Authority;
  /** `127.0.0.1:PORT`. Throws where there is no KMIP face. */
  readonly kmipAddress: string;
  /** `https://127.0.0.1:PORT`. Throws where there is no REST face. */
  readonly restUrl: string;
  readonly okmsId: string;
  /** A client certificate that both faces accept, its key, and the authority. */
  readonly clientFiles: CertificateFiles;
  /** How often each KMIP operation was asked for, as `GetAttributes`; each item of a batch counts. */
  kmipRequests(): Readonly<Record<string, number>>;
  /** How often each KMIP message was received, a batch by its operations, as `Locate+GetAttributes`. */
  kmipMessages(): Readonly<Record<string, number>>;
  /** How often each REST call was made. */
  restCalls(): Readonly<Record<string, number>>;
  /** Open connections of both faces. */
  connections(): number;
  /** Closes every connection; gives how many. */
  cutConnections(): number;
  /**
   * New connections are shown another certificate: of other dates or hosts, or of another authority.
   * No options at all: the proper one again. Open connections of the KMIP face stay, those of the REST face end.
   */
  setServerCertificate(options?: Partial<CertificateOptions>, issuer?: Authority): Promise<void>;
  /** An outage: nothing listens, every connection ends. */
  stop(): Promise<void>;
  /** Ends the outage, on the same ports. */
  start(): Promise<void>;
  /** Ends for good; a temporary folder is gone when this resolves. Idempotent. */
  close(): Promise<void>;
}

type Counts = Readonly<Record<string, number>>;

function sum(all: readonly Counts[]): Counts {
  const total: Record<string, number> = {};
  for (const [name, count] of all.flatMap((counts) => Object.entries(counts)))
    total[name] = (total[name] ?? 0) + count;
  return total;
}

/** A face that can stop and start again: its port stays, and its counts go on. */
interface Restartable<Face> {
  readonly port: number;
  /** The face that listens now. */
  readonly current: Face | undefined;
  /** Every face that has ever listened. */
  readonly all: readonly Face[];
  start(): Promise<void>;
  stop(): Promise<void>;
}

async function restartable<Face extends { readonly port: number; close(): Promise<void> }>(
  open: (port: number | undefined) => Promise<Face>,
): Promise<Restartable<Face>> {
  const first = await open(undefined);
  const all = [first];
  let current: Face | undefined = first;
  return {
    port: first.port,
    get current() {
      return current;
    },
    all,
    async start() {
      if (current !== undefined) return;
      current = await open(first.port);
      all.push(current);
    },
    async stop() {
      const closing = current;
      current = undefined;
      await closing?.close();
    },
  };
}

async function openFolder(folder: string | undefined): Promise<{ folder: string; isTemporary: boolean }> {
  if (folder === undefined)
    return { folder: await mkdtemp(path.join(tmpdir(), "okms-devkms-")), isTemporary: true };
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await chmod(folder, 0o700);
  return { folder, isTemporary: false };
}

async function keptOkmsId(folder: string): Promise<string> {
  const file = path.join(folder, "okms-id");
  const kept = await readFile(file, "utf8").catch(() => "");
  if (kept.length === randomUUID().length) return kept;
  const made = randomUUID();
  await writeFile(file, made, { mode: 0o600 });
  return made;
}

async function issueServerTls(
  authority: Authority,
  options: Partial<CertificateOptions> = {},
  issuer: Authority = authority,
): Promise<ServerTls> {
  const issued = await issuer.issue({
    commonName: "okms-devkms",
    dnsNames: ["localhost"],
    ipAddresses: ["127.0.0.1", "::1"],
    server: true,
    ...options,
  });
  return { ...issued, ca: authority.caPem };
}

function required<Face>(face: Restartable<Face> | undefined, name: string): Restartable<Face> {
  if (face === undefined) throw new Error(`this KMS has no ${name} face`);
  return face;
}

/** Starts the embedded KMS on free ports of the loopback interface, both faces unless told otherwise. */
export async function startDevKms(options: DevKmsOptions = {}): Promise<DevKms> {
  const { folder, isTemporary } = await openFolder(options.folder);
  const keys = options.keys ?? openKeyStore(path.join(folder, "keys"));
  const authority = options.authority ?? (await openAuthority(path.join(folder, "authority")));
  const { kmip = {}, rest = {} } = options;
  const okmsId = (rest === false ? undefined : rest.okmsId) ?? (await keptOkmsId(folder));
  const clientFiles = await writeClientFiles(path.join(folder, "client"), authority);
  const faults = createFaults();
  let tls = await issueServerTls(authority);

  const openKmip = (port?: number): Promise<KmipFace> =>
    startKmipFace({ keys, faults, tls, ...kmip, ...(port === undefined ? {} : { port }) });
  const openRest = (port?: number): Promise<RestFace> =>
    startRestFace({ keys, faults, tls, ...rest, okmsId, ...(port === undefined ? {} : { port }) });
  const kmipFace = kmip === false ? undefined : await restartable(openKmip);
  const restFace =
    rest === false
      ? undefined
      : await restartable(openRest).catch(async (error: unknown) => {
          // A port that is taken must not leave half a KMS behind, which would keep the process alive.
          await kmipFace?.stop();
          throw error;
        });
  const faces = [kmipFace, restFace].filter((face) => face !== undefined);
  const total = (count: (face: KmipFace | RestFace) => number): number =>
    faces.reduce((all, { current }) => all + (current === undefined ? 0 : count(current)), 0);

  const stop = async (): Promise<void> => {
    await Promise.all(faces.map((face) => face.stop()));
  };
  return {
    folder,
    keys,
    faults,
    authority,
    get kmipAddress() {
      return `127.0.0.1:${required(kmipFace, "KMIP").port}`;
    },
    get restUrl() {
      return `https://127.0.0.1:${required(restFace, "REST").port}`;
    },
    okmsId,
    clientFiles,
    kmipRequests: () => sum(kmipFace?.all.map((face) => face.requests()) ?? []),
    kmipMessages: () => sum(kmipFace?.all.map((face) => face.messages()) ?? []),
    restCalls: () => sum(restFace?.all.map((face) => Object.fromEntries(face.calls)) ?? []),
    connections: () => total((face) => face.connections()),
    cutConnections: () => total((face) => face.cutConnections()),
    async setServerCertificate(changes, issuer) {
      tls = await issueServerTls(authority, changes, issuer);
      kmipFace?.current?.setTls(tls);
      if (restFace?.current === undefined) return;
      await restFace.stop();
      await restFace.start();
    },
    stop,
    async start() {
      await Promise.all(faces.map((face) => face.start()));
    },
    async close() {
      await stop();
      if (isTemporary) await rm(folder, { recursive: true, force: true });
    },
  };
}
