/** Values of flags that become names: of a unit, a Pod, a provider. */
import type { SettingsReader } from "../../config/settings.ts";
import { quote } from "../../text/quote.ts";

/** A name that can stand in etcd's prefix, a unit's name and a Pod's. */
export function readName(read: SettingsReader, flag: string): string | undefined {
  return readMatching(
    read,
    flag,
    /^[a-z0-9_](?:[a-z0-9_.-]{0,62})$/i,
    "may hold letters, digits, - . _ only",
  );
}

/** The value as it was given, or the default; one that does not match adds a complaint. */
export function readMatching(
  read: SettingsReader,
  flag: string,
  pattern: RegExp,
  complaint: string,
): string | undefined {
  const given = read.given(flag);
  if (given !== undefined && !pattern.test(given.text))
    read.complain(`Invalid value for ${given.source}: ${quote(given.text)} ${complaint}`);
  return read.text(flag);
}
