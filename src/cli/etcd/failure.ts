/** A failure of `audit` or `recover` as a line for standard error. */
import type { ProviderError } from "../../errors.ts";

/**
 * The message with its code. That of a fault of this program is left out: it may quote what was worked on, which may be
 * secret.
 */
export function failureText(error: ProviderError): string {
  if (error.kind !== "internal") return `${error.message} [${error.code}]`;
  const cause = error.cause instanceof Error ? error.cause : error;
  const frames = (cause.stack ?? "").split("\n").filter((line) => /^\s+at /.test(line));
  return [
    `a fault of this program (${cause.name}): report it with these lines [${error.code}]`,
    ...frames,
  ].join("\n");
}
