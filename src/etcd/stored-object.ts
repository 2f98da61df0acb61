/**
 * What kube-apiserver stores, in plaintext: Secret and ConfigMap from protobuf, custom resources from JSON, as objects of
 * the API. Other built-in kinds are named, and their bytes left alone. No error of this file quotes what it read.
 */
import { fromBinary } from "@bufbuild/protobuf";
import {
  ConfigMapSchema,
  type ManagedFieldsEntry,
  type ObjectMeta,
  OnlyMetadataSchema,
  SecretSchema,
  type Time,
} from "../../gen/k8s/v1/core_pb.ts";
import { UnknownSchema } from "../../gen/k8s/v1/storage_pb.ts";

/** A value of JSON; integers beyond 2^53 are bigints, so that nothing is rounded. */
export type Json = null | boolean | number | bigint | string | readonly Json[] | JsonObject;
/** An object of JSON. */
export interface JsonObject {
  readonly [name: string]: Json;
}

/** What a value holds. */
export type StoredObject =
  | {
      readonly form: "object";
      readonly apiVersion: string;
      readonly kind: string;
      readonly object: JsonObject;
    }
  /** A built-in kind without a generated type here. */
  | { readonly form: "protobuf"; readonly apiVersion: string; readonly kind: string }
  | { readonly form: "invalid"; readonly reason: string };

const magic = Buffer.from("k8s\0");

/** Decodes a value in plaintext. Never throws. */
export function decodeStored(plaintext: Uint8Array): StoredObject {
  const bytes = Buffer.from(plaintext.buffer, plaintext.byteOffset, plaintext.length);
  try {
    return bytes.subarray(0, magic.length).equals(magic)
      ? decodeProtobuf(bytes.subarray(magic.length))
      : decodeJson(bytes);
  } catch {
    return { form: "invalid", reason: "it is not an object of Kubernetes that can be decoded" };
  }
}

function decodeProtobuf(bytes: Uint8Array): StoredObject {
  const { typeMeta, raw } = fromBinary(UnknownSchema, bytes);
  const { apiVersion = "", kind = "" } = typeMeta ?? {};
  if (apiVersion === "" || kind === "")
    return { form: "invalid", reason: "it does not say of what kind it is" };
  if (apiVersion === "v1" && kind === "Secret")
    return { form: "object", apiVersion, kind, object: secretOf(raw) };
  if (apiVersion === "v1" && kind === "ConfigMap")
    return { form: "object", apiVersion, kind, object: configMapOf(raw) };
  return { form: "protobuf", apiVersion, kind };
}

function decodeJson(bytes: Buffer): StoredObject {
  const object = JSON.parse(bytes.toString("utf8"), exactIntegers) as JsonObject;
  const { apiVersion, kind } = object;
  if (typeof apiVersion !== "string" || typeof kind !== "string")
    return { form: "invalid", reason: "it does not say of what kind it is" };
  return { form: "object", apiVersion, kind, object };
}

/** A reviver. Its third argument has the text of a number. */
function exactIntegers(_name: string, value: unknown, context?: { readonly source?: string }): unknown {
  const source = context?.source ?? "";
  return typeof value === "number" && !Number.isSafeInteger(value) && /^-?\d+$/.test(source)
    ? BigInt(source)
    : value;
}

function secretOf(raw: Uint8Array): JsonObject {
  const { metadata, data, type, immutable } = fromBinary(SecretSchema, raw);
  return present({
    apiVersion: "v1",
    kind: "Secret",
    metadata: metadataOf(metadata),
    data: base64Map(data),
    type,
    immutable,
  });
}

function configMapOf(raw: Uint8Array): JsonObject {
  const { metadata, data, binaryData, immutable } = fromBinary(ConfigMapSchema, raw);
  return present({
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: metadataOf(metadata),
    data: sorted(data),
    binaryData: base64Map(binaryData),
    immutable,
  });
}

type Field = Json | undefined;

/** Without what is empty, as the API leaves it out. */
function present(fields: Readonly<Record<string, Field>>): JsonObject {
  return Object.fromEntries(
    Object.entries(fields).filter((field): field is [string, Json] => {
      const [, value] = field;
      if (value === undefined || value === "" || value === null) return false;
      return typeof value !== "object" || Object.keys(value).length > 0;
    }),
  );
}

/** Maps have no order on the wire; the API's is that of the names. */
function sorted<T extends Json>(map: Readonly<Record<string, T>>): Readonly<Record<string, T>> {
  return Object.fromEntries(Object.entries(map).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

function base64Map(map: Readonly<Record<string, Uint8Array>>): JsonObject {
  return sorted(
    Object.fromEntries(
      Object.entries(map).map(([name, bytes]) => [name, Buffer.from(bytes).toString("base64")]),
    ),
  );
}

function metadataOf(metadata: ObjectMeta | undefined): JsonObject {
  if (metadata === undefined) return {};
  const { generation, deletionGracePeriodSeconds: grace } = metadata;
  return present({
    name: metadata.name,
    generateName: metadata.generateName,
    namespace: metadata.namespace,
    selfLink: metadata.selfLink,
    uid: metadata.uid,
    resourceVersion: metadata.resourceVersion,
    generation: generation === 0n ? undefined : Number(generation),
    creationTimestamp: timeOf(metadata.creationTimestamp),
    deletionTimestamp: timeOf(metadata.deletionTimestamp),
    deletionGracePeriodSeconds: grace === undefined ? undefined : Number(grace),
    labels: sorted(metadata.labels),
    annotations: sorted(metadata.annotations),
    ownerReferences: metadata.ownerReferences.map(
      ({ apiVersion, kind, name, uid, controller, blockOwnerDeletion }) =>
        present({ apiVersion, kind, name, uid, controller, blockOwnerDeletion }),
    ),
    finalizers: metadata.finalizers,
    managedFields: metadata.managedFields.map(managedOf),
  });
}

function timeOf(time: Time | undefined): string | undefined {
  if (time === undefined) return undefined;
  const date = new Date(Number(time.seconds) * 1000);
  return Number.isNaN(date.getTime()) ? undefined : date.toISOString().replace(".000Z", "Z");
}

function managedOf(entry: ManagedFieldsEntry): JsonObject {
  const { manager, operation, apiVersion, fieldsType, subresource } = entry;
  const raw = Buffer.from(entry.fieldsV1?.raw ?? []).toString("utf8");
  const fieldsV1 = raw === "" ? undefined : (JSON.parse(raw) as JsonObject);
  return present({
    manager,
    operation,
    apiVersion,
    time: timeOf(entry.time),
    fieldsType,
    fieldsV1,
    subresource,
  });
}

/** What the API server sets, or what names objects of one cluster only: `kubectl apply` stumbles over it. */
const serverFields: ReadonlySet<string> = new Set([
  "creationTimestamp",
  "deletionGracePeriodSeconds",
  "deletionTimestamp",
  "generation",
  "managedFields",
  // The garbage collector deletes what has an owner that is not there.
  "ownerReferences",
  "resourceVersion",
  "selfLink",
  "uid",
]);

/** The object as `kubectl apply` takes it in any cluster: without what its own API server had set. */
export function forApply(object: JsonObject): JsonObject {
  const { metadata } = object;
  if (metadata === null || typeof metadata !== "object" || Array.isArray(metadata)) return object;
  const kept = Object.entries(metadata as JsonObject).filter(([name]) => !serverFields.has(name));
  return { ...object, metadata: Object.fromEntries(kept) };
}

/** The namespace and the name that an object gives itself; empty where it gives none. */
export function nameInside(plaintext: Uint8Array): { readonly namespace: string; readonly name: string } {
  const { namespace, name } = metadataInside(plaintext);
  return {
    namespace: typeof namespace === "string" ? namespace : "",
    name: typeof name === "string" ? name : "",
  };
}

function metadataInside(plaintext: Uint8Array): { readonly namespace?: unknown; readonly name?: unknown } {
  const bytes = Buffer.from(plaintext.buffer, plaintext.byteOffset, plaintext.length);
  try {
    if (bytes.subarray(0, magic.length).equals(magic)) {
      const { raw } = fromBinary(UnknownSchema, bytes.subarray(magic.length));
      return fromBinary(OnlyMetadataSchema, raw).metadata ?? {};
    }
    const { metadata } = JSON.parse(bytes.toString("utf8")) as {
      readonly metadata?: Readonly<Record<string, unknown>>;
    };
    return metadata ?? {};
  } catch {
    return {};
  }
}
