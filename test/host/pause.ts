/** The image that holds a Pod's namespaces: a static program that sleeps, as an OCI layout in a tar file. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { tar } from "../../packaging/tar.ts";
import type { Entry } from "../../packaging/tar.ts";

const source = "#include <unistd.h>\nint main(void) { for (;;) pause(); }\n";
const type = "application/vnd.oci.image";

/** Compiles it in `folder`. @returns the archive, whose image is localhost/pause:1 */
export function pauseImage(folder: string): Buffer {
  const [code, program] = [path.join(folder, "pause.c"), path.join(folder, "pause")];
  writeFileSync(code, source);
  execFileSync("gcc", ["-static", "-Os", "-o", program, code]);
  const blobs: Entry[] = [];
  const add = (mediaType: string, data: Buffer): object => {
    const hash = createHash("sha256").update(data).digest("hex");
    blobs.push({ path: `blobs/sha256/${hash}`, kind: "file", mode: 0o644, data });
    return { mediaType, digest: `sha256:${hash}`, size: data.length };
  };
  const layer = tar([{ path: "pause", kind: "file", mode: 0o755, data: readFileSync(program) }], 0);
  const config = {
    architecture: process.arch === "arm64" ? "arm64" : "amd64",
    os: "linux",
    config: { Entrypoint: ["/pause"] },
    rootfs: { type: "layers", diff_ids: [`sha256:${createHash("sha256").update(layer).digest("hex")}`] },
  };
  const manifest = add(
    `${type}.manifest.v1+json`,
    json({
      schemaVersion: 2,
      mediaType: `${type}.manifest.v1+json`,
      config: add(`${type}.config.v1+json`, json(config)),
      layers: [add(`${type}.layer.v1.tar`, layer)],
    }),
  );
  const annotations = { "io.containerd.image.name": "localhost/pause:1" };
  const index = { schemaVersion: 2, manifests: [{ ...manifest, annotations }] };
  const head: Entry[] = [
    { path: "oci-layout", kind: "file", mode: 0o644, data: json({ imageLayoutVersion: "1.0.0" }) },
    { path: "index.json", kind: "file", mode: 0o644, data: json(index) },
  ];
  return tar([...head, ...blobs], 0);
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}
