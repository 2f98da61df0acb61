/** Negotiation: which version comes of what a server answers to Discover Versions. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { KmipResultError, NetworkError, ProviderError } from "../../src/errors.ts";
import { createNegotiator, type Discovered } from "../../src/kmip/negotiate.ts";
import { formatVersion, type ProtocolVersion } from "../../src/kmip/version.ts";

function version(text: string): ProtocolVersion {
  const [major, minor] = text.split(".").map(Number);
  assert.ok(major !== undefined && minor !== undefined);
  return { major, minor };
}

function refusal(reason: string): KmipResultError {
  return new KmipResultError({ operation: "Discover Versions", reason, resultMessage: "" });
}

/** The version of a reply's header with what it says; or, in place of a reply, the connection is lost. */
type Answer = [string, KmipResultError | readonly string[]] | "hangs up";

const lost = new NetworkError("CLOSED", "kms:5696 closed the connection", {
  endpoint: "kms:5696",
  sent: true,
});

/** A server that gives these answers in turn; remembers under which versions it was asked. */
function serverOf(...answers: Answer[]): {
  asked: string[];
  negotiate: () => Promise<string>;
} {
  const asked: string[] = [];
  const negotiator = createNegotiator();
  const discover = async (spoken: ProtocolVersion): Promise<Discovered> => {
    asked.push(formatVersion(spoken));
    const next = answers.shift();
    assert.ok(next, "asked once more than expected");
    if (next === "hangs up") throw lost;
    const [told, answer] = next;
    return {
      version: version(told),
      answer: answer instanceof KmipResultError ? answer : answer.map((text) => version(text)),
    };
  };
  return { asked, negotiate: async () => formatVersion(await negotiator.negotiate("kms:5696", discover)) };
}

describe("the version agreed on is", () => {
  const table: [string, string, [string, KmipResultError | readonly string[]][]][] = [
    ["the newest that both speak", "1.4", [["1.1", ["1.4", "1.3", "1.2", "1.1", "1.0"]]]],
    ["the newest, in whatever order the server tells them", "1.3", [["1.1", ["1.0", "1.3", "1.2"]]]],
    [
      "the newest that is spoken here, where the server speaks newer ones",
      "1.4",
      [["1.1", ["2.1", "2.0", "1.4"]]],
    ],
    ["the only one that the server tells", "1.2", [["1.1", ["1.2"]]]],
    [
      "1.0 where the server does not know the operation",
      "1.0",
      [["1.1", refusal("Operation Not Supported")]],
    ],
    ["1.0 where the server does not know the version", "1.0", [["1.0", refusal("Invalid Message")]]],
    ["1.0 where a 1.0 server refuses for a reason of its own", "1.0", [["1.0", refusal("General Failure")]]],
    [
      "found with a second question where the server only takes newer messages",
      "1.4",
      [
        ["1.3", refusal("Invalid Message")],
        ["1.3", ["1.4", "1.3"]],
      ],
    ],
    [
      "that of the header where the server does not know the operation in its own version either",
      "1.4",
      [
        ["1.4", refusal("Operation Not Supported")],
        ["1.4", refusal("Operation Not Supported")],
      ],
    ],
  ];
  for (const [name, expected, answers] of table)
    test(name, async () => {
      assert.equal(await serverOf(...answers).negotiate(), expected);
    });
});

test("Discover Versions is sent as 1.1, and a second time as what the server told", async () => {
  const server = serverOf(["1.4", refusal("Invalid Message")], ["1.4", ["1.4"]]);
  await server.negotiate();
  assert.deepEqual(server.asked, ["1.1", "1.4"]);
});

describe("a server that hangs up on versions that are not its own is asked on the next connection", () => {
  test("in the version that it refused in, and so from then on", async () => {
    const server = serverOf(
      ["1.4", refusal("Invalid Message")],
      "hangs up",
      ["1.4", ["1.4"]],
      ["1.4", ["1.4"]],
    );
    await assert.rejects(server.negotiate(), lost);
    assert.equal(await server.negotiate(), "1.4");
    assert.equal(await server.negotiate(), "1.4");
    assert.deepEqual(server.asked, ["1.1", "1.4", "1.4", "1.4"]);
  });

  test("in the newest and the usual one by turns where it said nothing", async () => {
    const server = serverOf("hangs up", "hangs up", "hangs up", ["1.4", ["1.4"]]);
    for (let lives = 0; lives < 3; lives += 1) await assert.rejects(server.negotiate(), lost);
    assert.equal(await server.negotiate(), "1.4");
    assert.deepEqual(server.asked, ["1.1", "1.4", "1.1", "1.4"]);
  });

  test("in the same as before where the connection was given up here", async () => {
    const givenUp = new ProviderError("CANCELED", "the caller left");
    const negotiator = createNegotiator();
    const asked: string[] = [];
    const giveUp = async (spoken: ProtocolVersion): Promise<never> => {
      asked.push(formatVersion(spoken));
      throw givenUp;
    };
    for (let time = 0; time < 2; time += 1)
      await assert.rejects(negotiator.negotiate("kms:5696", giveUp), givenUp);
    assert.deepEqual(asked, ["1.1", "1.1"]);
  });

  test("in the newest, and an older server is still agreed with", async () => {
    const old = serverOf("hangs up", ["1.2", refusal("Invalid Message")], ["1.2", ["1.2"]]);
    await assert.rejects(old.negotiate(), lost);
    assert.equal(await old.negotiate(), "1.2");
    assert.deepEqual(old.asked, ["1.1", "1.4", "1.2"]);
    const oldest = serverOf(
      "hangs up",
      ["1.0", refusal("Invalid Message")],
      ["1.0", refusal("Invalid Message")],
    );
    await assert.rejects(oldest.negotiate(), lost);
    assert.equal(await oldest.negotiate(), "1.0");
    assert.deepEqual(oldest.asked, ["1.1", "1.4", "1.1"]);
  });
});

test("A refusal that says nothing of versions is handed on", async () => {
  const denied = refusal("Permission Denied");
  await assert.rejects(serverOf(["1.1", denied]).negotiate(), denied);
});

test("A server with no version in common is named, with what it speaks", async () => {
  await assert.rejects(serverOf(["1.1", ["2.0", "2.1"]]).negotiate(), {
    code: "KMIP_VERSION",
    message: "KMIP 1.0 to 1.4 are spoken here; kms:5696 speaks only 2.0, 2.1",
  });
  await assert.rejects(serverOf(["1.1", []]).negotiate(), { code: "KMIP_VERSION", message: /none of them/ });
});
