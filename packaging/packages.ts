/** The .deb and the .rpm by nfpm, and a tar.gz of the same files, for one architecture. */
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { gzipSync } from "node:zlib";
import { stringify } from "yaml";
import { debianName, manifest, name, root, run } from "./host.ts";
import type { Architecture } from "./host.ts";
import { nfpm, nodeFolder } from "./inputs.ts";
import { step } from "./script.ts";
import { tar } from "./tar.ts";
import type { Entry } from "./tar.ts";
import { packageFiles } from "./tree.ts";
import type { PackageFile } from "./tree.ts";

/** What a release of an architecture is made of. */
export interface PackageOptions {
  readonly architecture: Architecture;
  /** Path of the single executable. */
  readonly executable: string;
  /** Folder of the results. */
  readonly out: string;
  /** In s since 1970. */
  readonly time: number;
}

/** Makes the three packages. @returns their file names */
export function makePackages(options: PackageOptions): string[] {
  const { architecture, out, time } = options;
  const files = filesOf(options);
  const stage = path.join(out, `stage-${architecture}`);
  writeStage(stage, files);
  const made = (["deb", "rpm"] as const).map((kind) =>
    step(`${architecture}: the .${kind}`, () =>
      makePackage({
        ...options,
        kind,
        stage,
        files,
        version: manifest.version,
        compression: compressions[kind],
      }),
    ),
  );
  rmSync(stage, { recursive: true });
  const archive = `${name}-${manifest.version}-linux-${debianName[architecture]}.tar.gz`;
  step(`${architecture}: the tar.gz`, () =>
    writeFileSync(path.join(out, archive), gzipSync(tar(archiveEntries(files), time), { level: 9 })),
  );
  return [...made, archive];
}

/**
 * Makes an .rpm of another version, with the least compression, to try an upgrade with.
 * @returns its file name
 */
export function makeTrialRpm(options: PackageOptions, version: string): string {
  const files = filesOf(options);
  const stage = path.join(options.out, "stage-trial");
  writeStage(stage, files);
  const made = makePackage({ ...options, kind: "rpm", stage, files, version, compression: "gzip:1" });
  rmSync(stage, { recursive: true });
  return made;
}

function filesOf({ architecture, executable, time }: PackageOptions): PackageFile[] {
  return [
    { path: `/usr/bin/${name}`, mode: 0o755, data: readFileSync(executable) },
    {
      path: `/usr/share/doc/${name}/NODE-LICENSE.gz`,
      mode: 0o644,
      data: gzipSync(readFileSync(path.join(nodeFolder(architecture), "LICENSE")), { level: 9 }),
    },
    ...packageFiles(time),
  ];
}

function writeStage(stage: string, files: readonly PackageFile[]): void {
  for (const { path: where, mode, data } of files) {
    const file = path.join(stage, where);
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, data, { mode });
  }
  for (const script of ["postinstall.sh", "preremove.sh", "postremove.sh"])
    copyFileSync(path.join(root, "packaging/scripts", script), path.join(stage, script));
}

/** The files that only Debian's package has: what lintian is to pass over, with the reason. */
const lintianOverrides = `# The executable is Node.js as its project publishes it, with its libraries inside and its symbols, and the program
# appended: it can be compared with what the project signs.
${name}: unstripped-binary-or-object [usr/bin/${name}]
${name}: embedded-library *
`;

type Kind = "deb" | "rpm";

/** Debian before 12 does not read zstd, which is ten times as fast. */
const compressions = { deb: "xz", rpm: "zstd" } as const satisfies Record<Kind, string>;

interface OnePackage extends PackageOptions {
  readonly kind: Kind;
  /** Folder with the files, each at its path. */
  readonly stage: string;
  readonly files: readonly PackageFile[];
  readonly version: string;
  readonly compression: string;
}

function makePackage({
  kind,
  stage,
  files,
  version,
  compression,
  architecture,
  out,
  time,
}: OnePackage): string {
  const mtime = new Date(time * 1000).toISOString();
  const content = files
    .filter(({ path: where }) => !notIn[kind].has(path.basename(where)))
    .map(({ path: where, mode }) => ({
      src: path.join(stage, where),
      dst: kind === "rpm" ? rpmPath(where) : where,
      ...(kind === "rpm" && { type: rpmType(where) }),
      file_info: { mode, mtime },
    }));
  // What rpm is not told of, it leaves behind.
  const folders = new Set(content.flatMap(({ dst }) => foldersAbove(dst)).filter((it) => it.includes(name)));
  const overrides = path.join(stage, "lintian-overrides");
  writeFileSync(overrides, lintianOverrides);
  const settings = {
    name,
    arch: debianName[architecture],
    platform: "linux",
    version,
    release: "1",
    section: "admin",
    priority: "optional",
    maintainer: `The authors of ${name} <noreply@example.invalid>`,
    description: `Kubernetes KMS v2 plugin for OVHcloud KMS and KMIP servers
kube-apiserver calls it on a Unix socket to wrap and unwrap the keys that it
encrypts Secrets with. The wrapping key never leaves the KMS.`,
    license: manifest.license,
    homepage: "https://github.com/ovh/okms-k8s-encryption-provider",
    mtime,
    depends: dependencies[kind],
    recommends: ["ca-certificates"],
    // Not /etc/okms: rpm would give it to root at each upgrade. The script makes it where there is none.
    contents: [
      ...content,
      ...(kind === "rpm"
        ? [...folders].map((dst) => ({ dst, type: "dir", file_info: { mode: 0o755, mtime } }))
        : [
            {
              src: overrides,
              dst: `/usr/share/lintian/overrides/${name}`,
              file_info: { mode: 0o644, mtime },
            },
          ]),
    ],
    scripts: {
      postinstall: path.join(stage, "postinstall.sh"),
      preremove: path.join(stage, "preremove.sh"),
      postremove: path.join(stage, "postremove.sh"),
    },
    [kind]: { compression },
    rpm: { compression, buildhost: "localhost", packager: `The authors of ${name}` },
  };
  const config = path.join(stage, `nfpm-${kind}.yaml`);
  writeFileSync(config, stringify(settings));
  const file = fileName(kind, architecture, version);
  run(nfpm(), ["package", "--config", config, "--packager", kind, "--target", path.join(out, file)], {
    env: { ...process.env, SOURCE_DATE_EPOCH: String(time) },
  });
  return file;
}

/** Debian has the licence in /usr/share/common-licenses; nobody else has a changelog and a copyright in its form. */
const notIn = { deb: new Set(["LICENSE"]), rpm: new Set(["changelog.Debian.gz", "copyright"]) } as const;

const licence = /\/(?:[A-Z-]+-)?LICENSES?(?:\.gz)?$/;

/** Where RHEL and SUSE look for it, which is not where Debian does. */
function rpmPath(where: string): string {
  if (licence.test(where)) return `/usr/share/licenses/${name}/${path.basename(where)}`;
  return where.replace("/zsh/vendor-completions/", "/zsh/site-functions/");
}

/** What rpm is to know of a file: `rpm --query --docfiles`, and what `--nodocs` leaves out. */
function rpmType(where: string): string {
  if (licence.test(where)) return "license";
  return /^\/usr\/share\/(?:doc|man)\//.test(where) ? "doc" : "file";
}

/**
 * The libraries that Node.js is linked with. Debian's packages by name; an .rpm by the newest version of their symbols that is
 * needed, as rpm's own elfdeps says it: names of packages differ between RHEL and SUSE.
 */
export const dependencies = {
  deb: ["libc6 (>= 2.28)", "libstdc++6 (>= 9)", "libgcc-s1 | libgcc1", "libatomic1"],
  rpm: [
    "libc.so.6(GLIBC_2.28)(64bit)",
    "libstdc++.so.6(GLIBCXX_3.4.21)(64bit)",
    "libstdc++.so.6(CXXABI_1.3.11)(64bit)",
    "libgcc_s.so.1(GCC_4.2.0)(64bit)",
    "libatomic.so.1(LIBATOMIC_1.0)(64bit)",
  ],
} as const;

function fileName(kind: Kind, architecture: Architecture, version: string): string {
  if (kind === "deb") return `${name}_${version}-1_${debianName[architecture]}.deb`;
  return `${name}-${version}-1.${{ x64: "x86_64", arm64: "aarch64" }[architecture]}.rpm`;
}

/** With one folder at the top, and no folder of the host's. */
function archiveEntries(files: readonly PackageFile[]): Entry[] {
  const top = `${name}-${manifest.version}`;
  const entries = files.map(({ path: where, mode, data }): Entry => ({
    path: `${top}${where}`,
    kind: "file",
    mode,
    data,
  }));
  const folders = new Set(entries.flatMap((entry) => foldersAbove(entry.path)));
  return [
    ...[...folders].map((folder): Entry => ({ path: folder, kind: "folder", mode: 0o755 })),
    ...entries,
  ];
}

/** Every folder above a path, from the top. */
export function foldersAbove(file: string): string[] {
  const parts = file.split("/").slice(0, -1);
  return parts.map((_part, index) => parts.slice(0, index + 1).join("/"));
}
