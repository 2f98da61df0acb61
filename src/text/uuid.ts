/** UUIDs as people write them: OKMS's own, in its paths, are in lower case with hyphens. */

const usualForm = /^[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}$/;
/** The usual form behind a prefix or in braces; or without hyphens. */
const otherForm =
  /^(?:urn:uuid:([\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12})|\{([\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12})\}|([\da-f]{32}))$/;

/** Reads the forms that Go's uuid.Parse takes, and gives the usual one; undefined where `text` is none. */
export function parseUuid(text: string): string | undefined {
  const lower = text.toLowerCase();
  if (usualForm.test(lower)) return lower;
  const [, afterPrefix, inBraces, digits] = otherForm.exec(lower) ?? [];
  return afterPrefix ?? inBraces ?? digits?.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
