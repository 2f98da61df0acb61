/** The system's resolver, with one name that gets no answer. To be imported before anything that resolves names. */
import dns from "node:dns";
import { syncBuiltinESMExports } from "node:module";

/** The name that DNS gives no answer for. */
export const hangingName = "hangs.invalid";

const { lookup } = dns;
dns.lookup = ((asked: string, ...rest: unknown[]) => {
  if (asked !== hangingName) (lookup as (...all: unknown[]) => void)(asked, ...rest);
}) as typeof dns.lookup;
syncBuiltinESMExports();
