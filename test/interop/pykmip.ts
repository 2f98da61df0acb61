/** PyKMIP for tests: a KMIP server and a KMIP client that nobody here wrote, in a Python environment of their own. */
import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import type { VersionText } from "../../src/kmip/version.ts";
import { type Authority, type CertificateFiles, writeCertificateFiles } from "../devkms/certificates.ts";
import type { Conversation } from "./conversation.ts";
import { preparePython, startPython as startScript } from "./python.ts";

/** The interpreter of an environment with PyKMIP in it. */
export function preparePyKmip(): Promise<string> {
  return preparePython("PyKMIP==0.11.0", "kmip.services.server, kmip.pie.client");
}

function startPython(python: string, script: string, args: readonly string[]): Conversation {
  return startScript(python, script, args, "PyKMIP");
}

/** A running PyKMIP server. */
export interface PyKmipServer {
  /** `127.0.0.1:PORT`. */
  readonly address: string;
  close(): Promise<void>;
}

/** How the server is configured. */
export interface PyKmipOptions {
  /** The versions that it speaks. */
  readonly versions: readonly VersionText[];
  /** Whether a client certificate must be for client authentication (extended key usage). PyKMIP's default: true. */
  readonly enableTlsClientAuth?: boolean;
  /** Operation policies by name, as in PyKMIP's policy files. Default: its own two. */
  readonly policies?: Readonly<Record<string, unknown>>;
}

/** Starts PyKMIP's server with everything of its in `folder`. */
export async function startPyKmipServer(
  python: string,
  folder: string,
  authority: Authority,
  { versions, enableTlsClientAuth = true, policies }: PyKmipOptions,
): Promise<PyKmipServer> {
  const issued = await authority.issue({ commonName: "pykmip", ipAddresses: ["127.0.0.1"], server: true });
  const files = await writeCertificateFiles(path.join(folder, "tls"), issued, authority.caPem);
  await mkdir(path.join(folder, "policy"));
  if (policies !== undefined)
    await writeFile(path.join(folder, "policy", "policy.json"), JSON.stringify(policies));
  const settings = {
    hostname: "127.0.0.1",
    port: 5696,
    certificate_path: files.cert,
    key_path: files.key,
    ca_path: files.ca,
    auth_suite: "TLS1.2",
    policy_path: path.join(folder, "policy"),
    enable_tls_client_auth: enableTlsClientAuth ? "True" : "False",
    logging_level: "WARNING",
    database_path: path.join(folder, "pykmip.database"),
  };
  const lines = Object.entries(settings).map(([name, value]) => `${name}=${value}`);
  const configuration = path.join(folder, "server.conf");
  await writeFile(configuration, ["[server]", ...lines, ""].join("\n"));
  const server = startPython(python, "pykmip-server.py", [
    configuration,
    path.join(folder, "server.log"),
    versions.join(","),
  ]);
  const { port } = (await server.next()) as { port: number };
  return { address: `127.0.0.1:${port}`, close: () => server.close() };
}

/** What PyKMIP's client answers; `refused` is the Result Reason, as `PERMISSION_DENIED`. */
export interface PyKmipReply {
  readonly refused?: string;
  readonly id?: string;
  readonly ids?: readonly string[];
  readonly names?: readonly string[];
  /** Hexadecimal. */
  readonly data?: string;
  /** Hexadecimal; null before KMIP 1.4. */
  readonly tag?: string | null;
}

/** PyKMIP's client, connected. */
export interface PyKmipClient {
  /** Carries out one action of pykmip-client.py, as `{ do: "create", name: "x" }`. */
  act(request: { readonly do: string } & Readonly<Record<string, unknown>>): Promise<PyKmipReply>;
  close(): Promise<void>;
}

/** Connects PyKMIP's client to a KMIP server. */
export async function startPyKmipClient(
  python: string,
  folder: string,
  address: string,
  files: CertificateFiles,
  version: VersionText,
): Promise<PyKmipClient> {
  const configuration = path.join(folder, "client.conf");
  await writeFile(configuration, "[client]\n");
  const [host = "", port = ""] = address.split(":");
  const args = [host, port, files.cert, files.key, files.ca, configuration, version];
  const client = startPython(python, "pykmip-client.py", args);
  return {
    async act(request) {
      client.write(request);
      return (await client.next()) as PyKmipReply;
    },
    close: () => client.close(),
  };
}
