/**
 * `recover`: the objects that etcd holds, decrypted, for `kubectl apply`. The one command that prints what is secret, and
 * only when it is told where. The work is in recover/, loaded only when it is asked for.
 */
import { defineCliCommand } from "./command.ts";
import { serveFlags } from "./serve-flags.ts";
import { kmsFlags, listOf, sourceFlags, stdinWord } from "./etcd/flags.ts";

/** See the file's head. */
export const recoverCommand = defineCliCommand({
  name: "recover",
  description: "decrypt objects from etcd or a backup, as YAML or JSON for kubectl apply",
  words: [stdinWord],
  otherDefaults: serveFlags,
  flags: {
    resource: {
      group: "RECOVER",
      type: "string",
      list: true,
      valueHint: "RESOURCE[,…]",
      description: "only these resources, such as secrets, configmaps, widgets.example.com",
    },
    namespace: {
      group: "RECOVER",
      type: "string",
      list: true,
      valueHint: "NAMESPACE[,…]",
      description: "only these namespaces",
    },
    name: {
      group: "RECOVER",
      type: "string",
      list: true,
      valueHint: "NAME[,…]",
      description: "only objects of these names",
    },
    all: {
      group: "RECOVER",
      type: "boolean",
      description: "every object; one of these four flags must be given",
    },
    output: {
      group: "RECOVER",
      type: "string",
      valueHint: "yaml|json",
      default: "yaml",
      description:
        "output format, also -o; JSON is a List, or the object itself if --resource, --namespace and --name name one",
    },
    o: { group: "RECOVER", type: "string", hidden: true, description: "the same as --output" },
    out: {
      group: "RECOVER",
      type: "string",
      valueHint: "DIR",
      description: "write a file for each object into this folder, with mode 0600; no file is overwritten",
    },
    show: {
      group: "RECOVER",
      type: "boolean",
      description: "allow standard output to be a terminal; not needed for a pipe or a file",
    },
    raw: {
      group: "RECOVER",
      type: "boolean",
      description:
        "the decrypted bytes as stored: for built-in kinds other than Secret and ConfigMap, which are protobuf",
    },
    "keep-metadata": {
      group: "RECOVER",
      type: "boolean",
      description:
        "keep uid, ownerReferences, managedFields and the other fields that the API server sets, which kubectl apply refuses",
    },
    ...sourceFlags,
    ...kmsFlags,
  },
  epilog: `The output is secret. No part of it is written to a log or an error message. Values in plaintext need no KMS.

Examples
  okms-k8s-encryption-provider recover --snapshot backup.db --resource secrets --namespace shop --out ./secrets FLAGS
  okms-k8s-encryption-provider recover --snapshot backup.db --resource secrets --namespace shop --name db FLAGS \\
    | kubectl apply -f -

Exit code: 0 everything that was asked for is there, 1 something could not be read or written, 2 the command line is
wrong.`,
  async run({ read, words, env, stdout, stderr }) {
    const [{ parseSources }, { parseKms }] = await Promise.all([
      import("./etcd/sources.ts"),
      import("./etcd/kms.ts"),
    ]);
    const sources = parseSources(read, words, read.path("key"));
    const { live, snapshots, kine, value, stdin } = sources;
    const others = [live !== undefined, value !== undefined, stdin].filter(Boolean);
    if (snapshots.length + kine.length + others.length > 1)
      read.complain("Too many sources: recover reads one");
    const filter = {
      resources: listOf(read.text("resource")),
      namespaces: listOf(read.text("namespace")),
      names: listOf(read.text("name")),
    };
    const hasFilter = Object.values(filter).some((list) => list.length > 0);
    if (!hasFilter && !read.boolean("all") && value === undefined)
      read.complain("Missing choice: give --resource, --namespace, --name, or --all for everything");
    const out = read.path("out");
    const terminal: typeof stdout & { readonly isTTY?: boolean } = stdout;
    if (out === undefined && terminal.isTTY === true && !read.boolean("show"))
      read.complain(
        "What recover prints is secret: give --out DIR, a pipe, or --show to see it on this terminal",
      );
    const formats = ["yaml", "json"] as const;
    const options = {
      sources,
      filter,
      kms: parseKms(read, env),
      format: read.oneOf("o", formats) ?? read.oneOf("output", formats) ?? "yaml",
      out,
      isRaw: read.boolean("raw"),
      keepMetadata: read.boolean("keep-metadata"),
    };
    read.finish();
    const { runRecover } = await import("./recover/run.ts");
    return runRecover(options, { stdin: process.stdin, stdout, stderr });
  },
});
