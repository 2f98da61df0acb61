/**
 * The socket under grpcio, the gRPC client of Python, Ruby, PHP and C++: another HTTP/2 stack, other texts, and pings each
 * second. What other clients did is in docs/debug-socket.md.
 */
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { type TestContext, test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  DecryptRequestSchema,
  DecryptResponseSchema,
  EncryptRequestSchema,
  EncryptResponseSchema,
} from "../../gen/kms/v2/api_pb.ts";
import { startServer } from "../server/harness.ts";
import { hasPython, preparePython, startPython } from "./python.ts";

const python = (await hasPython()) ? await preparePython("grpcio==1.85.3", "grpc") : undefined;
const skip = python === undefined ? "no python3 with venv on this machine" : false;
const seed = new Uint8Array(32).fill(7);
const encryptRequest = hex(toBinary(EncryptRequestSchema, create(EncryptRequestSchema, { plaintext: seed })));

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

interface Outcome {
  readonly code: string;
  readonly details?: string;
  readonly reply?: string;
}

/** grpcio on the socket; `act` carries out one action of grpcio-client.py. */
function grpcioClient(
  t: TestContext,
  socketPath: string,
): { act(request: { readonly do: string } & Readonly<Record<string, unknown>>): Promise<unknown> } {
  const client = startPython(python ?? "", "grpcio-client.py", [socketPath], "grpcio");
  t.after(() => client.close());
  return {
    async act(request) {
      client.write(request);
      return await client.next();
    },
  };
}

test("grpcio: a seed comes back, and failures have their codes and texts", { skip }, async (t) => {
  const { socketPath, encryptor } = await startServer(t);
  const { act } = grpcioClient(t, socketPath);
  const call = (method: string, request: string, more: object = {}): Promise<Outcome> =>
    act({ do: "call", method, request, ...more }) as Promise<Outcome>;

  const encrypted = await call("Encrypt", encryptRequest);
  const { ciphertext, keyId, annotations } = fromBinary(
    EncryptResponseSchema,
    Buffer.from(encrypted.reply ?? "", "hex"),
  );
  const request = create(DecryptRequestSchema, { ciphertext, keyId, annotations });
  const decrypted = await call("Decrypt", hex(toBinary(DecryptRequestSchema, request)));
  const { plaintext } = fromBinary(DecryptResponseSchema, Buffer.from(decrypted.reply ?? "", "hex"));
  assert.deepEqual(Uint8Array.from(plaintext), seed);

  assert.deepEqual(await call("Encrypt", ""), {
    code: "INVALID_ARGUMENT",
    details: "plaintext is empty [REQUEST_PLAINTEXT_EMPTY]",
  });
  for (const compression of ["gzip", "deflate"])
    assert.deepEqual(await call("Encrypt", hex(Buffer.alloc(2000)), { compression }), {
      code: "UNIMPLEMENTED",
      details: "compressed messages are not accepted: send them uncompressed",
    });
  assert.deepEqual(await call("Other", ""), { code: "UNIMPLEMENTED", details: "unknown service or method" });
  encryptor.hangs = true;
  assert.equal((await call("Encrypt", encryptRequest, { timeout: 0.2 })).code, "DEADLINE_EXCEEDED");
});

test("grpcio: pings each second without a call leave the connection open", { skip }, async (t) => {
  const { socketPath } = await startServer(t);
  const { act } = grpcioClient(t, socketPath);
  await act({ do: "call", method: "Status" });
  // There is no event to wait for: the test is that nothing happens.
  await sleep(2500);
  assert.equal(((await act({ do: "call", method: "Status" })) as Outcome).code, "OK");
  const { states } = (await act({ do: "seen" })) as { states: readonly string[] };
  // Where it begins is a race of grpcio's own threads.
  assert.deepEqual(states.slice(states.indexOf("READY")), ["READY"]);
});

test("grpcio: no call fails while the server is replaced", { skip }, async (t) => {
  const old = await startServer(t);
  const { act } = grpcioClient(t, old.socketPath);
  await act({ do: "call", method: "Status" });
  await act({ do: "begin", method: "Encrypt", request: encryptRequest });
  const next = await startServer(t, { socket: { path: old.socketPath, replace: true } });
  await next.logger.waitFor(({ message }) => message === "call answered");
  await old.server.close();
  const { calls, failures } = (await act({ do: "end" })) as { calls: number; failures: unknown[] };
  assert.deepEqual(failures, []);
  assert.ok(calls > 0);
});
