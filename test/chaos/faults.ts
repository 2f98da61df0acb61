/**
 * The faults, as a table: what each does, for how long, whether a path to the KMS stays healthy meanwhile, and
 * what Status must say. Each begins with a function that gives the one that ends it.
 */
import { Code } from "@connectrpc/connect";
import { type Faults, resetFaults } from "../devkms/faults.ts";
import type { Random } from "./random.ts";
import type { StatusRule } from "./status-rules.ts";
import type { Path, Protocol, World } from "./world.ts";

/** Ends a fault. */
export type EndFault = () => void | Promise<void>;

/** A row of the table. */
export interface Fault {
  readonly name: string;
  /** Default: both. */
  readonly protocol?: Protocol;
  /** In ms, least and most; or until Status says what it must, and half a second more. */
  readonly lasts: readonly [min: number, max: number] | "until Status says so";
  /** Which paths to the KMS it breaks for as long as it lasts. `one`: either, by chance. */
  readonly breaks: "none" | "one" | "both";
  /** gRPC codes by which calls may fail besides, because the KMS itself says no. */
  readonly refusals?: readonly Code[];
  readonly status: StatusRule;
  /** @param path the one to break, where it breaks one */
  readonly begin: (world: World, random: Random, path: Path) => EndFault | Promise<EndFault>;
}

const staysOk = { must: "stay ok" } as const;
const nothingToEnd: EndFault = () => undefined;

/** Sets switches of one KMS, and puts all back. */
function switches(path: Path, set: Partial<Faults>): EndFault {
  Object.assign(path.kms.faults, set);
  return () => resetFaults(path.kms.faults);
}

/** The same of both. */
function switchesOfBoth(world: World, set: Partial<Faults>): EndFault {
  const ends = world.paths.map((path) => switches(path, set));
  return () => {
    for (const end of ends) void end();
  };
}

/** Both paths at once. */
async function both(
  { paths }: World,
  begin: (path: Path) => unknown,
  end: (path: Path) => unknown,
): Promise<EndFault> {
  await Promise.all(paths.map(begin));
  return async () => {
    await Promise.all(paths.map(end));
  };
}

const keysOf = ({ paths }: World) => paths[0].kms.keys;

/** What happens to the way to the KMS, and to the KMS. One at a time. */
const remoteFaults: readonly Fault[] = [
  {
    name: "every connection is cut",
    lasts: [500, 1000],
    breaks: "none",
    status: staysOk,
    begin: ({ paths }) => {
      for (const { relay } of paths) relay.cut();
      return nothingToEnd;
    },
  },
  {
    name: "the KMS closes every connection",
    lasts: [500, 1000],
    breaks: "none",
    status: staysOk,
    begin: ({ paths }) => {
      for (const { kms } of paths) kms.cutConnections();
      return nothingToEnd;
    },
  },
  {
    name: "some connections go silent",
    lasts: [1000, 2000],
    breaks: "none",
    status: staysOk,
    begin: ({ paths }, random) => {
      for (const { relay } of paths) relay.hang(random.between(1, 4));
      return nothingToEnd;
    },
  },
  {
    name: "one address refuses",
    lasts: [500, 2500],
    breaks: "one",
    status: staysOk,
    begin: async (_world, _random, { relay }) => {
      await relay.stop();
      return () => relay.start();
    },
  },
  {
    name: "one address hangs",
    lasts: [500, 2500],
    breaks: "one",
    status: staysOk,
    begin: (_world, _random, { relay }) => {
      relay.hang();
      return () => relay.resume();
    },
  },
  {
    name: "one KMS stops and starts",
    lasts: [500, 2000],
    breaks: "one",
    status: staysOk,
    begin: async (_world, _random, { kms }) => {
      await kms.stop();
      return () => kms.start();
    },
  },
  {
    name: "one KMS reads and never answers",
    lasts: [500, 2000],
    breaks: "one",
    status: staysOk,
    begin: (_world, _random, path) => switches(path, { silent: true }),
  },
  {
    name: "one KMS answers garbage",
    lasts: [500, 2000],
    breaks: "one",
    status: staysOk,
    begin: (_world, _random, path) => switches(path, { garbage: true }),
  },
  {
    name: "one KMS sends half an answer",
    lasts: [500, 2000],
    breaks: "one",
    status: staysOk,
    begin: (_world, _random, path) => switches(path, { halfFrame: true }),
  },
  {
    name: "one KMS closes in place of an answer",
    lasts: [500, 2000],
    breaks: "one",
    status: staysOk,
    begin: (_world, _random, path) => switches(path, { closeAfterRequest: true }),
  },
  {
    name: "one KMS says 503",
    protocol: "rest",
    lasts: [500, 2000],
    breaks: "one",
    status: staysOk,
    begin: (_world, _random, path) => switches(path, { rest: { status: 503 } }),
  },
  {
    name: "the KMS is slow",
    lasts: [1000, 2000],
    breaks: "none",
    status: staysOk,
    begin: (world, random) => switchesOfBoth(world, { delayMs: random.between(50, 200) }),
  },
  {
    name: "both addresses refuse",
    lasts: [300, 1500],
    breaks: "both",
    status: staysOk,
    begin: (world) =>
      both(
        world,
        ({ relay }) => relay.stop(),
        ({ relay }) => relay.start(),
      ),
  },
  {
    name: "both addresses hang",
    lasts: [300, 1500],
    breaks: "both",
    status: staysOk,
    begin: (world) =>
      both(
        world,
        ({ relay }) => relay.hang(),
        ({ relay }) => relay.resume(),
      ),
  },
  {
    name: "both KMS stop and start",
    lasts: [300, 1500],
    breaks: "both",
    status: staysOk,
    begin: (world) =>
      both(
        world,
        ({ kms }) => kms.stop(),
        ({ kms }) => kms.start(),
      ),
  },
  {
    name: "both KMS read and never answer",
    lasts: [300, 1500],
    breaks: "both",
    status: staysOk,
    begin: (world) => switchesOfBoth(world, { silent: true }),
  },
  {
    name: "both KMS answer garbage",
    lasts: [300, 1000],
    breaks: "both",
    refusals: [Code.Internal],
    status: staysOk,
    begin: (world) => switchesOfBoth(world, { garbage: true }),
  },
  {
    name: "both KMS say 503",
    protocol: "rest",
    lasts: [300, 1000],
    breaks: "both",
    status: staysOk,
    begin: (world) => switchesOfBoth(world, { rest: { status: 503 } }),
  },
  {
    name: "the KMS refuses for a reason of its own",
    lasts: [500, 1000],
    breaks: "none",
    refusals: [Code.Internal, Code.Unavailable],
    status: staysOk,
    begin: (world) => switchesOfBoth(world, { refuse: { reason: "GeneralFailure" } }),
  },
  {
    name: "no KMS for longer than any deadline",
    lasts: [3300, 4000],
    breaks: "both",
    status: staysOk,
    begin: (world) =>
      both(
        world,
        ({ kms }) => kms.stop(),
        ({ kms }) => kms.start(),
      ),
  },
  {
    name: "no KMS for longer than the grace",
    lasts: "until Status says so",
    breaks: "both",
    status: { must: "say what is wrong" },
    begin: (world) =>
      both(
        world,
        ({ relay }) => relay.hang(),
        ({ relay }) => relay.resume(),
      ),
  },
  {
    name: "the key is deactivated",
    lasts: "until Status says so",
    breaks: "none",
    // KMS say "denied" of such a key, and not every protocol tells why.
    refusals: [Code.FailedPrecondition, Code.PermissionDenied],
    status: { must: "fail", codes: [Code.FailedPrecondition, Code.PermissionDenied] },
    begin: (world) => {
      keysOf(world).update(world.keyId, { state: "Deactivated" });
      return () => void keysOf(world).update(world.keyId, { state: "Active" });
    },
  },
  {
    name: "the KMS denies the key",
    lasts: "until Status says so",
    breaks: "none",
    // Who has to connect anew is denied that, which with a path that still hangs looks as if nobody were there.
    refusals: [Code.PermissionDenied, Code.Unavailable, Code.DeadlineExceeded],
    status: { must: "fail", codes: [Code.PermissionDenied] },
    begin: (world) => switchesOfBoth(world, { refuse: { reason: "PermissionDenied" } }),
  },
  {
    name: "the label moves to a new key",
    lasts: "until Status says so",
    breaks: "none",
    status: { must: "name the new key" },
    begin: (world) => {
      const keys = keysOf(world);
      const old = world.keyId;
      keys.update(old, { names: [] });
      world.keyId = keys.create({ name: world.label }).id;
      return nothingToEnd;
    },
  },
  {
    name: "two keys bear the label",
    lasts: [3500, 4000],
    breaks: "none",
    status: staysOk,
    begin: (world) => {
      const { id } = keysOf(world).create({ name: world.label });
      return () => keysOf(world).remove(id);
    },
  },
  {
    name: "no key bears the label",
    lasts: [3500, 4000],
    breaks: "none",
    status: staysOk,
    begin: (world) => {
      keysOf(world).update(world.keyId, { names: [] });
      return () => void keysOf(world).update(world.keyId, { names: [world.label] });
    },
  },
];

/** The rows for one protocol. */
export function faultsOf(protocol: Protocol): Fault[] {
  return remoteFaults.filter((fault) => (fault.protocol ?? protocol) === protocol);
}
