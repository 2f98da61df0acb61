/** The log of the built program at trace, through good calls and bad: no plaintext, seed, key byte or PEM in it. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { after, before, test } from "node:test";
import type { TestContext } from "node:test";
import { KeyManagementService } from "../../gen/kms/v2/api_pb.ts";
import { startDevKms } from "../devkms/devkms.ts";
import type { DevKms } from "../devkms/devkms.ts";
import { resetFaults } from "../devkms/faults.ts";
import { grpcClient, temporaryFolder } from "../server/harness.ts";
import { startProgram } from "./program.ts";
import { flagList, kmipFlagsOf, roundTrip } from "./serving.ts";

const { encrypt, decrypt } = KeyManagementService.method;
const runs = [
  ["kmip", "text"],
  ["kmip", "json"],
  ["rest", "text"],
  ["rest", "json"],
] as const;
let kms: DevKms;
let keyId: string;

before(async () => {
  kms = await startDevKms();
  keyId = kms.keys.create({ name: "etcd" }).id;
});
after(() => kms.close());

test("at trace, text and JSON, good calls and bad, nothing secret is printed", async (t) => {
  t.after(() => {
    resetFaults(kms.faults);
  });
  const seeds = [randomBytes(32), randomBytes(32)];
  const shown: string[] = [];
  for (const [protocol, format] of runs) shown.push(await everythingAtTrace(t, protocol, format, seeds));
  const output = shown.join("\n");
  assert.match(output, /TRACE message sent/);
  assert.match(output, /"msg":"exchange with the KMS"/);

  const material = kms.keys.list().map((key) => key.material);
  const pem = (await readFile(kms.clientFiles.key, "utf8"))
    .split("\n")
    .filter((line) => /^[\w+/=]{20,}$/.test(line));
  assert.ok(material.length > 0 && pem.length > 0);
  for (const secret of [...seeds, ...material]) {
    for (const planted of formsOf(secret))
      assert.ok(holdsSecret(`x ${planted} y`, secret), "the search finds nothing");
    assert.ok(!holdsSecret(output, secret), "a secret was printed");
  }
  for (const line of pem) assert.ok(!output.includes(line), "a line of a PEM was printed");
  assert.doesNotMatch(output, /-----BEGIN/);
});

/** How the first bytes of a secret can look in a log. */
function formsOf(secret: Uint8Array): string[] {
  const bytes = Buffer.from(secret.subarray(0, 9));
  const hex = bytes.toString("hex");
  const spaced = hex.replaceAll(/(..)(?=.)/g, "$1 ");
  return [
    hex,
    hex.toUpperCase(),
    spaced,
    bytes.toString("base64"),
    bytes.toString("base64url"),
    bytes.join(", "),
  ];
}

/** Nine bytes in a row are enough, in hexadecimal, base64 or decimal, dense or spaced. */
function holdsSecret(output: string, secret: Uint8Array): boolean {
  const dense = output.replaceAll(/[ :]/g, "");
  const isHex = dense.toLowerCase().includes(Buffer.from(secret.subarray(0, 9)).toString("hex"));
  return isHex || formsOf(secret).some((form) => dense.includes(form.replaceAll(" ", "")));
}

/** Good and bad calls against a process at trace; gives all that it has printed. */
async function everythingAtTrace(
  t: TestContext,
  protocol: "kmip" | "rest",
  format: string,
  seeds: readonly Buffer<ArrayBuffer>[],
): Promise<string> {
  const rest = { protocol: "rest", "serv-addr": kms.restUrl, "okms-id": kms.okmsId };
  const flags = {
    ...kmipFlagsOf(kms),
    ...(protocol === "rest" && rest),
    "log-format": format,
    "log-level": "trace",
  };
  const sock = path.join(temporaryFolder(t), "kms.sock");
  const program = startProgram(t, [...flagList(flags), "--debug", "--timeout", "1s", "--sock", sock]);
  const client = grpcClient(t, `unix:${sock}`);
  for (const seed of seeds) await roundTrip({ client }, seed);
  const wrapped = await client.call(encrypt, { plaintext: seeds[0] ?? randomBytes(32), uid: "bad\nlevel=x" });
  assert.ok("reply" in wrapped);
  const { ciphertext, annotations } = wrapped.reply;
  const broken = Uint8Array.from(ciphertext, (byte, index) =>
    index === ciphertext.length - 1 ? byte ^ 1 : byte,
  );
  await client.call(decrypt, { ciphertext: broken, keyId, annotations, uid: "tampered" });
  await client.call(decrypt, { ciphertext, keyId: "nobody", annotations, uid: "unknown key" });
  await client.call(encrypt, { plaintext: new Uint8Array(), uid: "" });
  for (const fault of ["garbage", "halfFrame", "closeAfterRequest"] as const) {
    Object.assign(kms.faults, { [fault]: true, count: 1 });
    await client.call(encrypt, { plaintext: seeds[1] ?? randomBytes(32), uid: fault });
    resetFaults(kms.faults);
  }
  program.kill("SIGTERM");
  const { code, stdout, stderr } = await program.ended;
  assert.equal(code, 0);
  return stdout + stderr;
}
