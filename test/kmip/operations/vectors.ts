/** The captured messages in vectors/ (see capture.py there), with what PyKMIP says is in them. */
import { readFileSync } from "node:fs";
import path from "node:path";

/** JSON of capture.py's `plain`: bytes are `{hex}`, seconds `{seconds}`. */
export type Plain = null | boolean | number | string | Plain[] | { [name: string]: Plain };

/** One message with one operation. */
export interface OperationVector {
  readonly version: string;
  readonly kind: "request" | "response";
  readonly says?: string;
  readonly payload?: Plain;
  readonly failure?: { readonly reason: number; readonly message: string };
  readonly hex: string;
}

/** A request and its response, for what is around the payloads. */
export interface MessageVector {
  readonly version: string;
  readonly says: string;
  readonly request: string;
  readonly response: string;
}

/** Reads a file of vectors/, as `encrypt`. */
export function readVectors<Vector>(name: string): readonly Vector[] {
  const file = path.join(import.meta.dirname, "vectors", `${name}.json`);
  return JSON.parse(readFileSync(file, "utf8")) as readonly Vector[];
}

/** Bytes of hexadecimal digits, as a plain Uint8Array. */
export function fromHex(hex: string): Uint8Array {
  return new Uint8Array(Buffer.from(hex, "hex"));
}

/** Hexadecimal digits of bytes. */
export function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}
