/**
 * grpc.health.v1.Health on the socket, from the key status: what grpc_health_probe, grpcurl and the kubelet's
 * gRPC probes ask. Names the server as a whole (empty) and v2.KeyManagementService.
 */
import type { ServiceImpl } from "@connectrpc/connect";
import { Code, ConnectError } from "@connectrpc/connect";
import type { Health } from "../../../gen/grpc/health/v1/health_pb.ts";
import { HealthCheckResponse_ServingStatus as ServingStatus } from "../../../gen/grpc/health/v1/health_pb.ts";
import { KeyManagementService } from "../../../gen/kms/v2/api_pb.ts";
import type { KeyState, KeyStatus } from "../key/key-status.ts";

const services = new Set(["", KeyManagementService.typeName]);

/** Serving as long as Status says ok. */
function servingStatus(state: KeyState): ServingStatus {
  return state === "ok" || state === "grace" ? ServingStatus.SERVING : ServingStatus.NOT_SERVING;
}

/** Makes the service. @param draining ends every Watch */
export function createHealthService(status: KeyStatus, draining: AbortSignal): ServiceImpl<typeof Health> {
  return {
    check({ service }) {
      if (!services.has(service)) throw new ConnectError("unknown service", Code.NotFound);
      return { status: servingStatus(status.snapshot().state) };
    },

    async *watch({ service }, { signal }) {
      const ended = AbortSignal.any([signal, draining]);
      if (!services.has(service)) {
        yield { status: ServingStatus.SERVICE_UNKNOWN };
        await aborted(ended);
        return;
      }
      yield* servingStatuses(status, ended);
    },
  };
}

/** The status now, and again whenever it has changed; changes that were not read in time count as one. */
async function* servingStatuses(
  status: KeyStatus,
  ended: AbortSignal,
): AsyncGenerator<{ status: ServingStatus }> {
  let changed = Promise.withResolvers<void>();
  const stopListening = status.onState(() => {
    changed.resolve();
  });
  const end = aborted(ended);
  let last: ServingStatus | undefined;
  try {
    while (!ended.aborted) {
      const now = servingStatus(status.snapshot().state);
      if (now !== last) yield { status: now };
      last = now;
      await Promise.race([changed.promise, end]);
      changed = Promise.withResolvers<void>();
    }
  } finally {
    stopListening();
  }
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise((resolve) => {
    signal.addEventListener("abort", resolve, { once: true });
  });
}
