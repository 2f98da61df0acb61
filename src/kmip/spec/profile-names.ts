/**
 * Profile Name, KMIP 1.3 and 1.4: what Query Profiles answers. The table is regular but for 1.0 to 1.2,
 * so it is written as the specification's rows and expanded.
 */

/** Profiles defined for 1.0, 1.1 and 1.2 come as three values each, from 0x07 and from 0x2b on. */
const before13 = [
  "Tape Library Client",
  "Tape Library Server",
  "Symmetric Key Lifecycle Client",
  "Symmetric Key Lifecycle Server",
  "Asymmetric Key Lifecycle Client",
  "Asymmetric Key Lifecycle Server",
];
const before13Later = [
  "Opaque Managed Object Store Client",
  "Opaque Managed Object Store Server",
  "Suite B minLOS_128 Client",
  "Suite B minLOS_128 Server",
  "Suite B minLOS_192 Client",
  "Suite B minLOS_192 Server",
  "Storage Array with Self Encrypting Drive Client",
  "Storage Array with Self Encrypting Drive Server",
  "HTTPS Client",
  "HTTPS Server",
  "JSON Client",
  "JSON Server",
  "XML Client",
  "XML Server",
];
const baseline = [
  "Baseline Server Basic",
  "Baseline Server TLS v1.2",
  "Baseline Client Basic",
  "Baseline Client TLS v1.2",
  "Complete Server Basic",
  "Complete Server TLS v1.2",
];
const cryptographic = [
  "Basic Cryptographic Client",
  "Basic Cryptographic Server",
  "Advanced Cryptographic Client",
  "Advanced Cryptographic Server",
  "RNG Cryptographic Client",
  "RNG Cryptographic Server",
];
const foundryClients = [
  "Basic Symmetric Key Foundry Client",
  "Intermediate Symmetric Key Foundry Client",
  "Advanced Symmetric Key Foundry Client",
];
const foundryServer = ["Symmetric Key Foundry Server"];
const since13 = [
  ...baseline,
  ...before13,
  ...cryptographic,
  ...foundryClients,
  ...foundryServer,
  ...before13Later,
];

const inVersion = (names: readonly string[], version: string): string[] =>
  names.map((name) => `${name} KMIP v${version}`);
const inEachVersion = (names: readonly string[]): string[] =>
  names.flatMap((name) => ["1.0", "1.1", "1.2"].map((version) => `${name} KMIP v${version}`));

const inOrder = [
  ...inVersion(baseline, "1.2"),
  ...inEachVersion(before13),
  ...inVersion(cryptographic, "1.2"),
  ...["1.0", "1.1", "1.2"].flatMap((version) => inVersion(foundryClients, version)),
  ...inEachVersion(foundryServer),
  ...inEachVersion(before13Later),
  ...inVersion(since13, "1.3"),
  ...inVersion(since13, "1.4"),
];

/** Specification name by value, from 0x01 on. */
export const profileNames: ReadonlyMap<number, string> = new Map(
  inOrder.map((name, index) => [index + 1, name]),
);
