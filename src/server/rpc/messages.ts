/**
 * The messages of KMS v2 (proto/kms/v2/api.proto) to bytes and back, to the byte as protobuf-es does it, and without its
 * descriptors, which would be a tenth of the start. Leaves out JSON, which Connect's handlers read.
 */
import type { Message } from "@bufbuild/protobuf";
import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import type * as kms from "../../../gen/kms/v2/api_pb.ts";

/** The fields of a message that `buf generate` has made the type of. */
type Fields<M extends Message> = Omit<M, keyof Message>;
/** The messages by name. */
export interface KmsMessages {
  readonly StatusRequest: Fields<kms.StatusRequest>;
  readonly StatusResponse: Fields<kms.StatusResponse>;
  readonly EncryptRequest: Fields<kms.EncryptRequest>;
  readonly EncryptResponse: Fields<kms.EncryptResponse>;
  readonly DecryptRequest: Fields<kms.DecryptRequest>;
  readonly DecryptResponse: Fields<kms.DecryptResponse>;
}

/** A message to bytes and back. */
export interface MessageCodec<M> {
  /** A field that is missing has its zero value; one that is unknown is left out. Bytes are views of `bytes`. @throws Error */
  decode(bytes: Uint8Array): M;
  /** Half a surrogate pair is written as U+FFFD. */
  encode(message: M): Uint8Array;
}

/** A field: its number, and its value. */
interface Field<T> {
  readonly no: number;
  zero(): T;
  /** Reads after the tag, whatever wire type that has. `before` is the value so far. */
  read(reader: BinaryReader, before: T): T;
  /** Writes tag and value; nothing for the zero value. */
  write(writer: BinaryWriter, value: T): void;
}

/** How deep groups of unknown fields may be in one another, as in protobuf-es: its limit is 100, and the message is one. */
const maxGroups = 99;

const text = (no: number): Field<string> => ({
  no,
  zero: () => "",
  read: (reader) => reader.string(true),
  write(writer, value) {
    if (value !== "") writer.tag(no, WireType.LengthDelimited).string(value);
  },
});

const bytes = (no: number): Field<Uint8Array> => ({
  no,
  zero: () => new Uint8Array(),
  read: (reader) => reader.bytes(),
  write(writer, value) {
    if (value.length > 0) writer.tag(no, WireType.LengthDelimited).bytes(value);
  },
});

/** `map<string, bytes>`: each entry is a message of a key and a value. */
const bytesByName = (no: number): Field<Record<string, Uint8Array>> => ({
  no,
  zero: () => ({}),
  read(reader, before) {
    let key = "";
    let value: Uint8Array = new Uint8Array();
    const length = reader.uint32();
    const end = reader.pos + length;
    while (reader.pos < end) {
      const [field, wireType] = reader.tag();
      if (field === 1) key = reader.string(true);
      else if (field === 2) value = reader.bytes();
      else reader.skip(wireType, field, maxGroups);
    }
    // By its definition: to assign "__proto__" is to change the prototype.
    Object.defineProperty(before, key, { value, enumerable: true, configurable: true, writable: true });
    return before;
  },
  write(writer, value) {
    for (const [name, content] of Object.entries(value)) {
      writer.tag(no, WireType.LengthDelimited).fork();
      writer.tag(1, WireType.LengthDelimited).string(name);
      writer.tag(2, WireType.LengthDelimited).bytes(content).join();
    }
  },
});

/** @param fields in the order of their numbers, in which they are written */
function codecOf<M extends object>(fields: { readonly [Name in keyof M]: Field<M[Name]> }): MessageCodec<M> {
  const names = Object.keys(fields) as (keyof M)[];
  const nameOf = new Map(names.map((name) => [fields[name].no, name]));
  return {
    decode(source) {
      const reader = new BinaryReader(source);
      const message = {} as M;
      for (const name of names) message[name] = fields[name].zero();
      while (reader.pos < reader.len) {
        const [no, wireType] = reader.tag();
        const name = nameOf.get(no);
        if (name === undefined) reader.skip(wireType, no, maxGroups);
        else message[name] = fields[name].read(reader, message[name]);
      }
      return message;
    },
    encode(message) {
      const writer = new BinaryWriter();
      for (const name of names) fields[name].write(writer, message[name]);
      return writer.finish();
    },
  };
}

/** The codecs by the names of their messages. */
export const kmsMessages: { readonly [Name in keyof KmsMessages]: MessageCodec<KmsMessages[Name]> } = {
  StatusRequest: codecOf({}),
  StatusResponse: codecOf({ version: text(1), healthz: text(2), keyId: text(3) }),
  EncryptRequest: codecOf({ plaintext: bytes(1), uid: text(2) }),
  EncryptResponse: codecOf({ ciphertext: bytes(1), keyId: text(2), annotations: bytesByName(3) }),
  DecryptRequest: codecOf({
    ciphertext: bytes(1),
    uid: text(2),
    keyId: text(3),
    annotations: bytesByName(4),
  }),
  DecryptResponse: codecOf({ plaintext: bytes(1) }),
};
