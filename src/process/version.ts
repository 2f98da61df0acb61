/** The program's version: set by the build; in development what package.json says. */
import { readFileSync } from "node:fs";

/** As `1.2.3`. */
export const version: string = process.env["OKMS_BUILD_VERSION"] ?? readManifestVersion();

function readManifestVersion(): string {
  const manifest = new URL("../../package.json", import.meta.url);
  return (JSON.parse(readFileSync(manifest, "utf8")) as { version: string }).version;
}
