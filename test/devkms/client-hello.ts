/**
 * Whether a TLS handshake asks to resume a session, read from its ClientHello (RFC 8446 sections 4.1.2 and 4.2.11, RFC
 * 5077): for a KMS that refuses it, as some load balancers do.
 */

const sessionTicket = 35;
const preSharedKey = 41;

/**
 * Reads the first bytes of a connection. False for whatever is not a whole ClientHello: then nothing is known.
 * With TLS 1.3 it is the pre_shared_key extension; with 1.2 a session ticket that is not empty.
 */
export function asksToResume(bytes: Buffer): boolean {
  try {
    // Record header, handshake header, legacy version, random.
    let at = 5 + 4 + 2 + 32;
    if (bytes[0] !== 22 || bytes[5] !== 1) return false;
    at += 1 + bytes.readUInt8(at);
    at += 2 + bytes.readUInt16BE(at);
    at += 1 + bytes.readUInt8(at);
    const end = at + 2 + bytes.readUInt16BE(at);
    at += 2;
    while (at < end) {
      const type = bytes.readUInt16BE(at);
      const length = bytes.readUInt16BE(at + 2);
      if (type === preSharedKey || (type === sessionTicket && length > 0)) return true;
      at += 4 + length;
    }
    return false;
  } catch {
    return false;
  }
}

/** A fatal alert, handshake_failure, before any key is agreed (RFC 8446 section 6). */
export const handshakeFailure = Buffer.from([21, 3, 3, 0, 2, 2, 40]);
