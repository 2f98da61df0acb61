/**
 * The image, as an archive of an OCI image layout (image-spec v1.1) with an index of both architectures: two layers,
 * Debian's C libraries and CA certificates, and the program. No shell, nobody's home folder; its user is 65532.
 */
import { createHash } from "node:crypto";
import { globSync, lstatSync, readFileSync, readlinkSync, realpathSync } from "node:fs";
import path from "node:path";
import { gzipSync } from "node:zlib";
import { architectures, debianName, manifest, name, pins, root } from "./host.ts";
import type { Architecture } from "./host.ts";
import { baseFolder, nodeFolder } from "./inputs.ts";
import { foldersAbove } from "./packages.ts";
import { tar } from "./tar.ts";
import type { Entry } from "./tar.ts";

const user = "65532:65532";

interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

/**
 * Makes the archive's bytes.
 * @param executables path of the single executable of each architecture
 * @param time in s since 1970
 */
export function imageArchive(
  executables: Readonly<Partial<Record<Architecture, string>>>,
  time: number,
): Buffer {
  const blobs = new Map<string, Buffer>();
  const add = (mediaType: string, bytes: Buffer): Descriptor => {
    const hash = createHash("sha256").update(bytes).digest("hex");
    blobs.set(`blobs/sha256/${hash}`, bytes);
    return { mediaType, digest: `sha256:${hash}`, size: bytes.length };
  };
  const manifests = architectures.flatMap((architecture) => {
    const executable = executables[architecture];
    if (executable === undefined) return [];
    const platform = { architecture: debianName[architecture], os: "linux" };
    return [{ ...imageOf(architecture, executable, time, add), platform }];
  });
  const index = { schemaVersion: 2, mediaType: types.index, manifests, annotations: labels(time) };
  const top = {
    schemaVersion: 2,
    mediaType: types.index,
    manifests: [
      {
        ...add(types.index, json(index)),
        annotations: {
          // containerd and podman name an imported image by the first, others by the second.
          "io.containerd.image.name": `localhost/${name}:${manifest.version}`,
          "org.opencontainers.image.ref.name": manifest.version,
        },
      },
    ],
  };
  const files = new Map([
    ["oci-layout", json({ imageLayoutVersion: "1.0.0" })],
    ["index.json", json(top)],
    ...blobs,
  ]);
  const entries = [...files].map(([file, data]): Entry => ({ path: file, kind: "file", mode: 0o644, data }));
  const folders = ["blobs", "blobs/sha256"].map((folder): Entry => ({
    path: folder,
    kind: "folder",
    mode: 0o755,
  }));
  return tar([...folders, ...entries], time);
}

const types = {
  index: "application/vnd.oci.image.index.v1+json",
  manifest: "application/vnd.oci.image.manifest.v1+json",
  config: "application/vnd.oci.image.config.v1+json",
  layer: "application/vnd.oci.image.layer.v1.tar+gzip",
} as const;

function imageOf(
  architecture: Architecture,
  executable: string,
  time: number,
  add: (mediaType: string, bytes: Buffer) => Descriptor,
): Descriptor {
  const layers = [baseEntries(architecture), programEntries(architecture, executable)].map((entries) =>
    tar(withFolders(entries), time),
  );
  const created = new Date(time * 1000).toISOString();
  const config = {
    architecture: debianName[architecture],
    os: "linux",
    created,
    config: {
      User: user,
      Env: ["PATH=/usr/bin", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"],
      Entrypoint: [`/usr/bin/${name}`],
      WorkingDir: "/",
      Labels: labels(time),
    },
    rootfs: {
      type: "layers",
      diff_ids: layers.map((layer) => `sha256:${createHash("sha256").update(layer).digest("hex")}`),
    },
    history: layers.map(() => ({ created, created_by: "npm run release" })),
  };
  return add(
    types.manifest,
    json({
      schemaVersion: 2,
      mediaType: types.manifest,
      config: add(types.config, json(config)),
      layers: layers.map((layer) => add(types.layer, gzipSync(layer, { level: 6 }))),
      annotations: labels(time),
    }),
  );
}

function labels(time: number): Record<string, string> {
  return {
    "org.opencontainers.image.title": name,
    "org.opencontainers.image.description": manifest.description,
    "org.opencontainers.image.version": manifest.version,
    "org.opencontainers.image.licenses": manifest.license,
    "org.opencontainers.image.created": new Date(time * 1000).toISOString(),
    "org.opencontainers.image.base.name": `debian:${pins.debian.suite}`,
  };
}

/** Libraries that Node.js is linked with, and those that the C library loads by itself. */
const libraries = [
  "ld-linux-*",
  "libatomic",
  "libc",
  "libdl",
  "libgcc_s",
  "libm",
  "libnss_dns",
  "libnss_files",
  "libpthread",
  "libresolv",
  "librt",
  "libstdc++",
];

function baseEntries(architecture: Architecture): Entry[] {
  const base = baseFolder(architecture);
  const triplet = { x64: "x86_64-linux-gnu", arm64: "aarch64-linux-gnu" }[architecture];
  const loader = { x64: "lib64/ld-linux-x86-64.so.2", arm64: "lib/ld-linux-aarch64.so.1" }[architecture];
  const found = libraries.flatMap((library) =>
    globSync([`lib/${triplet}/${library}.so*`, `usr/lib/${triplet}/${library}.so*`], { cwd: base }),
  );
  const shared = found.map((file): Entry => {
    const from = path.join(base, file);
    const where = file.startsWith("usr/") ? file : `usr/${file}`;
    if (lstatSync(from).isSymbolicLink())
      return { path: where, kind: "link", target: path.basename(readlinkSync(from)) };
    return { path: where, kind: "file", mode: 0o755, data: readFileSync(from) };
  });
  const certificates = globSync("usr/share/ca-certificates/mozilla/*.crt", { cwd: base }).toSorted();
  const bundle = certificates
    .map((file) => `${readFileSync(path.join(base, file), "utf8").trim()}\n`)
    .join("");
  const licences = Object.keys(pins.debian.packages).flatMap((debian): Entry[] => {
    const file = `usr/share/doc/${debian}/copyright`;
    return [{ path: file, kind: "file", mode: 0o644, data: readFileSync(resolveIn(base, file)) }];
  });
  return [
    ...shared,
    { path: "lib", kind: "link", target: "usr/lib" },
    ...(architecture === "x64" ? [{ path: "lib64", kind: "link", target: "usr/lib64" } as const] : []),
    {
      path: `usr/${loader}`,
      kind: "file",
      mode: 0o755,
      data: readFileSync(realpathSync(loaderIn(base, triplet))),
    },
    textFile("etc/ssl/certs/ca-certificates.crt", bundle),
    textFile("etc/passwd", "root:x:0:0:root:/:/sbin/nologin\nokms:x:65532:65532:okms:/:/sbin/nologin\n"),
    textFile("etc/group", "root:x:0:\nokms:x:65532:\n"),
    textFile("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
    { path: "tmp", kind: "folder", mode: 0o1777 },
    ...licences,
  ];
}

function loaderIn(base: string, triplet: string): string {
  const [file] = globSync([`lib/${triplet}/ld-linux-*.so*`, `usr/lib/${triplet}/ld-linux-*.so*`], {
    cwd: base,
  });
  if (file === undefined) throw new Error(`${base} has no dynamic loader`);
  return path.join(base, file);
}

/** A package's documentation may be a link to another's. */
function resolveIn(base: string, file: string): string {
  return realpathSync(path.join(base, file));
}

function programEntries(architecture: Architecture, executable: string): Entry[] {
  const docs = `usr/share/doc/${name}`;
  return [
    { path: `usr/bin/${name}`, kind: "file", mode: 0o755, data: readFileSync(executable) },
    textFile(`${docs}/LICENSE`, readFileSync(path.join(root, "LICENSE"), "utf8")),
    textFile(`${docs}/NODE-LICENSE`, readFileSync(path.join(nodeFolder(architecture), "LICENSE"), "utf8")),
    textFile(
      `${docs}/THIRD-PARTY-LICENSES`,
      readFileSync(path.join(root, "dist/THIRD-PARTY-LICENSES"), "utf8"),
    ),
  ];
}

function textFile(where: string, text: string): Entry {
  return { path: where, kind: "file", mode: 0o644, data: Buffer.from(text) };
}

function withFolders(entries: readonly Entry[]): Entry[] {
  const there = new Set(entries.map((entry) => entry.path));
  const folders = new Set(entries.flatMap((entry) => foldersAbove(entry.path)));
  return [
    ...[...folders]
      .filter((folder) => !there.has(folder))
      .map((folder): Entry => ({ path: folder, kind: "folder", mode: 0o755 })),
    ...entries,
  ];
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}
