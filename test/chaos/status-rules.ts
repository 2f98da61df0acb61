/**
 * What Status must say during a fault, and by when; and the judge. Every Status that began while the fault lasted
 * is looked at: before the limit it may still say what it said before, from then on only what it must.
 */
import { Code } from "@connectrpc/connect";
import type { StatusSeen } from "./messages.ts";
import { graceMs } from "./world.ts";

/** What Status must say. */
export type StatusRule =
  /** Ok with the key of before, at every moment. */
  | { readonly must: "stay ok" }
  /** Ok at every moment, with the key that the label leads to now from the limit on. */
  | { readonly must: "name the new key" }
  /** Fail with one of these gRPC codes from the limit on: nothing may be written under this key. */
  | { readonly must: "fail"; readonly codes: readonly Code[] }
  /** A healthz that says what is wrong, with the key of before; not before the grace is over. */
  | { readonly must: "say what is wrong" };

/** After every change of state Status must be right within this, in ms. */
export const statusLimitMs = 5000;

/** By when, counted from the beginning of the fault, in ms. */
export function limitOf(rule: StatusRule): number {
  return rule.must === "say what is wrong" ? graceMs + statusLimitMs : statusLimitMs;
}

/** A rule as a cell of the table that a run prints. */
export function ruleText(rule: StatusRule): readonly [says: string, when: string] {
  switch (rule.must) {
    case "stay ok":
      return ["ok, same key_id", "always"];
    case "name the new key":
      return ["ok; the new key_id", `≤ ${statusLimitMs / 1000} s`];
    case "fail":
      return [
        `gRPC ${rule.codes.map((code) => Code[code]).join(" or ")}`,
        `≤ ${statusLimitMs / 1000} s, and ok ≤ 5 s after`,
      ];
    case "say what is wrong":
      return [
        "healthz says what is wrong, same key_id",
        `grace after the last good probe + ≤ 5 s, and ok ≤ 5 s after`,
      ];
  }
}

/** Whether a Status says what it must while the fault lasts. */
export function isRight(rule: StatusRule, status: StatusSeen, keys: Keys): boolean {
  switch (rule.must) {
    case "stay ok":
      return isOk(status, keys.before);
    case "name the new key":
      return isOk(status, keys.now);
    case "fail":
      return status.code !== undefined && rule.codes.includes(status.code);
    case "say what is wrong":
      return status.healthz !== undefined && status.healthz !== "" && status.keyId === keys.before;
  }
}

/** The key that was the current one before the fault, and the one that should be now. */
export interface Keys {
  readonly before: string;
  readonly now: string;
}

/** All is well, with this key. */
export function isOk(status: StatusSeen, keyId: string): boolean {
  return status.code === undefined && status.healthz === undefined && status.keyId === keyId;
}

/** The first Status that must not have been, in words; undefined where all were right. */
export function wrongStatus(
  rule: StatusRule,
  during: readonly StatusSeen[],
  from: number,
  keys: Keys,
): string | undefined {
  const limit = from + (rule.must === "stay ok" ? 0 : limitOf(rule));
  const firstRight = during.find((status) => isRight(rule, status, keys))?.startedAt ?? Infinity;
  for (const status of during) {
    if (isRight(rule, status, keys) && !isTooSoon(rule, status)) continue;
    const mayBeAsBefore = status.startedAt <= Math.min(limit, firstRight);
    if (mayBeAsBefore && isOk(status, keys.before)) continue;
    return `Status said ${said(status)} ${Math.round(status.startedAt - from)} ms after the fault began`;
  }
  return undefined;
}

/** The grace counts from the last good probe, which may have been long before a fault that another preceded. */
function isTooSoon(rule: StatusRule, { sinceGoodMs = 0 }: StatusSeen): boolean {
  return rule.must === "say what is wrong" && sinceGoodMs < graceMs;
}

/** What a Status said, in a few words. */
function said({ code, healthz, keyId }: StatusSeen): string {
  if (code !== undefined) return `gRPC ${Code[code]}`;
  return healthz === undefined ? `ok with key_id ${keyId}` : `"${healthz}"`;
}
