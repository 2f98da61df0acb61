/** What kube-apiserver's own metrics say of the plugin; they begin anew at each of its starts. */
import { keyIdHash } from "../../src/text/key-id-hash.ts";
import type { ApiServer } from "../apiserver/server.ts";

const prefix = "apiserver_envelope_encryption_";

/** Whether a Status since its start has named the key. */
export async function knowsKey(api: ApiServer, keyId: string): Promise<boolean> {
  const lines = await linesOf(api, `${prefix}key_id_hash_status_last_timestamp_seconds{`);
  return lines.some((line) => line.includes(keyIdHash(keyId)));
}

/** Calls since its start that were not answered with OK, each as `Decrypt Unavailable: 2`. @throws Error where it has no calls at all */
export async function failedCalls(api: ApiServer): Promise<string[]> {
  const lines = await linesOf(api, `${prefix}kms_operations_latency_seconds_count{`);
  if (lines.length === 0) throw new Error("kube-apiserver's metrics tell of no call to the plugin");
  return lines.flatMap((line) => {
    const code = /grpc_status_code="([^"]*)"/.exec(line)?.[1];
    const method = /method_name="[^"]*?(\w+)"/.exec(line)?.[1];
    return code === "OK" ? [] : [`${method ?? line} ${code ?? ""}: ${line.split(" ").at(-1) ?? ""}`];
  });
}

async function linesOf(api: ApiServer, begin: string): Promise<string[]> {
  const { status, text } = await api.request("GET", "/metrics");
  if (status !== 200) throw new Error(`kube-apiserver's metrics: ${status}`);
  return text.split("\n").filter((line) => line.startsWith(begin));
}
