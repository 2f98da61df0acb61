/** The REST encryptor keeps the contract, over HTTP/2 and over HTTP/1.1. */
import { createEncryptor } from "../../src/encryptors/index.ts";
import { startDevKms } from "../devkms/devkms.ts";
import { contract } from "./contract.ts";
import { parseRestAddress } from "../../src/net/address.ts";

for (const http2 of [true, false])
  contract({
    name: `REST over ${http2 ? "HTTP/2" : "HTTP/1.1"}`,
    startKms: () => startDevKms({ kmip: false, rest: { http2, pageSize: 10 } }),
    createEncryptor: ({ restUrl, okmsId }, key) =>
      createEncryptor(
        { protocol: "rest", servers: [parseRestAddress(restUrl)], key, okmsId, kmipConnections: 8 },
        () => {},
      ),
    unknownId: "00000000-0000-4000-8000-000000000000",
  });
