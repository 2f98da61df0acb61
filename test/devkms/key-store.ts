/**
 * The keys of the embedded KMS: one store under both of its faces, so that what KMIP creates REST can use.
 * In memory, or in a folder, one file a key, so that a second start still decrypts. States and what follows from
 * them as in KMIP 1.4, section 3.22. Leaves out who owns a key: every client of this KMS may use every key.
 */
import { createSecretKey, type KeyObject, randomBytes, randomUUID } from "node:crypto";
import { chmodSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";

/** The states of a key, by their KMIP names (section 9.1.3.2.18, without Destroyed Compromised). */
export type KeyState = "PreActive" | "Active" | "Deactivated" | "Compromised" | "Destroyed";

/** The algorithms that a key may say it is of. Only AES keys encrypt; the others are there to be refused. */
export type KeyAlgorithm = "AES" | "3DES" | "RSA" | "HMAC_SHA256";

/** The KMIP object types that a stored key may say it is of. */
export type KeyObjectType = "SymmetricKey" | "SecretData" | "PublicKey" | "PrivateKey";

/** What a key may be used for. */
export type KeyUsage = "Encrypt" | "Decrypt";

/** Dates that bound the use of a key (KMIP 1.4 sections 3.24 to 3.27): held to by the KMIP face. */
export interface KeyDates {
  readonly processStart?: Date;
  readonly protectStop?: Date;
  readonly deactivation?: Date;
}

/** A key. Read it anew after a change: {@link KeyStore.update} puts another object in its place. */
export interface StoredKey {
  /** UUID: Unique Identifier in KMIP, service key id in REST. */
  readonly id: string;
  /** KMIP's Name attributes; the first is REST's `name`. Two keys may have the same. */
  readonly names: readonly string[];
  readonly algorithm: KeyAlgorithm;
  readonly objectType: KeyObjectType;
  readonly lengthBits: number;
  readonly usage: readonly KeyUsage[];
  readonly state: KeyState;
  /** The key itself; zeros once destroyed. Not enumerable, so that no dump or assertion prints it. */
  readonly material: Buffer;
  /** The same, as node:crypto takes it fastest; not enumerable either. */
  readonly secret: KeyObject;
  readonly createdAt: Date;
  /** When the key came into each state that it has been in. */
  readonly stateDates: Readonly<Partial<Record<KeyState, Date>>>;
  /** When its use begins and ends, where that is set. */
  readonly dates: KeyDates;
  /** Other attributes of a KMIP client's choosing: attribute name to the hexadecimal TTLV of its values. */
  readonly attributes: Readonly<Record<string, readonly string[]>>;
}

/** What a new key is to be. */
export interface NewKey {
  /** Its first name. Default: none. */
  readonly name?: string;
  /** Default: 256. */
  readonly lengthBits?: number;
  /** Default: both. */
  readonly usage?: readonly KeyUsage[];
  /** Default: Active. */
  readonly state?: KeyState;
  /** Default: AES. */
  readonly algorithm?: KeyAlgorithm;
  /** Default: SymmetricKey. */
  readonly objectType?: KeyObjectType;
  /** Default: none. */
  readonly dates?: KeyDates;
}

/** What may change in a key. */
export type KeyChange = Partial<Pick<StoredKey, "names" | "state" | "usage" | "attributes" | "dates">>;

/** The keys. Everything is synchronous: when a method returns, the folder holds what it did. */
export interface KeyStore {
  create(key?: NewKey): StoredKey;
  get(id: string): StoredKey | undefined;
  /** All keys, the oldest first. */
  list(): StoredKey[];
  /** Keys of which one name is exactly `name`, whatever their state; the oldest first. */
  byName(name: string): StoredKey[];
  /**
   * Changes a key. To Destroyed, it wipes the material too.
   * @throws Error where there is no such key
   */
  update(id: string, change: KeyChange): StoredKey;
  /**
   * Puts other bytes in a key's place, under its identifier, as a restored backup or an in-place Re-key does: random
   * ones, or `material`.
   * @returns the former bytes, with which a second call undoes it
   */
  exchangeMaterial(id: string, material?: Buffer): Buffer;
  /** Forgets a key altogether. */
  remove(id: string): void;
}

interface KeyRecord extends Omit<StoredKey, "material" | "secret" | "createdAt" | "stateDates" | "dates"> {
  readonly dates?: Readonly<Record<string, string>>;
  readonly createdAt: string;
  readonly stateDates: Readonly<Partial<Record<KeyState, string>>>;
  readonly materialHex: string;
}

function withMaterial(key: Omit<StoredKey, "material" | "secret">, material: Buffer): StoredKey {
  return Object.defineProperties(
    { ...key },
    { material: { value: material }, secret: { value: createSecretKey(material) } },
  ) as StoredKey;
}

function toRecord(key: StoredKey): KeyRecord {
  const dates = Object.entries(key.stateDates).map(([state, date]) => [state, date.toISOString()]);
  return {
    ...key,
    createdAt: key.createdAt.toISOString(),
    stateDates: Object.fromEntries(dates) as KeyRecord["stateDates"],
    dates: Object.fromEntries(
      Object.entries(key.dates as Record<string, Date>).map(([name, date]) => [name, date.toISOString()]),
    ),
    materialHex: key.material.toString("hex"),
  };
}

function fromRecord({ materialHex, ...record }: KeyRecord): StoredKey {
  const dates = Object.entries(record.stateDates).map(([state, date]) => [state, new Date(date)]);
  const key = {
    ...record,
    createdAt: new Date(record.createdAt),
    stateDates: Object.fromEntries(dates) as StoredKey["stateDates"],
    dates: Object.fromEntries(
      Object.entries(record.dates ?? {}).map(([name, date]) => [name, new Date(date)]),
    ) as KeyDates,
  };
  return withMaterial(key, Buffer.from(materialHex, "hex"));
}

/** Written aside and renamed: a run that is interrupted leaves no half of a key. */
function writeKey(folder: string, key: StoredKey): void {
  const file = path.join(folder, `${key.id}.json`);
  writeFileSync(`${file}.new`, JSON.stringify(toRecord(key)), { mode: 0o600 });
  renameSync(`${file}.new`, file);
}

function readKeys(folder: string): StoredKey[] {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  chmodSync(folder, 0o700);
  const files = readdirSync(folder).filter((name) => name.endsWith(".json"));
  return files
    .map((name) => fromRecord(JSON.parse(readFileSync(path.join(folder, name), "utf8")) as KeyRecord))
    .toSorted((a, b) => a.createdAt.getTime() - b.createdAt.getTime());
}

/**
 * Opens the keys in `folder`, made with mode 0700 where missing, its files with 0600. Without a folder they
 * live as long as the store.
 */
export function openKeyStore(folder?: string): KeyStore {
  const keys = new Map<string, StoredKey>();
  if (folder !== undefined) for (const key of readKeys(folder)) keys.set(key.id, key);

  const put = (key: StoredKey): StoredKey => {
    keys.set(key.id, key);
    if (folder !== undefined) writeKey(folder, key);
    return key;
  };

  return {
    create(options = {}) {
      const { name, lengthBits = 256, usage = ["Encrypt", "Decrypt"], state = "Active" } = options;
      const { algorithm = "AES", objectType = "SymmetricKey" } = options;
      const createdAt = new Date();
      const facts = { id: randomUUID(), names: name === undefined ? [] : [name], algorithm, objectType };
      const { dates = {} } = options;
      const life = { dates, state, createdAt, stateDates: { [state]: createdAt }, attributes: {} };
      return put(withMaterial({ ...facts, lengthBits, usage, ...life }, randomBytes(lengthBits / 8)));
    },
    get: (id) => keys.get(id),
    list: () => [...keys.values()],
    byName: (name) => [...keys.values()].filter((key) => key.names.includes(name)),
    update(id, change) {
      const key = keys.get(id);
      if (key === undefined) throw new Error(`no key ${id}`);
      const changedState = change.state !== undefined && change.state !== key.state;
      const stateDates = changedState ? { ...key.stateDates, [change.state]: new Date() } : key.stateDates;
      if (change.state === "Destroyed") key.material.fill(0);
      return put(withMaterial({ ...key, ...change, stateDates }, key.material));
    },
    exchangeMaterial(id, material) {
      const key = keys.get(id);
      if (key === undefined) throw new Error(`no key ${id}`);
      put(withMaterial(key, material ?? randomBytes(key.material.length)));
      return key.material;
    },
    remove(id) {
      keys.get(id)?.material.fill(0);
      keys.delete(id);
      if (folder !== undefined) rmSync(path.join(folder, `${id}.json`), { force: true });
    },
  };
}
