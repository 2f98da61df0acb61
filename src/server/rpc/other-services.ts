/**
 * What the fast path leaves over, and Health and reflection, on Connect's handlers. Loaded when one of them is first asked
 * for: kube-apiserver asks for none, and with protobuf-es' descriptors they cost 2 MiB and a fifth of the start.
 */
import { Health } from "../../../gen/grpc/health/v1/health_pb.ts";
import { ServerReflection } from "../../../gen/grpc/reflection/v1/reflection_pb.ts";
import { ServerReflection as ServerReflectionAlpha } from "../../../gen/grpc/reflection/v1alpha/reflection_pb.ts";
import { KeyManagementService } from "../../../gen/kms/v2/api_pb.ts";
import type { KeyStatus } from "../key/key-status.ts";
import { createConnectHandler, type ConnectRequest } from "./connect.ts";
import { createHealthService } from "./health.ts";
import type { KmsService } from "./kms-service.ts";
import { createReflectionServices } from "./reflection.ts";

/** Every service of the socket. */
export const services = [KeyManagementService, Health, ServerReflection, ServerReflectionAlpha] as const;

/** What the services are made from. */
export interface OtherServicesOptions {
  readonly kms: KmsService;
  readonly status: KeyStatus;
  /** Ends every stream. */
  readonly draining: AbortSignal;
}

/** Makes what answers the requests of all services. */
export function createOtherServices(options: OtherServicesOptions): (request: ConnectRequest) => void {
  const { kms, status, draining } = options;
  const reflection = createReflectionServices(services, draining);
  return createConnectHandler(kms, (router) =>
    router
      .service(Health, createHealthService(status, draining))
      .service(ServerReflection, reflection.v1)
      .service(ServerReflectionAlpha, reflection.v1alpha),
  );
}
