/**
 * How an identifier of the tables reads in the specification: `UniqueIdentifier` is "Unique Identifier". Names
 * with hyphens, slashes or small words in them cannot be derived, and are listed beside their table.
 */

/** Puts the spaces back: `CertificateSubjectCN` is "Certificate Subject CN". */
export function spaced(identifier: string): string {
  return identifier.replaceAll(/([a-z\d])([A-Z])/g, "$1 $2").replaceAll(/([A-Z])([A-Z][a-z])/g, "$1 $2");
}

/** Eight digits, as the specification writes enumeration values: `0x0000000a`. */
export function hexadecimal(value: number, digits = 8): string {
  return `0x${(value >>> 0).toString(16).padStart(digits, "0")}`;
}
