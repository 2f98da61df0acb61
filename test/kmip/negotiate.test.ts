/**
 * Version agreement with servers that speak each set of versions and refuse the others in each manner seen in the field,
 * over real connections to the embedded KMS; and what a single answer means.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { KmipResultError, NetworkError, ProviderError, toProviderError } from "../../src/errors.ts";
import { createRequest, payloadOf } from "../../src/kmip/batch.ts";
import { openConnection } from "../../src/kmip/connection.ts";

import { decodeResponse, encodeRequest } from "../../src/kmip/messages.ts";
import {
  createNegotiator,
  type Discover,
  type Discovered,
  type Negotiator,
} from "../../src/kmip/negotiate.ts";
import { discoverVersionsOperation } from "../../src/kmip/operations/index.ts";
import {
  formatVersion,
  parseVersion,
  type ProtocolVersion,
  type VersionText,
} from "../../src/kmip/version.ts";
import { parseKmipAddress } from "../../src/net/address.ts";
import { loadTlsMaterial, secureContextOf } from "../../src/net/tls.ts";
import { type DevKms, startDevKms } from "../devkms/devkms.ts";
import { resetFaults } from "../devkms/faults.ts";
import type { VersionRefusal } from "../devkms/kmip-quirks.ts";

const never = new AbortController().signal;
const all = ["1.0", "1.1", "1.2", "1.3", "1.4"] as const;

/** Every non-empty set of versions, the oldest first. */
const sets: readonly VersionText[][] = Array.from({ length: 31 }, (_, index) =>
  all.filter((_version, bit) => ((index + 1) & (1 << bit)) !== 0),
);

let kms: DevKms;
let secureContext: ReturnType<typeof secureContextOf>;
before(async () => {
  kms = await startDevKms({ rest: false });
  secureContext = secureContextOf(await loadTlsMaterial(kms.clientFiles));
});
after(() => kms.close());

function discovered(read: () => readonly ProtocolVersion[], header: ProtocolVersion): Discovered {
  try {
    return { version: header, answer: read() };
  } catch (error) {
    if (error instanceof KmipResultError) return { version: header, answer: error };
    throw error;
  }
}

/** Negotiates on one connection, which is closed then. */
async function onConnection(negotiator: Negotiator): Promise<ProtocolVersion> {
  const endpoint = parseKmipAddress(kms.kmipAddress);
  const connection = await openConnection({
    endpoint,
    secureContext,
    signal: never,
    maxMessageBytes: 1 << 16,
  });
  const discover: Discover = async (spoken, asked) => {
    const request = createRequest(spoken, [asked]);
    const reply = decodeResponse(await connection.exchange(encodeRequest(request)).reply);
    return discovered(
      () => payloadOf(reply, request, 0, discoverVersionsOperation).protocolVersions,
      reply.version,
    );
  };
  try {
    return await negotiator.negotiate(endpoint.name, discover);
  } finally {
    connection.destroy(new ProviderError("CANCELED", "the test is done with it"));
    await connection.closed;
  }
}

/** What comes of it in the end: connections are made anew as long as they are lost. */
async function outcome(): Promise<string | ProviderError> {
  const negotiator = createNegotiator({ silenceMs: 100 });
  let failure: ProviderError | undefined;
  for (let dials = 0; dials < 12; dials += 1)
    try {
      return formatVersion(await onConnection(negotiator));
    } catch (error) {
      failure = toProviderError(error);
      if (failure.code !== "CLOSED" && failure.code !== "TIMEOUT") return failure;
    }
  assert.ok(failure);
  return failure;
}

const manners: readonly VersionRefusal[] = [
  "InvalidMessage",
  "OperationNotSupported",
  "GeneralFailure",
  "hang-up",
  "hang-up after a word",
  "silence",
];

for (const manner of manners)
  for (const header of ["asked", "1.0", "2.1"] as const) {
    if (header !== "asked" && (manner === "hang-up" || manner === "silence")) continue;
    describe(`a server that refuses other versions by ${manner}, with ${header} in the header, and speaks`, () => {
      for (const versions of sets)
        test(`${versions.join(", ")} is agreed with on the newest`, async (t) => {
          t.after(() => resetFaults(kms.faults));
          Object.assign(kms.faults.kmip, { versions, versionRefusal: manner, refusalHeader: header });
          assert.equal(await outcome(), versions.at(-1));
        });
    });
  }

describe("a server that speaks no version of KMIP 1 fails with", () => {
  const table: [VersionRefusal, string, RegExp][] = [
    ["InvalidMessage", "KMIP_VERSION", /refuses KMIP 1\.0, 1\.1, 1\.2, 1\.3 and 1\.4 \(Invalid Message/],
    ["GeneralFailure", "KMIP_RESULT", /General Failure: KMIP 1\.2 is not supported/],
    ["hang-up", "CLOSED", /closes the connection on a message of KMIP 1\.0, 1\.1, 1\.2, 1\.3 and 1\.4/],
    [
      "hang-up after a word",
      "KMIP_VERSION",
      /refuses KMIP 1\.0, 1\.1, 1\.2, 1\.3 and 1\.4 \(Invalid Message/,
    ],
    ["silence", "TIMEOUT", /no reply to the first KMIP message/],
  ];
  for (const [versionRefusal, code, message] of table)
    test(`${code} where it refuses by ${versionRefusal}`, async (t) => {
      t.after(() => resetFaults(kms.faults));
      Object.assign(kms.faults.kmip, { versions: [], versionRefusal });
      const failure = await outcome();
      assert.ok(failure instanceof ProviderError);
      assert.equal(failure.code, code);
      assert.match(failure.message, message);
    });
});

test("a version agreed is remembered: the next connection needs no Discover Versions, until the server is forgotten", async () => {
  const negotiator = createNegotiator();
  const asked = (): number => kms.kmipRequests()["DiscoverVersions"] ?? 0;
  const begin = asked();
  assert.equal(negotiator.agreed(kms.kmipAddress), undefined);
  for (let dials = 0; dials < 3; dials += 1)
    assert.equal(formatVersion(await onConnection(negotiator)), "1.4");
  assert.equal(asked(), begin + 1);
  negotiator.forget(kms.kmipAddress);
  await onConnection(negotiator);
  assert.equal(asked(), begin + 2);
});

test("an agreement is forgotten after an hour, and one without Encrypt after half a minute", async () => {
  let time = 0;
  const negotiator = createNegotiator({ now: () => time });
  const answers: ProtocolVersion[] = [
    { major: 1, minor: 1 },
    { major: 1, minor: 2 },
    { major: 1, minor: 4 },
  ];
  const discover: Discover = async (spoken) => ({
    version: spoken,
    answer: [answers.shift() ?? assert.fail()],
  });
  const agreedAt = async (at: number): Promise<string> => {
    time = at;
    return formatVersion(await negotiator.negotiate("kms:5696", discover));
  };
  const agreed: string[] = [];
  for (const at of [0, 29_999, 30_000, 3_629_999, 3_630_000]) agreed.push(await agreedAt(at));
  assert.deepEqual(agreed, ["1.1", "1.1", "1.2", "1.2", "1.4"]);
});

test("connections that negotiate at the same time with a server that hangs up do not skip a version", async (t) => {
  t.after(() => resetFaults(kms.faults));
  Object.assign(kms.faults.kmip, { versions: ["1.4"], versionRefusal: "hang-up" });
  const negotiator = createNegotiator();
  const several = [1, 2, 3].map(() => onConnection(negotiator));
  const ended = await Promise.allSettled(several);
  assert.ok(ended.some(({ status }) => status === "rejected"));
  assert.equal(formatVersion(await onConnection(negotiator)), "1.4");
});

test("connections that negotiate at the same time with a silent server ask in different versions", async (t) => {
  t.after(() => resetFaults(kms.faults));
  Object.assign(kms.faults.kmip, { versions: ["1.3"], versionRefusal: "silence" });
  const negotiator = createNegotiator({ silenceMs: 1000 });
  const started = performance.now();
  const first = await Promise.any([1, 2, 3].map(() => onConnection(negotiator)));
  assert.equal(formatVersion(first), "1.3");
  assert.ok(performance.now() - started < 1000);
});

test("a refusal that is not about versions is thrown with the server's reason and words, whatever its header", async (t) => {
  t.after(() => resetFaults(kms.faults));
  for (const refusalHeader of ["asked", "1.0", "2.1"] as const) {
    resetFaults(kms.faults);
    Object.assign(kms.faults.kmip, { credential: { username: "u", password: "p" }, refusalHeader });
    const failure = await outcome();
    assert.ok(failure instanceof KmipResultError);
    assert.equal(failure.reason, "Authentication Not Successful");
    assert.equal(failure.resultMessage, "a user name and a password are required");
  }
});

function version(text: string): ProtocolVersion {
  const [major = 0, minor = 0] = text.split(".").map(Number);
  return { major, minor };
}

/** A server that gives these answers in turn; remembers under which versions it was asked. */
function scripted(...answers: [header: string, answer: KmipResultError | readonly string[]][]): {
  readonly asked: string[];
  readonly negotiate: () => Promise<string>;
} {
  const asked: string[] = [];
  const negotiator = createNegotiator();
  const discover: Discover = async (spoken) => {
    asked.push(formatVersion(spoken));
    const [header, answer] = answers.shift() ?? assert.fail("asked once more than expected");
    return {
      version: version(header),
      answer: answer instanceof KmipResultError ? answer : answer.map((text) => version(text)),
    };
  };
  return { asked, negotiate: async () => formatVersion(await negotiator.negotiate("kms:5696", discover)) };
}

test("the newest version that both speak is agreed, in whatever order and beside whichever others the server tells it", async () => {
  for (const [expected, told] of [
    ["1.4", ["1.4", "1.3", "1.2", "1.1", "1.0"]],
    ["1.3", ["1.0", "1.3", "1.2"]],
    ["1.4", ["2.1", "2.0", "1.4"]],
    ["1.2", ["1.2"]],
  ] as const)
    assert.equal(await scripted(["1.2", told]).negotiate(), expected);
});

test("the versions are asked in the order 1.2, 1.4, 1.3, 1.1, 1.0", async () => {
  const refused = new KmipResultError({
    operation: "Discover Versions",
    reason: "Invalid Message",
    resultMessage: "",
  });
  const server = scripted(
    ["1.0", refused],
    ["1.0", refused],
    ["1.0", refused],
    ["1.0", refused],
    ["1.0", ["1.0"]],
  );
  assert.equal(await server.negotiate(), "1.0");
  assert.deepEqual(server.asked, ["1.2", "1.4", "1.3", "1.1", "1.0"]);
});

test("a server that is slow at its own version and refuses the others is not taken for one of KMIP 1.0", async () => {
  const unknown = new KmipResultError({
    operation: "Discover Versions",
    reason: "Operation Not Supported",
    resultMessage: "",
  });
  const negotiator = createNegotiator({ silenceMs: 20 });
  let isSlow = true;
  const discover: Discover = async (spoken) => {
    if (formatVersion(spoken) !== "1.2") return { version: spoken, answer: unknown };
    return isSlow ? new Promise(() => undefined) : { version: spoken, answer: [spoken] };
  };
  for (let dials = 0; dials < 2; dials += 1)
    await assert.rejects(negotiator.negotiate("kms:5696", discover), { code: "TIMEOUT" });
  isSlow = false;
  assert.equal(formatVersion(await negotiator.negotiate("kms:5696", discover)), "1.2");
});

test("a server that knows no Discover Versions and always replies in one version is spoken to in that one", async () => {
  const unknown = new KmipResultError({
    operation: "Discover Versions",
    reason: "Operation Not Supported",
    resultMessage: "",
  });
  const server = scripted(...Array.from({ length: 5 }, () => ["1.4", unknown] as [string, KmipResultError]));
  assert.equal(await server.negotiate(), "1.4");
});

test("the caller's own end says nothing of the server: the same version is asked again", async () => {
  const left = new ProviderError("CANCELED", "the caller left");
  const negotiator = createNegotiator();
  const asked: string[] = [];
  const leave: Discover = async (spoken) => {
    asked.push(formatVersion(spoken));
    throw left;
  };
  for (let time = 0; time < 2; time += 1) await assert.rejects(negotiator.negotiate("kms:5696", leave), left);
  assert.deepEqual(asked, ["1.2", "1.2"]);
});

test("a server that names no version, or denies to name any, speaks the one in which it was asked", async () => {
  assert.equal(await scripted(["1.2", []]).negotiate(), "1.2");
  const denied = new KmipResultError({
    operation: "Discover Versions",
    reason: "Permission Denied",
    resultMessage: "",
  });
  assert.equal(await scripted(["1.2", denied]).negotiate(), "1.2");
});

test("a server with no version in common is named, with what it speaks", async () => {
  await assert.rejects(scripted(["1.2", ["2.0", "2.1"]]).negotiate(), {
    code: "KMIP_VERSION",
    message: "this program supports KMIP 1.0 to 1.4; kms:5696 supports only 2.0, 2.1",
  });
  await assert.rejects(scripted(["2.0", []]).negotiate(), { code: "KMIP_VERSION", message: /none of them/ });
});

for (const closed of [1, 2, 3, 4, 5, 6])
  test(`a server that closes ${closed} connections for another reason, and then speaks every version, is agreed with on 1.4`, async () => {
    const negotiator = createNegotiator();
    const unknown = { operation: "Discover Versions", reason: "Operation Not Supported", resultMessage: "" };
    let dials = 0;
    const discover: Discover = async (spoken) => {
      if (dials <= closed) throw new NetworkError("CLOSED", "closed", { endpoint: "kms:5696", sent: true });
      // Discover Versions exists from 1.1 on.
      const answer = formatVersion(spoken) === "1.0" ? new KmipResultError(unknown) : all.map(parseVersion);
      return { version: spoken, answer };
    };
    const outcomes: string[] = [];
    for (dials = 1; dials <= closed + 2; dials += 1)
      outcomes.push(await negotiator.negotiate("kms:5696", discover).then(formatVersion, ({ code }) => code));
    assert.equal(outcomes.at(-1), "1.4", outcomes.join(" "));
  });
