/** The Secrets: created through all servers, read from all, listed from all, and looked at for what was written. */
import type { Answer } from "../apiserver/server.ts";
import { type Connections, drive, type Outcome } from "./requests.ts";

const collection = "/api/v1/namespaces/default/secrets";
/** Beside its name, in bytes: some kB with what Kubernetes adds. */
const payload = Buffer.alloc(1024, "scale").toString("base64");
const pageSize = 500;

/** What the loads work with. */
export interface SecretsContext {
  readonly connections: readonly Connections[];
  readonly secrets: number;
  /** Requests at once, for each server. */
  readonly atOnce: number;
  readonly onFailure: (what: string) => void;
}

/** Of the Secret with this number. */
export const nameOf = (index: number): string => `secret-${String(index).padStart(7, "0")}`;
const base64 = (text: string): string => Buffer.from(text).toString("base64");

/** Creates them, each on one of the servers. */
export function createSecrets({ connections, secrets, ...rest }: SecretsContext): Promise<Outcome> {
  const servers = connections.length;
  return drive(
    {
      ...rest,
      what: "create",
      servers: connections,
      each: (serverIndex) => Math.ceil((secrets - serverIndex) / servers),
      async work(server, index, serverIndex) {
        const name = nameOf(index * servers + serverIndex);
        const body = {
          apiVersion: "v1",
          kind: "Secret",
          metadata: { name },
          data: { name: base64(name), payload },
        };
        expect(await server.send("POST", collection, body), 201);
      },
    },
    secrets,
  );
}

/** Reads each from every server, and compares its name inside the encrypted data. */
export function readSecrets({ connections, secrets, ...rest }: SecretsContext): Promise<Outcome> {
  return drive(
    {
      ...rest,
      what: "read",
      servers: connections,
      each: () => secrets,
      async work(server, index) {
        const name = nameOf(index);
        const reply = expect(await server.send("GET", `${collection}/${name}`), 200);
        if (!reply.text.includes(base64(name))) throw new Error(`${name} holds something else`);
      },
    },
    secrets * connections.length,
  );
}

interface SecretList {
  readonly metadata: { readonly continue?: string };
  readonly items: readonly {
    readonly metadata: { readonly name: string };
    readonly data: { name?: string };
  }[];
}

/** Lists all from every server, 500 a page; each must be there as it was written. */
export function listSecrets({ connections, secrets, onFailure }: SecretsContext): Promise<Outcome> {
  return drive(
    {
      onFailure,
      what: "list",
      servers: connections,
      // A page is asked for with the token of the one before.
      atOnce: 1,
      each: () => 1,
      async work(server) {
        const seen = new Set<string>();
        let token = "";
        do {
          const path = `${collection}?limit=${pageSize}&continue=${encodeURIComponent(token)}`;
          const page = JSON.parse(expect(await server.send("GET", path), 200).text) as SecretList;
          for (const { metadata, data } of page.items)
            if (data.name === base64(metadata.name)) seen.add(metadata.name);
          token = page.metadata.continue ?? "";
        } while (token !== "");
        if (seen.size !== secrets) throw new Error(`${seen.size} Secrets are as they were written`);
        return seen.size;
      },
    },
    secrets * connections.length,
  );
}

function expect(reply: Answer, status: number): Answer {
  if (reply.status !== status) throw new Error(`${reply.status} ${reply.text.slice(0, 300)}`);
  return reply;
}
