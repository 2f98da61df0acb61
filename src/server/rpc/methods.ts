/** The methods of all services by their paths: what admission, deadlines and the log need to know of them without a descriptor. */

/** A method of a service. */
export interface Method {
  readonly name: string;
  /** Whether it lives as long as its caller wants: the caller or the server sends several messages. */
  readonly isStream: boolean;
  /** Whether it is one of KMS v2's. */
  readonly isKms: boolean;
}

const kms = { isStream: false, isKms: true };
const reflection = { name: "ServerReflectionInfo", isStream: true, isKms: false };

/** By path, as `/v2.KeyManagementService/Status`. */
export const methods: ReadonlyMap<string, Method> = new Map([
  ["/v2.KeyManagementService/Status", { name: "Status", ...kms }],
  ["/v2.KeyManagementService/Encrypt", { name: "Encrypt", ...kms }],
  ["/v2.KeyManagementService/Decrypt", { name: "Decrypt", ...kms }],
  ["/grpc.health.v1.Health/Check", { name: "Check", isStream: false, isKms: false }],
  ["/grpc.health.v1.Health/Watch", { name: "Watch", isStream: true, isKms: false }],
  ["/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", reflection],
  ["/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", reflection],
]);
