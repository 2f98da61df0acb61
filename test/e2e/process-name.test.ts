/** What the process is called on its host. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { startDevKms } from "../devkms/devkms.ts";
import { flagList, kmipFlagsOf, serving } from "./serving.ts";

test("the process bears the program's name, and its arguments", async (t) => {
  const kms = await startDevKms();
  t.after(() => kms.close());
  kms.keys.create({ name: "etcd" });
  const { program, sock } = await serving(t, flagList(kmipFlagsOf(kms)));
  const read = (file: string): string => readFileSync(`/proc/${program.pid}/${file}`, "utf8");
  assert.equal(read("comm").trim(), "okms-k8s-encryption-provider".slice(0, 15));
  assert.match(read("cmdline"), new RegExp(`^okms-k8s-encryption-provider .*--sock ${sock}`));
});
