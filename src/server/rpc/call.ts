/**
 * What is known of one call while it runs: made when its headers are there, filled on the way through Connect,
 * told to log and metrics when it has been answered.
 */
import type { DescMethod } from "@bufbuild/protobuf";
import { Code, createContextKey } from "@connectrpc/connect";
import type { ContextKey } from "@connectrpc/connect";
import type { CallContext } from "../../encryptors/encryptor.ts";
import type { Budget } from "./deadline.ts";
import { startBudget } from "./deadline.ts";

/** The outcome of a call by gRPC's own names, as grpc-go writes them: `OK`, `InvalidArgument`. */
export type CodeName = "OK" | keyof typeof Code;

/** One call, from its headers to its answer. */
export interface Call {
  readonly method: DescMethod;
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

/** Where Connect's context holds the call. */
export const callKey: ContextKey<Call | undefined> = createContextKey<Call | undefined>(undefined, {
  description: "call",
});

/** Begins a call; its budget is the least of `limitsMs`. */
export function beginCall(method: DescMethod, ...limitsMs: readonly (number | undefined)[]): Call {
  return { method, budget: startBudget(...limitsMs), startedAt: performance.now() };
}

/** What bounds the call, as an encryptor wants it. */
export function contextOf(call: Call): CallContext {
  const { signal, deadline } = call.budget;
  return call.uid === undefined ? { signal, deadline } : { signal, deadline, uid: call.uid };
}

/** The name of a gRPC code. */
export function codeName(code: Code): CodeName {
  return Code[code] as keyof typeof Code;
}

const maxUidLength = 64;

/** A uid fit for a line of the log: kube-apiserver's UUIDs unchanged, anything else cut and made printable. */
export function printableUid(uid: string): string {
  return uid.slice(0, maxUidLength).replaceAll(/[^\w.:-]/g, "?");
}
