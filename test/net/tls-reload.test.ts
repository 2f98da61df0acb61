/** The watch over the PEM files: what is taken up, what is refused, and what is told, how often. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { mkdtemp, open, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { before, test } from "node:test";
import type { TestContext } from "node:test";
import type { TlsFiles } from "../../src/net/tls.ts";
import { watchTlsMaterial } from "../../src/net/tls-reload.ts";
import type { Expiry, TlsWatch } from "../../src/net/tls-reload.ts";
import { createAuthority, writeCertificateFiles } from "../devkms/certificates.ts";
import type { Authority, IssuedCertificate } from "../devkms/certificates.ts";

const dayMs = 86_400_000;
let authority: Authority;

before(async () => {
  authority = await createAuthority();
});

function issue(days = 365): Promise<IssuedCertificate> {
  return authority.issue({
    commonName: "client",
    client: true,
    notBefore: new Date(Date.now() - 400 * dayMs),
    notAfter: new Date(Date.now() + days * dayMs),
  });
}

const nothing = (): void => undefined;

interface Watched {
  readonly watch: TlsWatch;
  readonly files: TlsFiles;
  readonly folder: string;
  /** What was told, in order: `material CERT`, `refused REASON`, `mended`, `expiry FILE DAYS`. */
  readonly told: string[];
  /** Every refusal, news or not. */
  readonly refusals: string[];
  /** Resolves when `count` things have been told. */
  untilTold(count: number): Promise<void>;
}

async function watched(t: TestContext, first?: IssuedCertificate, intervalMs = 10): Promise<Watched> {
  const folder = await mkdtemp(path.join(tmpdir(), "okms-watch-"));
  const names = { cert: "cert.pem", key: "key.pem", ca: "ca.pem" };
  const files = {
    cert: path.join(folder, names.cert),
    key: path.join(folder, names.key),
    ca: path.join(folder, names.ca),
  };
  if (first !== undefined) await writeCertificateFiles(folder, first, authority.caPem);
  const told: string[] = [];
  const refusals: string[] = [];
  let wake = nothing;
  const tell = (what: string): void => {
    told.push(what);
    wake();
  };
  const watch = watchTlsMaterial(files, {
    intervalMs,
    onMaterial: (material) => {
      tell(`material ${material.cert.toString()}`);
    },
    onRefused: (error, isNews) => {
      refusals.push(error.message);
      if (isNews) tell(`refused ${error.message.replaceAll(`${folder}/`, "")}`);
    },
    onMended: () => tell("mended"),
    onExpiry: ({ file, days }: Expiry) => {
      tell(`expiry ${path.basename(file)} ${days}`);
    },
  });
  t.after(async () => {
    watch.stop();
    await rm(folder, { recursive: true });
  });
  return {
    watch,
    files,
    folder,
    told,
    refusals,
    async untilTold(number) {
      while (told.length < number)
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
    },
  };
}

test("files that hang are told, and taken up when they are read after all", async (t) => {
  const issued = await issue();
  const { watch, told, folder, untilTold } = await watched(t, issued);
  const pipe = path.join(folder, "pipe");
  execFileSync("mkfifo", [pipe]);
  // All threads that read files wait for somebody to write.
  const readers = [1, 2, 3, 4].map(() => open(pipe));
  const started = watch.start();
  await untilTold(1);
  assert.deepEqual(told, ["refused cert.pem, key.pem, ca.pem: the file system does not answer"]);
  closeSync(openSync(pipe, "w"));
  for (const reader of readers) await (await reader).close();
  await started;
  assert.deepEqual(told.slice(1), [`material ${issued.cert}`]);
});

test("the first good set is handed on once, and again only when it changes", async (t) => {
  const first = await issue();
  const { watch, files, told, untilTold } = await watched(t, first);
  await watch.start();
  assert.deepEqual(told, [`material ${first.cert}`]);
  await watch.reload();
  await watch.reload();
  assert.equal(told.length, 1);
  const second = await issue();
  await writeFile(files.key, second.key);
  await writeFile(files.cert, second.cert);
  await untilTold(2);
  assert.equal(told[1], `material ${second.cert}`);
});

test("a bad set at the start is told, and a good one taken up when it comes", async (t) => {
  const { watch, folder, told, untilTold } = await watched(t);
  await watch.start();
  assert.deepEqual(told, [
    "refused cert.pem: there is no such file; key.pem: there is no such file; ca.pem: there is no such file",
  ]);
  const good = await issue();
  await writeCertificateFiles(folder, good, authority.caPem);
  while (!told.at(-1)?.startsWith("material")) await untilTold(told.length + 1);
  assert.equal(told.at(-1), `material ${good.cert}`);
});

test("a bad set is refused with its reason, once, and the old one stays", async (t) => {
  const { watch, files, told, untilTold } = await watched(t, await issue());
  await watch.start();
  await writeFile(files.key, "rubbish");
  await untilTold(2);
  assert.equal(told[1], 'refused key.pem: is not PEM: there is no "-----BEGIN" line');
  await writeFile(files.cert, "rubbish as well");
  await untilTold(3);
  assert.match(told[2] ?? "", /^refused cert\.pem: is not PEM.*; key\.pem: is not PEM/);
});

test("a bad set is reported at every read, and its end once, where the files in use are back", async (t) => {
  const first = await issue();
  const { watch, files, told, refusals, untilTold } = await watched(t, first, 1);
  await watch.start();
  await writeFile(files.key, "rubbish");
  while (refusals.length < 5) await new Promise(setImmediate);
  assert.equal(told.length, 2);
  await writeFile(files.key, first.key);
  await untilTold(3);
  assert.equal(told[2], "mended");
  assert.equal(await watch.reload(), "unchanged");
  assert.equal(told.length, 3);
});

test("a reload tells again what is wrong, each time", async (t) => {
  const { watch, files, told } = await watched(t, await issue(), 60_000);
  await watch.start();
  await writeFile(files.key, "rubbish");
  await watch.reload();
  await watch.reload();
  assert.equal(told.length, 3);
  assert.equal(told[1], told[2]);
});

test("a reload gives what came of it: loaded, unchanged, or the reason of a refusal", async (t) => {
  const { watch, files, folder } = await watched(t, await issue(), 60_000);
  await watch.start();
  assert.equal(await watch.reload(), "unchanged");
  await writeFile(files.key, "rubbish");
  assert.match(String(await watch.reload()), /key\.pem: is not PEM/);
  await writeCertificateFiles(folder, await issue(), authority.caPem);
  assert.equal(await watch.reload(), "loaded");
});

test("a set that is half written is not complained about when the other half follows", async (t) => {
  const { watch, files, told } = await watched(t, await issue(), 60_000);
  t.mock.timers.enable({ apis: ["setTimeout"] });
  await watch.start();
  const second = await issue();
  await writeFile(files.cert, second.cert);
  // The look of the interval finds certificate and key apart; one of the next, together.
  t.mock.timers.tick(60_000);
  await untilRead();
  await writeFile(files.key, second.key);
  while (told.length < 2) {
    t.mock.timers.tick(1_000);
    await untilRead();
  }
  assert.deepEqual(told.slice(1), [`material ${second.cert}`]);
});

/** Resolves when no file is being read any more: the look under way has ended. */
async function untilRead(): Promise<void> {
  do
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  while (process.getActiveResourcesInfo().some((name) => /^(?:FSReq|CloseReq)/.test(name)));
}

test("symbolic links that are swapped, as Kubernetes does, are seen", async (t) => {
  const { watch, folder, files, told, untilTold } = await watched(t);
  const [first, second] = [await issue(), await issue()];
  await writeCertificateFiles(path.join(folder, "v1"), first, authority.caPem);
  await writeCertificateFiles(path.join(folder, "v2"), second, authority.caPem);
  await symlink("v1", path.join(folder, "..data"));
  for (const file of [files.cert, files.key, files.ca ?? ""])
    await symlink(path.join("..data", path.basename(file)), file);
  await watch.start();
  assert.deepEqual(told, [`material ${first.cert}`]);
  await symlink("v2", path.join(folder, "..data_new"));
  await rename(path.join(folder, "..data_new"), path.join(folder, "..data"));
  await untilTold(2);
  assert.equal(told[1], `material ${second.cert}`);
});

test("an expired certificate is taken up at the start, where the KMS is to judge", async (t) => {
  const expired = await issue(-0.5);
  const { watch, told } = await watched(t, expired, 60_000);
  await watch.start();
  assert.deepEqual(told, [`material ${expired.cert}`, "expiry cert.pem -1"]);
});

test("an expired certificate does not replace a good one", async (t) => {
  const { watch, files, told } = await watched(t, await issue(), 60_000);
  await watch.start();
  const expired = await issue(-2);
  await writeFile(files.cert, expired.cert);
  await writeFile(files.key, expired.key);
  await watch.reload();
  assert.equal(told.length, 2);
  assert.match(told[1] ?? "", /^refused cert\.pem: the certificate expired on /);
});

test("the end of a certificate is told at 30 days, each day from 7 on, and each day after it", async (t) => {
  const { watch, told } = await watched(t, await issue(40), 60_000);
  t.mock.timers.enable({ apis: ["Date", "setTimeout"], now: Date.now() });
  await watch.start();
  for (let day = 1; day <= 42; day += 1) {
    // Twice a day: once a day is what is told.
    t.mock.timers.setTime(Date.now() + dayMs / 2);
    await watch.reload();
    t.mock.timers.setTime(Date.now() + dayMs / 2);
    await watch.reload();
  }
  const days = told.slice(1).map((line) => Number(line.replace("expiry cert.pem ", "")));
  assert.deepEqual(days, [29, 6, 5, 4, 3, 2, 1, 0, -1, -2, -3]);
});

test("after its stop a watch tells nothing", async (t) => {
  const { watch, files, told } = await watched(t, await issue());
  await watch.start();
  watch.stop();
  await writeFile(files.key, "rubbish");
  await watch.reload();
  assert.equal(told.length, 1);
});
