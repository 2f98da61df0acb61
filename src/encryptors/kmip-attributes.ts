/** Reads the attributes of a key from a KMIP server by Get Attributes (KMIP 1.4 section 4.12). Never asks for key material. */
import { KmipResultError, ProviderError } from "../errors.ts";
import {
  type Attribute,
  attributeValue,
  call,
  type CallContext,
  getAttributesOperation,
  type KmipClient,
  State,
} from "../kmip/index.ts";
import { asKeyFailure } from "./kmip-failures.ts";

/** What is asked of a key. */
const attributeNames = [
  "Unique Identifier",
  "Name",
  "Object Type",
  "Cryptographic Algorithm",
  "Cryptographic Length",
  "Cryptographic Usage Mask",
  "State",
  "Process Start Date",
  "Protect Stop Date",
  "Deactivation Date",
] as const;

/** A key, with what the server reports of it. */
export interface FoundKey {
  readonly keyId: string;
  readonly attributes: readonly Attribute[];
}

/**
 * Get Attributes, by name; or without names where the server refuses that, since one of them is unset, unknown to it, or
 * not to be shown to this client. Servers do so with any Result Reason.
 * @throws KEY_* for what a refusal means.
 */
export async function readAttributes(
  client: KmipClient,
  keyId: string,
  context: CallContext,
): Promise<FoundKey> {
  try {
    return await ask(client, keyId, false, context);
  } catch (refused) {
    if (!(refused instanceof KmipResultError)) throw refused;
    return ask(client, keyId, true, context).catch((error: unknown) => {
      throw asKeyFailure(error instanceof KmipResultError ? refused : error, keyId);
    });
  }
}

/** As the server is known to take it, or the other way. What works is kept in the record of the server. */
async function ask(
  client: KmipClient,
  keyId: string,
  isOtherWay: boolean,
  context: CallContext,
): Promise<FoundKey> {
  const { uniqueIdentifier, attributes } = await client.send((_version, learned) => {
    const byName = (learned.get("attributes") !== "unnamed") !== isOtherWay;
    const request = { uniqueIdentifier: keyId, attributeNames: byName ? attributeNames : [] };
    return {
      calls: [call(getAttributesOperation, request)],
      read: (reply) => {
        const found = reply.payload(0, getAttributesOperation);
        if (isOtherWay) learned.set("attributes", byName ? "by name" : "unnamed");
        return found;
      },
    };
  }, context);
  if (uniqueIdentifier.toLowerCase() !== keyId.toLowerCase())
    throw new ProviderError(
      "KMIP_UNEXPECTED",
      `Get Attributes was asked of key ${keyId} and answered by key ${uniqueIdentifier}`,
    );
  return { keyId: uniqueIdentifier, attributes };
}

/** A server that reports no state may have only keys that can be used. */
export function stateOf(attributes: readonly Attribute[]): number {
  return attributeValue(attributes, "State") ?? State.Active;
}
