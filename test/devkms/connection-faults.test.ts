/** The switches of the embedded KMS that are about connections, seen with a bare TLS client. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { request } from "node:https";
import { after, afterEach, before, describe, test } from "node:test";
import { connect, type TLSSocket } from "node:tls";
import { call, createRequest } from "../../src/kmip/batch.ts";
import { decodeResponse, encodeRequest } from "../../src/kmip/messages.ts";
import { queryOperation } from "../../src/kmip/operations/index.ts";
import { enumerationName } from "../../src/kmip/spec/enumerations.ts";
import { Tag } from "../../src/kmip/spec/tags.ts";
import { parseVersion } from "../../src/kmip/version.ts";
import { type DevKms, startDevKms } from "./devkms.ts";
import { resetFaults } from "./faults.ts";

let kms: DevKms;
before(async () => {
  kms = await startDevKms();
});
afterEach(() => resetFaults(kms.faults));
after(() => kms.close());

function client(): { cert: Buffer; key: Buffer; ca: Buffer } {
  const { cert, key, ca } = kms.clientFiles;
  return { cert: readFileSync(cert), key: readFileSync(key), ca: readFileSync(ca) };
}

function portOf(face: "kmip" | "rest"): number {
  return Number((face === "kmip" ? kms.kmipAddress : kms.restUrl).split(":").at(-1));
}

/** A handshake, resuming `session` where it is given; with the session for the next. Rejects where it is refused. */
async function handshake(
  face: "kmip" | "rest",
  maxVersion: "TLSv1.2" | "TLSv1.3",
  session?: Buffer,
): Promise<{ readonly socket: TLSSocket; readonly session: Buffer }> {
  const socket = connect({ host: "127.0.0.1", port: portOf(face), ...client(), maxVersion, session });
  // Sessions of TLS 1.3 come with what is read.
  socket.on("data", () => undefined);
  const given = maxVersion === "TLSv1.3" && session === undefined ? once(socket, "session") : undefined;
  given?.catch(() => undefined);
  try {
    await once(socket, "secureConnect");
    const own = socket.getSession() ?? Buffer.of();
    const next = given === undefined ? own : ((await given) as [Buffer])[0];
    // What is written while Node hands out a session is never sent.
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
    return { socket, session: next };
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

for (const face of ["kmip", "rest"] as const)
  for (const version of ["TLSv1.2", "TLSv1.3"] as const)
    for (const resumption of ["alert", "hang-up"] as const)
      test(`${face} over ${version} takes a full handshake and refuses one that resumes by ${resumption}`, async () => {
        kms.faults.resumption = resumption;
        const first = await handshake(face, version);
        first.socket.destroy();
        await assert.rejects(handshake(face, version, first.session));
        const full = await handshake(face, version);
        full.socket.destroy();
        resetFaults(kms.faults);
        const resumed = await handshake(face, version, full.session);
        assert.equal(resumed.socket.isSessionReused(), true);
        resumed.socket.destroy();
      });

/** The Result Reason of a Query; `Success` where there is none. */
async function query(socket: TLSSocket): Promise<string> {
  socket.write(encodeRequest(createRequest(parseVersion("1.4"), [call(queryOperation, {})])));
  const [reply] = (await once(socket, "data")) as [Buffer];
  const [item] = decodeResponse(reply).items;
  return item?.resultReason === undefined ? "Success" : enumerationName(Tag.ResultReason, item.resultReason);
}

/** The status of a list of keys. */
async function list(session?: Buffer): Promise<{ readonly status: number; readonly session: Buffer }> {
  const asked = request({
    host: "127.0.0.1",
    port: portOf("rest"),
    path: `/api/${kms.okmsId}/v1/servicekey`,
    ...client(),
    agent: false,
    ...(session === undefined ? {} : { session }),
  });
  const given = new Promise<Buffer>((resolve) => {
    asked.on("socket", (socket) => socket.once("session", resolve));
  });
  asked.end();
  const [response] = (await once(asked, "response")) as [{ statusCode: number; resume(): void }];
  response.resume();
  return { status: response.statusCode, session: session ?? (await given) };
}

describe("a client is not known on a resumed connection", () => {
  test("over KMIP", async () => {
    kms.faults.resumption = "denied";
    const { socket, session } = await handshake("kmip", "TLSv1.3");
    assert.equal(await query(socket), "Success");
    socket.destroy();
    const resumed = await handshake("kmip", "TLSv1.3", session);
    assert.equal(await query(resumed.socket), "Permission Denied");
    resumed.socket.destroy();
  });

  test("over REST", async () => {
    kms.faults.resumption = "denied";
    const first = await list();
    assert.equal(first.status, 200);
    assert.equal((await list(first.session)).status, 403);
  });
});

test("a connection that is too old answers General Failure", async () => {
  const { socket } = await handshake("kmip", "TLSv1.3");
  assert.equal(await query(socket), "Success");
  kms.faults.goodForMs = 0;
  assert.equal(await query(socket), "General Failure");
  socket.destroy();
});

test("a connection that is too old answers 401", async () => {
  kms.faults.goodForMs = -1;
  assert.equal((await list()).status, 401);
});
