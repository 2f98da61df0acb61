/** Makes what `config` is asked for, and prints it or writes it into a folder. */
import { quotePath } from "../../text/quote.ts";
import { distributionFiles } from "./distributions.ts";
import { encryptionConfiguration } from "./encryption-configuration.ts";
import type { Kind } from "./kinds.ts";
import { kopsFiles } from "./kops.ts";
import type { InstanceOptions, OutputFile } from "./output.ts";
import { staticPod } from "./static-pod.ts";
import { systemdUnits } from "./systemd.ts";
import { writeFiles } from "./write-files.ts";

/** What `config` is run with. */
export interface ConfigOptions {
  readonly kind: Kind;
  /** The one that writes first. */
  readonly instances: readonly InstanceOptions[];
  readonly resources: readonly string[];
  readonly apiTimeoutMs: number;
  readonly exec: string;
  /** Absolute path of the Node.js that runs `exec`; undefined: it is the single executable. */
  readonly node: string | undefined;
  readonly user: string | undefined;
  readonly image: string;
  readonly selinuxType: string | undefined;
  /** Folder to write to; undefined: standard output. */
  readonly out: string | undefined;
}

function makeFiles(options: ConfigOptions): OutputFile[] {
  const { kind, instances, resources, apiTimeoutMs } = options;
  const encryption = { providers: instances, resources, timeoutMs: apiTimeoutMs };
  const whole = instances.flatMap((one) =>
    one.config === undefined ? [] : [{ ...one, config: one.config }],
  );
  switch (kind) {
    case "encryption-configuration":
      return [encryptionConfiguration(encryption)];
    case "systemd":
      return whole.flatMap((instance) => systemdUnits(instance, options));
    case "static-pod":
      return whole.map((instance) => staticPod(instance, options));
    case "kops":
      return kopsFiles(whole, encryption, options);
    default:
      return distributionFiles(kind, encryption);
  }
}

/** Makes the files, and prints or writes them. @returns the exit code */
export async function runConfig(
  options: ConfigOptions,
  { stdout, stderr }: { readonly stdout: NodeJS.WritableStream; readonly stderr: NodeJS.WritableStream },
): Promise<number> {
  const files = makeFiles(options);
  if (options.out === undefined) {
    const separator = options.kind === "systemd" ? "\n" : "---\n";
    stdout.write(files.map((file) => `# ${file.path}\n${file.text}`).join(separator));
    return 0;
  }
  try {
    for (const { file, isChanged } of await writeFiles(options.out, files))
      stdout.write(isChanged ? `${file}\n` : `${file} (unchanged)\n`);
    return 0;
  } catch (error) {
    stderr.write(`Could not write to ${quotePath(options.out)}: ${reasonOf(error)}\n`);
    return 1;
  }
}

function reasonOf(error: unknown): string {
  const { code } = error as NodeJS.ErrnoException;
  if (code === "EEXIST" || code === "ENOTDIR") return "it is not a folder";
  return error instanceof Error ? error.message : String(error);
}
