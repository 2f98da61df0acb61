/** Folders that end with their test. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { TestContext } from "node:test";

/** A new folder, removed with all that is in it after the test. */
export function temporaryFolder(t: Pick<TestContext, "after">): string {
  const folder = mkdtempSync(path.join(tmpdir(), "okms-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
