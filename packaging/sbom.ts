/**
 * The bill of materials, CycloneDX 1.6 as JSON: the packages of which something is in the bundle, Node.js with the
 * libraries inside it, and what the image has of Debian.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import path from "node:path";
import { architectures, debianName, manifest, name, pins, root, run } from "./host.ts";
import { nodeFolder } from "./inputs.ts";

interface Package {
  readonly name: string;
  readonly version: string;
  readonly license: string;
}

/**
 * Makes the document.
 * @param time in s since 1970
 */
export function sbom(time: number): string {
  const bundled = JSON.parse(
    readFileSync(path.join(root, "dist/packages.json"), "utf8"),
  ) as readonly Package[];
  const own = npmUrl({ name, version: manifest.version });
  const components = [...bundled.map(npmComponent), ...nodeComponents(), ...debianComponents()];
  const document = {
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    serialNumber: `urn:uuid:${uuidOf(`${name} ${manifest.version} ${time}`)}`,
    version: 1,
    metadata: {
      timestamp: new Date(time * 1000).toISOString(),
      component: {
        type: "application",
        "bom-ref": own,
        name,
        version: manifest.version,
        description: manifest.description,
        licenses: [{ license: { id: manifest.license } }],
        purl: own,
      },
    },
    components,
    dependencies: [{ ref: own, dependsOn: components.map((one) => one["bom-ref"]) }],
  };
  return `${JSON.stringify(document, undefined, 2)}\n`;
}

/** What every component has; the rest is as its kind wants it. */
interface Component extends Readonly<Record<string, unknown>> {
  readonly "bom-ref": string;
}

function npmComponent(one: Package): Component {
  return {
    type: "library",
    "bom-ref": npmUrl(one),
    name: one.name,
    version: one.version,
    licenses: [/[ ()]/.test(one.license) ? { expression: one.license } : { license: { id: one.license } }],
    purl: npmUrl(one),
  };
}

function npmUrl({ name: own, version }: Pick<Package, "name" | "version">): string {
  return `pkg:npm/${own.replace("@", "%40")}@${version}`;
}

/** Node.js itself, and what `process.versions` of it names. */
function nodeComponents(): Component[] {
  const { version } = pins.node;
  const node = path.join(nodeFolder(process.arch === "arm64" ? "arm64" : "x64"), "bin/node");
  const versions = JSON.parse(run(node, ["-p", "JSON.stringify(process.versions)"])) as Record<
    string,
    string
  >;
  const programs = architectures.map((architecture) => {
    const bytes = readFileSync(path.join(nodeFolder(architecture), "bin/node"));
    return {
      type: "platform",
      "bom-ref": `node-${architecture}`,
      name: `node-linux-${architecture}`,
      version,
      hashes: [{ alg: "SHA-256", content: createHash("sha256").update(bytes).digest("hex") }],
      purl: `pkg:npm/node-linux-${architecture}@${version}`,
      // By which the vulnerabilities of Node.js are known.
      cpe: `cpe:2.3:a:nodejs:node.js:${version}:*:*:*:*:*:*:*`,
      licenses: [{ license: { name: "Node.js and the libraries inside it: NODE-LICENSE" } }],
    };
  });
  // ABI numbers and data sets are no parts; what has no version is not in this build.
  const spare = new Set(["node", "modules", "napi", "unicode", "tz", "cldr"]);
  const inside = Object.entries(versions)
    .filter(([own, its]) => !spare.has(own) && its !== "")
    .map(([own, its]) => ({
      type: "library",
      "bom-ref": `node-inside-${own}`,
      name: own,
      version: its,
      purl: `pkg:generic/${own}@${its}`,
      properties: [{ name: "part of", value: `Node.js ${version}` }],
    }));
  return [...programs, ...inside];
}

function debianComponents(): Component[] {
  return architectures.flatMap((architecture) =>
    Object.entries(pins.debian.packages).map(([own, version]) => {
      const purl = `pkg:deb/debian/${encodeURIComponent(own)}@${encodeURIComponent(version)}?arch=${debianName[architecture]}&distro=${pins.debian.suite}`;
      return {
        type: "library",
        "bom-ref": purl,
        name: own,
        version,
        purl,
        properties: [{ name: "part of", value: "the image alone" }],
      };
    }),
  );
}

/** A UUID that is the same for the same release. */
function uuidOf(text: string): string {
  const hex = createHash("sha256").update(text).digest("hex");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}
