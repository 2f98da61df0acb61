/** The KMIP encryptor keeps the contract, with the tag in its own field (1.4) and at the end of the data (1.2). */
import { createEncryptor } from "../../src/encryptors/index.ts";
import { startDevKms } from "../devkms/devkms.ts";
import { contract } from "./contract.ts";
import { parseKmipAddress } from "../../src/net/address.ts";

for (const maxVersion of ["1.4", "1.2"] as const)
  contract({
    name: `KMIP ${maxVersion}`,
    startKms: () => startDevKms({ kmip: { maxVersion }, rest: false }),
    createEncryptor: ({ kmipAddress }, key) =>
      createEncryptor(
        {
          protocol: "kmip",
          servers: [parseKmipAddress(kmipAddress)],
          key,
          okmsId: undefined,
          kmipConnections: 4,
        },
        () => {},
      ),
    unknownId: "00000000-0000-4000-8000-000000000000",
  });
