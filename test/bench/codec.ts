/** How many Encrypt messages a second the KMIP codec makes and reads: as items, and with the grammar on top. */
import { do_not_optimize } from "mitata";
import { decodeItem, encodeItem } from "../../src/kmip/index.ts";
import { decodeRequest, encodeRequest, type RequestMessage } from "../../src/kmip/messages.ts";
import { encryptOperation } from "../../src/kmip/operations/encrypt.ts";
import { BlockCipherMode, CryptographicAlgorithm, Operation } from "../../src/kmip/spec/enumerations.ts";
import { heading, table, whole } from "./report.ts";

const version = { major: 1, minor: 4 };

/** An Encrypt of 32 bytes as the plugin sends it. */
function encryptMessage(): RequestMessage {
  const payload = encryptOperation.request.encodeItems(
    {
      uniqueIdentifier: "00000000-0000-4000-8000-000000000000",
      cryptographicParameters: {
        blockCipherMode: BlockCipherMode.GCM,
        cryptographicAlgorithm: CryptographicAlgorithm.AES,
        tagLength: 16,
        ivLength: 12,
      },
      data: new Uint8Array(32),
      ivCounterNonce: new Uint8Array(12),
    },
    version,
  );
  return { version, items: [{ operation: Operation.Encrypt, payload }] };
}

/** Calls of `run` a second: the best of three seconds after a warm-up. */
function perSecond(run: () => unknown): number {
  const spin = (durationMs: number): number => {
    const began = performance.now();
    let count = 0;
    for (; performance.now() < began + durationMs; count += 100)
      for (let i = 0; i < 100; i += 1) do_not_optimize(run());
    return (count / (performance.now() - began)) * 1000;
  };
  spin(300);
  return Math.max(spin(1000), spin(1000), spin(1000));
}

/** Section `codec`. */
export function benchCodec(): void {
  const bytes = encodeRequest(encryptMessage());
  const item = decodeItem(bytes);
  heading(`The codec: an Encrypt request of ${bytes.length} bytes`);
  table(
    ["what", "messages/s"],
    [
      ["items to bytes (encodeItem)", whole(perSecond(() => encodeItem(item)))],
      ["bytes to items (decodeItem)", whole(perSecond(() => decodeItem(bytes)))],
      ["fields to bytes (encodeRequest)", whole(perSecond(() => encodeRequest(encryptMessage())))],
      [
        "bytes to fields (decodeRequest)",
        whole(
          perSecond(() => {
            const [first] = decodeRequest(bytes).items;
            return encryptOperation.request.decodeItems(first?.payload ?? [], "");
          }),
        ),
      ],
    ],
  );
}
