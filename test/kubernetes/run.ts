/** Runs `reencrypt` in this process against a {@link TestApiServer}, with its output kept. */
import type { ReencryptOptions } from "../../src/cli/reencrypt/options.ts";
import { type ReencryptIo, runReencrypt } from "../../src/cli/reencrypt/run.ts";
import type { RetryOptions } from "../../src/kubernetes/client.ts";
import { createCollector } from "../support/collector.ts";

/** Time for the retries of a test. */
export const quickRetry: RetryOptions = {
  retryForMs: 2000,
  attempts: 3,
  backoffMs: { first: 5, most: 20 },
  replyWithinMs: 20_000,
};

/** What a run came to. */
export interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs it on Secrets, by patching, 10,000 requests a second, unless `options` say otherwise. */
export async function reencrypt(
  options: Partial<ReencryptOptions> & { readonly kubeconfig: string | undefined },
  io: Partial<ReencryptIo> = {},
): Promise<Ran> {
  const stdout = createCollector();
  const stderr = createCollector();
  const code = await runReencrypt(
    {
      context: undefined,
      encryptionConfig: undefined,
      resources: ["secrets"],
      namespace: undefined,
      method: "auto",
      qps: 10_000,
      isDryRun: false,
      isPrintRbac: false,
      state: undefined,
      etcd: undefined,
      etcdPrefix: "/registry",
      ...options,
    },
    {
      stdout: stdout.stream,
      stderr: stderr.stream,
      env: {},
      waits: { unseenMs: 50, pollMs: 5 },
      retry: quickRetry,
      ...io,
    },
  );
  return { code, stdout: stdout.text(), stderr: stderr.text() };
}
