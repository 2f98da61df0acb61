/**
 * The outline of a JWE in compact form (RFC 7516, section 7.1): five base64url parts. What is in them is the KMS's
 * affair; this only tells what can't be a ciphertext of its.
 */

/** header.encrypted key.iv.ciphertext.tag: with `dir` the encrypted key is empty, and an empty text has no ciphertext. */
const compactForm = /^[\w-]+\.[\w-]*\.[\w-]+\.[\w-]*\.[\w-]+$/;

/** Whether a text has the form of a compact JWE. */
export function isCompactJwe(text: string): boolean {
  return compactForm.test(text);
}
