/** What is known of one call while it runs: from its headers to its answer, then reported to log and metrics. */
import { Code } from "@connectrpc/connect";
import type { CallContext } from "../../encryptors/encryptor.ts";
import type { CallSlot } from "./admission.ts";
import { type Budget, settleWithin, startBudget } from "./deadline.ts";
import { causeForLog, toCallError } from "./errors.ts";
import type { Method } from "./methods.ts";

/** The outcome of a call by gRPC's own names, as grpc-go writes them: `OK`, `InvalidArgument`. */
export type CodeName = "OK" | keyof typeof Code;

/** One call, from its headers to its answer. */
export interface Call {
  readonly method: Method;
  readonly slot: CallSlot;
  readonly budget: Budget;
  /** `performance.now()` at its headers. */
  readonly startedAt: number;
  /** The apiserver's uid of the call, made printable. */
  uid?: string;
  /** The key that it was about. */
  keyId?: string;
  /** How it ended; undefined where Connect answered it before a handler saw it. */
  code?: CodeName;
  /** Why it failed, for the log. */
  error?: unknown;
}

/** What is reported of a call. */
export type EndedCall = Pick<Call, "method" | "startedAt" | "uid" | "keyId" | "error">;

/** Begins a call; its budget is the least of `limitsMs`. */
export function beginCall(
  method: Method,
  slot: CallSlot,
  ...limitsMs: readonly (number | undefined)[]
): Call {
  return { method, slot, budget: startBudget(...limitsMs), startedAt: performance.now() };
}

/** What bounds the call, in the form that an encryptor takes. */
export function contextOf(call: Call): CallContext {
  const { signal, deadline } = call.budget;
  return call.uid === undefined ? { signal, deadline } : { signal, deadline, uid: call.uid };
}

/**
 * Runs a call's handler within its slot and its budget, whatever the handler does, and notes how it ended.
 * @throws CallError what the caller may see
 */
export async function runCall<T>(call: Call, request: object, handle: () => Promise<T>): Promise<T> {
  noteUid(call, request);
  const usesKms = call.method.isKms && call.method.name !== "Status";
  try {
    // The others answer from memory: under an overload the API server must not take the key for lost.
    if (usesKms) call.slot.enterKms();
    try {
      const result = await settleWithin(handle(), call.budget.signal);
      call.code = "OK";
      return result;
    } finally {
      if (usesKms) call.slot.leaveKms();
    }
  } catch (error) {
    const reply = toCallError(error);
    call.error = causeForLog(error);
    call.code = codeName(reply.code);
    throw reply;
  }
}

/** The name of a gRPC code; 0 is OK. */
export function codeName(code: number): CodeName {
  return code === 0 ? "OK" : ((Code[code] as keyof typeof Code | undefined) ?? "Unknown");
}

const maxUidLength = 64;

/** kube-apiserver's UUIDs unchanged, anything else cut and made printable. */
function noteUid(call: Call, request: object): void {
  if ("uid" in request && typeof request.uid === "string" && request.uid !== "")
    call.uid = request.uid.slice(0, maxUidLength).replaceAll(/[^\w.:-]/g, "?");
}
