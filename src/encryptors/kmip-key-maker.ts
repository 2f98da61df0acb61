/**
 * Makes a key in a KMIP server for `init`: AES 256, for Encrypt and Decrypt alone, that never leaves the server. Create and
 * Activate: KMIP 1.4 sections 4.1 and 4.19; Sensitive and Extractable (sections 3.45, 3.47) exist from 1.4 on.
 */
import {
  activateOperation,
  attribute,
  type CallContext,
  call,
  createKmipClient,
  createOperation,
  CryptographicAlgorithm,
  CryptographicUsageMask,
  destroyOperation,
  isAtLeast,
  NameType,
  ObjectType,
  parseVersion,
  type ProtocolVersion,
  type ServerAddress,
  type TlsMaterial,
} from "../kmip/index.ts";
import { credentialHeader, type KmipCredential } from "./kmip-credential.ts";

/** A key just made. */
export interface MadeKey {
  readonly keyId: string;
  /** Whether the server was told that the key may not leave it; false: its KMIP version has no word for that. */
  readonly staysInside: boolean;
}

/** Makes keys, and takes back what it made. Each call throws what the server refuses as KMIP_RESULT. */
export interface KmipKeyMaker {
  /** A key in the state Pre-Active. @param label its Name; undefined: none */
  create(label: string | undefined, context: CallContext): Promise<MadeKey>;
  activate(keyId: string, context: CallContext): Promise<void>;
  /** Only of a key that was never active. */
  destroy(keyId: string, context: CallContext): Promise<void>;
  close(): Promise<void>;
}

/** Where keys are made, and by whom. */
export interface KmipKeyMakerOptions {
  readonly servers: readonly ServerAddress[];
  readonly kmipCredential?: KmipCredential | undefined;
}

/** Connects at the first call. */
export function createKmipKeyMaker(
  { servers, kmipCredential }: KmipKeyMakerOptions,
  material: TlsMaterial,
): KmipKeyMaker {
  const client = createKmipClient({ servers, header: () => credentialHeader(kmipCredential) });
  client.setTlsMaterial(material);
  const change = async (
    operation: typeof activateOperation | typeof destroyOperation,
    uniqueIdentifier: string,
    context: CallContext,
  ): Promise<void> => {
    const calls = [call(operation, { uniqueIdentifier })];
    await client.send(() => ({ calls, read: (reply) => reply.payload(0, operation) }), context);
  };
  return {
    create: (label, context) =>
      client.send(
        (version) => ({
          calls: [
            call(createOperation, {
              objectType: ObjectType.SymmetricKey,
              templateAttribute: { names: [], attributes: attributesOf(label, version) },
            }),
          ],
          read: (reply) => ({
            keyId: reply.payload(0, createOperation).uniqueIdentifier,
            staysInside: isAtLeast(version, sensitiveSince),
          }),
        }),
        context,
      ),
    activate: (keyId, context) => change(activateOperation, keyId, context),
    destroy: (keyId, context) => change(destroyOperation, keyId, context),
    close: () => client.close(),
  };
}

const sensitiveSince = parseVersion("1.4");
const lengthBits = 256;

function attributesOf(label: string | undefined, version: ProtocolVersion) {
  const usage = CryptographicUsageMask.Encrypt | CryptographicUsageMask.Decrypt;
  const name =
    label === undefined
      ? []
      : [attribute("Name", { value: label, type: NameType.UninterpretedTextString }, version)];
  const protection = isAtLeast(version, sensitiveSince)
    ? [attribute("Sensitive", true, version), attribute("Extractable", false, version)]
    : [];
  return [
    attribute("Cryptographic Algorithm", CryptographicAlgorithm.AES, version),
    attribute("Cryptographic Length", lengthBits, version),
    attribute("Cryptographic Usage Mask", usage, version),
    ...name,
    ...protection,
  ];
}
