/** `--version`, apart from the commands: nothing else is loaded to answer it. */
import { version } from "../process/version.ts";
import { asksFor } from "./argv.ts";
import { programName } from "./help.ts";

/** What is printed where `argv` asks for the version; undefined where it does not, or asks for help as well. */
export function versionAnswer(argv: readonly string[]): string | undefined {
  const isAsked = asksFor(argv, "version") && !asksFor(argv, "help", "h");
  return isAsked ? `${programName} ${version}\n` : undefined;
}
