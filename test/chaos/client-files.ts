/** The plugin's certificate files as Kubernetes mounts a Secret: a folder behind a link, swapped in one step. */
import { mkdir, rename, rm, symlink, writeFile } from "node:fs/promises";
import path from "node:path";
import { type Authority, type CertificateFiles, writeClientFiles } from "../devkms/certificates.ts";

/** See above. */
export interface ClientFiles {
  /** What the command line names; stays the same. */
  readonly paths: CertificateFiles;
  /** Puts a new, good set in place. */
  exchange(): Promise<void>;
  /** Puts a set in place whose key is not the certificate's. */
  exchangeForBad(): Promise<void>;
}

/** Makes the files, with a good set, in a folder that is to be removed by the caller. */
export async function createClientFiles(folder: string, authority: Authority): Promise<ClientFiles> {
  const link = path.join(folder, "..data");
  let version = 0;
  const put = async (isGood: boolean): Promise<void> => {
    version += 1;
    const name = `v${version}`;
    const written = await writeClientFiles(path.join(folder, name), authority);
    if (!isGood) {
      const { key } = await authority.issue({ commonName: "somebody else", client: true });
      await writeFile(written.key, key, { mode: 0o600 });
    }
    await symlink(name, `${link}.new`);
    await rename(`${link}.new`, link);
    await rm(path.join(folder, `v${version - 2}`), { recursive: true, force: true });
  };
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await put(true);
  const file = (name: string): string => path.join(link, `${name}.pem`);
  return {
    paths: { cert: file("cert"), key: file("key"), ca: file("ca") },
    exchange: () => put(true),
    exchangeForBad: () => put(false),
  };
}
