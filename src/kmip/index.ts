/**
 * The KMIP stack, usable on its own: codec, tables, messages, operations, client. KMIP 1.0 to 1.4, TTLV over TLS.
 * The layers are client → pool → connection → messages, operations → ttlv, spec.
 */
export {
  type ErrorCode,
  KmipResultError,
  NetworkError,
  ProviderError,
  TimeoutError,
  TtlvError,
} from "../errors.ts";
export { kmipPort, parseKmipAddress, type ServerAddress } from "../net/address.ts";
export { loadTlsMaterial, type TlsFiles, type TlsMaterial } from "../net/tls.ts";
export {
  attribute,
  type Attribute,
  type AttributeName,
  attributeValue,
  type AttributeValue,
  attributeValues,
  customAttribute,
} from "./attributes.ts";
export {
  call,
  type Call,
  createRequest,
  failureItem,
  payloadOf,
  type RequestOptions,
  successItem,
} from "./batch.ts";
export {
  createKmipClient,
  type Exchange,
  type KmipClient,
  type KmipClientOptions,
  type Reply,
} from "./client.ts";
export type {
  ConnectionCounts,
  ConnectionEvent,
  EndpointEvent,
  ExchangeEvent,
  KmsEvent,
  MessageEvent,
  Observer,
} from "../upstream/events.ts";
export {
  decodeRequest,
  decodeResponse,
  encodeRequest,
  encodeResponse,
  type RequestItem,
  type RequestMessage,
  type ResponseItem,
  type ResponseMessage,
} from "./messages.ts";
export * from "./operations/index.ts";
export * from "./spec/enumerations.ts";
export { Tag, tagByName, tagName } from "./spec/tags.ts";
export type { CallContext } from "../upstream/context.ts";
export { dumpItem, type DumpOptions } from "./ttlv/dump.ts";
export { createFramer, type Framer, type FramerOptions } from "./ttlv/framer.ts";
export { type Item, ItemType, type StructureItem } from "./ttlv/item.ts";
export type { TtlvLimits } from "./ttlv/limits.ts";
export { decodeItem } from "./ttlv/reader.ts";
export { encodeItem } from "./ttlv/writer.ts";
export {
  compareVersions,
  formatVersion,
  isAtLeast,
  parseVersion,
  type ProtocolVersion,
  supportedVersions,
  type VersionText,
} from "./version.ts";
