/**
 * The limits of KMS v2 as kube-apiserver enforces them (k8s.io/apiserver, kmsv2 envelope: validateEncryptedObject and
 * its parts). Defined here once, for encryptors and server.
 */

/** Longest key_id, in bytes of UTF-8. */
export const maxKeyIdBytes = 1024;
/** Longest ciphertext, in bytes. */
export const maxCiphertextBytes = 1024;
/** Longest plaintext, in bytes: with a 16-byte tag it makes the longest ciphertext. A DEK seed has 32. */
export const maxPlaintextBytes = maxCiphertextBytes - 16;
/** Annotations, names plus values, in bytes. */
export const maxAnnotationsBytes = 32_768;
