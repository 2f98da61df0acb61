/**
 * Calls the plugin as kube-apiserver does: gRPC on its Unix socket, a deadline of 3 s, a fresh uid a call. By
 * @grpc/grpc-js, which this project did not write. And keeps a write seed as kube-apiserver does: k8s.io/apiserver,
 * pkg/server/options/encryptionconfig/config.go, kmsv2PluginProbe.
 */
import { randomBytes, randomUUID } from "node:crypto";
import {
  create,
  type DescMethodUnary,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import { Client, credentials, Metadata } from "@grpc/grpc-js";
import {
  type DecryptResponse,
  type EncryptResponse,
  KeyManagementService,
  type StatusResponse,
} from "../../gen/kms/v2/api_pb.ts";

/** The three calls of KMS v2. Each rejects with grpc-js's ServiceError. */
export interface ApiServer {
  status(): Promise<StatusResponse>;
  encrypt(plaintext: Uint8Array): Promise<EncryptResponse>;
  decrypt(stored: Pick<EncryptResponse, "ciphertext" | "keyId" | "annotations">): Promise<DecryptResponse>;
  close(): void;
}

/** Makes a client of the socket at `socketPath`; it connects with its first call. */
export function createApiServer(socketPath: string, timeoutMs = 3000): ApiServer {
  const client = new Client(`unix:${socketPath}`, credentials.createInsecure(), {
    "grpc.default_authority": "localhost",
  });
  const call = <M extends DescMethodUnary>(
    method: M,
    request: MessageInitShape<M["input"]>,
  ): Promise<MessageShape<M["output"]>> => {
    const { promise, resolve, reject } = Promise.withResolvers<MessageShape<M["output"]>>();
    client.makeUnaryRequest(
      `/${method.parent.typeName}/${method.name}`,
      (message: MessageInitShape<M["input"]>) =>
        Buffer.from(toBinary(method.input, create(method.input, message))),
      (bytes) => fromBinary<M["output"]>(method.output, bytes),
      request,
      new Metadata({ waitForReady: true }),
      { deadline: Date.now() + timeoutMs },
      (error, reply) => (reply === undefined ? reject(error ?? new Error("no reply")) : resolve(reply)),
    );
    return promise;
  };
  const { method } = KeyManagementService;
  return {
    status: () => call(method.status, {}),
    encrypt: (plaintext) => call(method.encrypt, { plaintext, uid: randomUUID() }),
    decrypt: ({ ciphertext, keyId, annotations }) =>
      call(method.decrypt, { ciphertext, keyId, annotations, uid: randomUUID() }),
    close: () => client.close(),
  };
}

/**
 * Which answer of Status extends the life of the write seed: `any key_id`, as kube-apiserver does up to now, even where
 * healthz is not ok; or `healthy only`, as kubernetes#138950 proposes.
 */
export type SeedPolicy = "any key_id" | "healthy only";

/** How long after the last Status that extended it a seed may be used to write, in ms. */
export const writeSeedLifeMs = 3 * 60_000;
/** Time between two polls of Status, in ms, by what the last one said. */
const pollMs = { healthy: 60_000, unhealthy: 10_000 } as const;

/** The write seed of one provider. Its clock stands still until `advance`. */
export class WriteSeed {
  readonly #api: Pick<ApiServer, "status" | "encrypt">;
  readonly #policy: SeedPolicy;
  #now = 0;
  #nextPollAt = 0;
  #seeds = 0;
  #current: { readonly keyId: string; readonly expiresAt: number } | undefined;

  /** There is no seed yet: the first poll makes it. */
  constructor(api: Pick<ApiServer, "status" | "encrypt">, policy: SeedPolicy) {
    this.#api = api;
    this.#policy = policy;
  }

  /** How many seeds were made so far: one Encrypt for each. */
  get seeds(): number {
    return this.#seeds;
  }

  /** Whether kube-apiserver could write now. */
  canWrite(): boolean {
    return this.#current !== undefined && this.#now <= this.#current.expiresAt;
  }

  /** Polls Status once, and makes a new seed where the key_id has changed; what /readyz would say: undefined for ok. */
  async poll(): Promise<string | undefined> {
    const problem = await this.#check();
    this.#nextPollAt = this.#now + (problem === undefined ? pollMs.healthy : pollMs.unhealthy);
    return problem;
  }

  /** Lets that much time pass, in ms, with the polls that come due in it. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    while (this.#nextPollAt <= end) {
      this.#now = Math.max(this.#now, this.#nextPollAt);
      await this.poll();
    }
    this.#now = end;
  }

  async #check(): Promise<string | undefined> {
    try {
      const { healthz, keyId } = await this.#api.status();
      const isHealthy = healthz === "ok";
      if (keyId !== "" && (isHealthy || this.#policy === "any key_id")) await this.#extend(keyId);
      return isHealthy ? undefined : `got unexpected healthz status: ${healthz}`;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }

  async #extend(keyId: string): Promise<void> {
    // Taken before the call: the time of an Encrypt counts.
    const expiresAt = this.#now + writeSeedLifeMs;
    if (this.#current?.keyId !== keyId) {
      const made = await this.#api.encrypt(randomBytes(32));
      if (made.keyId !== keyId) throw new Error(`Encrypt used key ${made.keyId}, Status said ${keyId}`);
      this.#seeds += 1;
    }
    this.#current = { keyId, expiresAt };
  }
}
