/** The files of the packages, the same for .deb, .rpm and tar.gz: where each lies on a host, and what is in it. */
import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { gzipSync } from "node:zlib";
import { completion } from "./completion.ts";
import { manifest, name, root } from "./host.ts";
import { manPages } from "./man.ts";
import { exampleEnvironment, sysusers, templateService, templateSocket } from "./units.ts";

/** A file of a package. */
export interface PackageFile {
  /** Where it is installed, absolute. */
  readonly path: string;
  readonly mode: number;
  readonly data: Uint8Array;
}

const docs = `/usr/share/doc/${name}`;

/**
 * The files, apart from the program.
 * @param time of the release, in s since 1970
 */
export function packageFiles(time: number): PackageFile[] {
  const texts: Readonly<Record<string, string | Uint8Array>> = {
    [`/usr/lib/systemd/system/${name}@.service`]: templateService,
    [`/usr/lib/systemd/system/${name}@.socket`]: templateSocket,
    [`/usr/lib/sysusers.d/${name}.conf`]: sysusers,
    [`/usr/share/bash-completion/completions/${name}`]: completion("bash"),
    [`/usr/share/zsh/vendor-completions/_${name}`]: completion("zsh"),
    [`/usr/share/fish/vendor_completions.d/${name}.fish`]: completion("fish"),
    ...Object.fromEntries(
      manPages(time).map(({ file, text }) => [`/usr/share/man/man8/${file}.gz`, compress(text)]),
    ),
    [`${docs}/copyright`]: copyright(),
    [`${docs}/LICENSE`]: read("LICENSE"),
    [`${docs}/changelog.Debian.gz`]: compress(changelog(time)),
    [`${docs}/THIRD-PARTY-LICENSES.gz`]: compress(read("dist/THIRD-PARTY-LICENSES")),
    [`${docs}/README.md`]: read("README.md"),
    [`${docs}/examples/main.env`]: exampleEnvironment,
    ...Object.fromEntries(
      readdirSync(path.join(root, "docs")).map((file) => [`${docs}/docs/${file}`, read(`docs/${file}`)]),
    ),
  };
  return Object.entries(texts).map(([where, content]) => ({
    path: where,
    mode: 0o644,
    data: typeof content === "string" ? Buffer.from(content) : content,
  }));
}

function read(file: string): string {
  return readFileSync(path.join(root, file), "utf8");
}

/** With the time 0 in its head. */
function compress(text: string): Uint8Array {
  return gzipSync(text, { level: 9 });
}

function changelog(time: number): string {
  const date = new Date(time * 1000).toUTCString().replace("GMT", "+0000");
  return `${name} (${manifest.version}) stable; urgency=medium

  * Release ${manifest.version}.

 -- The authors of ${name} <noreply@example.invalid>  ${date}
`;
}

/** In Debian's machine-readable form. */
function copyright(): string {
  const apache = "/usr/share/common-licenses/Apache-2.0";
  return `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: ${name}

Files: *
Copyright: 2025-2026 the authors of ${name}
License: Apache-2.0
 On Debian systems the text of the licence is in ${apache}.
Comment: The program holds parts of other packages, and Node.js. Their licences are in THIRD-PARTY-LICENSES.gz and
 NODE-LICENSE.gz in this folder.
`;
}
