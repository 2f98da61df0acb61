/** Without --ca the system's own roots count, whatever the protocol: told to a process of its own by SSL_CERT_FILE. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { parseKmipAddress, parseRestAddress } from "../../src/net/address.ts";
import { createAuthority } from "../devkms/certificates.ts";
import { startDevKms } from "../devkms/devkms.ts";

const run = promisify(execFile);

/** Resolves the key once, and prints its identifier or why that failed. */
const program = `
  import { createEncryptor } from "./src/encryptors/index.ts";
  import { loadTlsMaterial } from "./src/net/tls.ts";
  const { config, files } = JSON.parse(process.env.TEST_OPTIONS);
  const encryptor = await createEncryptor(config, () => {});
  encryptor.setTlsMaterial(await loadTlsMaterial(files));
  const signal = AbortSignal.timeout(5000);
  const outcome = await encryptor.resolveKey({ signal, deadline: performance.now() + 5000 }).then(
    ({ keyId }) => keyId,
    ({ code, message }) => code + ": " + message,
  );
  await encryptor.close();
  console.log(outcome);
`;

for (const protocol of ["kmip", "rest"] as const)
  test(`Without --ca a server of an authority that the system trusts is trusted over ${protocol}, and no other`, async (t) => {
    const kms = await startDevKms();
    t.after(() => kms.close());
    const key = kms.keys.create({ name: "kek" });
    const resolveTrusting = async (roots: string): Promise<string> => {
      const { cert, key: privateKey } = kms.clientFiles;
      const servers = [
        protocol === "kmip" ? parseKmipAddress(kms.kmipAddress) : parseRestAddress(kms.restUrl),
      ];
      const config = { protocol, servers, key: { id: key.id }, okmsId: kms.okmsId, kmipConnections: 1 };
      const options = JSON.stringify({ config, files: { cert, key: privateKey } });
      const { stdout } = await run(process.execPath, ["--input-type=module", "--eval", program], {
        cwd: path.join(import.meta.dirname, "../.."),
        env: { ...process.env, SSL_CERT_FILE: roots, SSL_CERT_DIR: kms.folder, TEST_OPTIONS: options },
      });
      return stdout.trim();
    };
    assert.equal(await resolveTrusting(kms.clientFiles.ca), key.id);
    const other = await createAuthority({ name: "another" });
    const file = path.join(kms.folder, "another.pem");
    await writeFile(file, other.caPem);
    assert.match(await resolveTrusting(file), /^TLS: .*--ca/);
  });
