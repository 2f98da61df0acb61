/** Makes what `config` is asked for, and prints it or writes it into a folder. */
import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import type { Config } from "../../config/config.ts";
import { encryptionConfiguration } from "./encryption-configuration.ts";
import type { Instance, OutputFile } from "./output.ts";
import { staticPod } from "./static-pod.ts";
import { systemdUnits } from "./systemd.ts";

/** What can be made. */
export const kinds = ["encryption-configuration", "systemd", "static-pod"] as const;
/** One of {@link kinds}. */
export type Kind = (typeof kinds)[number];

/** A plugin process, whose `config` and arguments only units and Pods need. */
export type InstanceOptions = Omit<Instance, "config"> & { readonly config: Config | undefined };

/** What `config` is run with. */
export interface ConfigOptions {
  readonly kind: Kind;
  /** The one that writes first. */
  readonly instances: readonly InstanceOptions[];
  readonly resources: readonly string[];
  readonly apiTimeoutMs: number;
  readonly exec: string;
  readonly user: string | undefined;
  readonly image: string;
  /** Folder to write to; undefined: standard output. */
  readonly out: string | undefined;
}

/** Makes the files. */
export function makeFiles(options: ConfigOptions): OutputFile[] {
  if (options.kind === "encryption-configuration") {
    const { instances, resources, apiTimeoutMs } = options;
    return [encryptionConfiguration({ providers: instances, resources, timeoutMs: apiTimeoutMs })];
  }
  return options.instances.flatMap((instance) => {
    if (instance.config === undefined) return [];
    const whole = { ...instance, config: instance.config };
    return options.kind === "systemd" ? systemdUnits(whole, options) : [staticPod(whole, options)];
  });
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
    await mkdir(options.out, { recursive: true });
    for (const file of files) {
      const target = path.join(options.out, path.basename(file.path));
      await writeFile(target, file.text, { mode: 0o644 });
      stdout.write(`${target}\n`);
    }
    return 0;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    stderr.write(`Could not write to ${options.out}: ${reason}\n`);
    return 1;
  }
}
