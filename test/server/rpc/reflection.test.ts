import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { connect } from "node:net";
import path from "node:path";
import type { TestContext } from "node:test";
import { describe, test } from "node:test";
import { promisify } from "node:util";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import type { ServerReflectionRequestSchema } from "../../../gen/grpc/reflection/v1/reflection_pb.ts";
import { ServerReflection } from "../../../gen/grpc/reflection/v1/reflection_pb.ts";
import { ServerReflection as ServerReflectionAlpha } from "../../../gen/grpc/reflection/v1alpha/reflection_pb.ts";
import { startServer } from "../harness.ts";

const run = promisify(execFile);
const buf = path.resolve("node_modules/.bin/buf");

type Question = MessageInitShape<typeof ServerReflectionRequestSchema>;

/** Asks one question on a stream of its own. */
async function ask(
  t: TestContext,
  service: typeof ServerReflection | typeof ServerReflectionAlpha,
  question: NonNullable<Question["messageRequest"]>,
) {
  const { socketPath } = await startServer(t);
  const baseUrl = "http://localhost";
  const sessionManager = new Http2SessionManager(baseUrl, undefined, {
    createConnection: () => connect({ path: socketPath }),
  });
  t.after(() => {
    sessionManager.abort();
  });
  const client = createClient(
    service as typeof ServerReflection,
    createGrpcTransport({ baseUrl, sessionManager }),
  );
  async function* questions(): AsyncGenerator<Question> {
    yield { host: "localhost", messageRequest: question };
  }
  for await (const reply of client.serverReflectionInfo(questions())) {
    assert.equal(reply.validHost, "localhost");
    assert.equal(reply.originalRequest?.messageRequest.case, question.case);
    return reply.messageResponse;
  }
  return assert.fail("no answer");
}

for (const [version, service] of [
  ["v1", ServerReflection],
  ["v1alpha", ServerReflectionAlpha],
] as const) {
  describe(`reflection ${version}`, () => {
    test("lists the services", async (t) => {
      const reply = await ask(t, service, { case: "listServices", value: "" });
      assert.ok(reply.case === "listServicesResponse");
      assert.deepEqual(
        reply.value.service.map(({ name }) => name),
        [
          "v2.KeyManagementService",
          "grpc.health.v1.Health",
          "grpc.reflection.v1.ServerReflection",
          "grpc.reflection.v1alpha.ServerReflection",
        ],
      );
    });

    for (const symbol of [
      "v2.KeyManagementService",
      "v2.KeyManagementService.Encrypt",
      "v2.DecryptRequest",
      "v2.DecryptRequest.annotations",
    ]) {
      test(`gives the file that declares ${symbol}`, async (t) => {
        const reply = await ask(t, service, { case: "fileContainingSymbol", value: symbol });
        assert.ok(reply.case === "fileDescriptorResponse");
        const files = reply.value.fileDescriptorProto.map((each) =>
          fromBinary(FileDescriptorProtoSchema, each),
        );
        assert.deepEqual(
          files.map(({ name }) => name),
          ["kms/v2/api.proto"],
        );
      });
    }

    test("gives a file by its name", async (t) => {
      const reply = await ask(t, service, { case: "fileByFilename", value: "grpc/health/v1/health.proto" });
      assert.equal(reply.case, "fileDescriptorResponse");
    });

    test("says that a message has no extensions", async (t) => {
      const reply = await ask(t, service, { case: "allExtensionNumbersOfType", value: "v2.StatusRequest" });
      assert.ok(reply.case === "allExtensionNumbersResponse");
      assert.deepEqual(reply.value.extensionNumber, []);
    });

    for (const question of [
      { case: "fileByFilename", value: "etc/passwd" },
      { case: "fileContainingSymbol", value: "__proto__" },
      { case: "allExtensionNumbersOfType", value: "v2.Nothing" },
      { case: "fileContainingExtension", value: { containingType: "v2.StatusRequest", extensionNumber: 1 } },
    ] as const) {
      test(`answers NOT_FOUND to ${question.case} of what is not there`, async (t) => {
        const reply = await ask(t, service, question);
        assert.ok(reply.case === "errorResponse");
        assert.equal(reply.value.errorCode, 5);
      });
    }
  });
}

/** Runs `buf curl` on a server's socket; gives back its reply. */
async function curl(t: TestContext, method: string, protocol: string, data?: string): Promise<unknown> {
  const { socketPath } = await startServer(t);
  const { stdout } = await run(buf, [
    "curl",
    "--http2-prior-knowledge",
    "--unix-socket",
    socketPath,
    "--protocol",
    protocol,
    ...(data === undefined ? [] : ["--data", data]),
    `http://localhost/${method}`,
  ]);
  return JSON.parse(stdout);
}

describe("buf curl, told nothing of the schema,", () => {
  for (const protocol of ["grpc", "connect"]) {
    test(`calls Status over ${protocol}`, async (t) => {
      const reply = await curl(t, "v2.KeyManagementService/Status", protocol, "{}");
      assert.deepEqual(reply, { version: "v2", healthz: "ok", keyId: "key-1" });
    });

    test(`calls Encrypt over ${protocol}`, async (t) => {
      const data = JSON.stringify({ plaintext: Buffer.alloc(32).toString("base64"), uid: "by-hand" });
      const reply = (await curl(t, "v2.KeyManagementService/Encrypt", protocol, data)) as { keyId: string };
      assert.equal(reply.keyId, "key-1");
    });
  }

  test("asks for the health", async (t) => {
    assert.deepEqual(await curl(t, "grpc.health.v1.Health/Check", "grpc", "{}"), { status: "SERVING" });
  });

  test("lists the methods", async (t) => {
    const { socketPath } = await startServer(t);
    const { stdout } = await run(buf, [
      "curl",
      "--http2-prior-knowledge",
      "--unix-socket",
      socketPath,
      "--list-methods",
      "http://localhost",
    ]);
    assert.match(stdout, /^v2\.KeyManagementService\/Decrypt$/m);
  });
});
