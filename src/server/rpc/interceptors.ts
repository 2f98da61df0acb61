/**
 * The one interceptor around every handler: takes a place for the call or refuses it, holds the call to its
 * budget whatever the handler does, and turns whatever is thrown into what a caller may see.
 */
import type { Interceptor } from "@connectrpc/connect";
import { ConnectError } from "@connectrpc/connect";
import { KeyManagementService } from "../../../gen/kms/v2/api_pb.ts";
import { ProviderError } from "../../errors.ts";
import type { Call } from "./call.ts";
import { callKey, codeName, printableUid } from "./call.ts";
import { settleWithin } from "./deadline.ts";
import { toConnectError } from "./errors.ts";
import { KeyUnavailableError } from "../key/key-failure.ts";

/** How many calls are inside, and at most. */
export interface Places {
  /** Takes a place. @throws OVERLOADED where there is none */
  take(): void;
  give(): void;
  taken(): number;
}

/** Makes `max` places. `onChange` hears of each that is taken (1) or given back (-1). */
export function createPlaces(max: number, onChange: (delta: 1 | -1) => void): Places {
  let taken = 0;
  return {
    take() {
      if (taken >= max) throw new ProviderError("OVERLOADED", `more than ${max} calls at once`);
      taken += 1;
      onChange(1);
    },
    give() {
      taken -= 1;
      onChange(-1);
    },
    taken: () => taken,
  };
}

/** Makes the interceptor. */
export function createCallInterceptor(places: Places): Interceptor {
  return (next) => async (request) => {
    const call = request.contextValues.get(callKey);
    if (call === undefined) return await next(request);
    if (!request.stream) noteUid(call, request.message);
    const takesPlace = needsKms(call);
    try {
      if (takesPlace) places.take();
    } catch (error) {
      throw failed(call, error);
    }
    try {
      const response = await settleWithin(next(request), call.budget.signal);
      call.code = "OK";
      return response;
    } catch (error) {
      throw failed(call, error);
    } finally {
      if (takesPlace) places.give();
    }
  };
}

/**
 * Whether a call goes to the KMS. The others answer from memory and take no place: an overload must not make
 * the API server believe that the key is gone.
 */
function needsKms(call: Call): boolean {
  return call.method.parent === KeyManagementService && call.method.name !== "Status";
}

function noteUid(call: Call, message: object): void {
  if ("uid" in message && typeof message.uid === "string" && message.uid !== "") {
    call.uid = printableUid(message.uid);
  }
}

/** Keeps the cause for the log, and gives back what the caller sees. */
function failed(call: Call, error: unknown): ConnectError {
  const reply = toConnectError(error);
  call.error = causeForLog(error);
  call.code = codeName(reply.code);
  return reply;
}

/** What says most of a failure: without the wrapping that is for callers, whose stack would tell of no fault. */
function causeForLog(error: unknown): unknown {
  if (error instanceof KeyUnavailableError) return error.failure;
  return error instanceof ConnectError ? (error.cause ?? error) : error;
}
