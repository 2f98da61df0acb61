/** Has kube-controller-manager rewrite a resource, by a StorageVersionMigration, and waits for it. */
import { ApiError } from "../../kubernetes/api-error.ts";
import type { ServedResource } from "../../kubernetes/discovery.ts";
import type { MigrationState, Migrations } from "../../kubernetes/migration.ts";
import { pause } from "../../kubernetes/pace.ts";

/** How long the waits are; in ms. */
export interface MigrationWaits {
  /** Until a controller shows itself. */
  readonly unseenMs: number;
  readonly pollMs: number;
}

/** kube-controller-manager says Running within a second or two of its own work. */
export const defaultWaits: MigrationWaits = { unseenMs: 30_000, pollMs: 1000 };

/** How it ended; `unseen`: no controller acts on it. */
export type MigrationEnd = Exclude<MigrationState, { readonly kind: "running" }>;

/**
 * Asks for the migration and waits for its end; the object is deleted then. Where a signal ends the wait it stays, and
 * the controller goes on with it: called again with the same name, this waits for it again.
 * @param name of the StorageVersionMigration
 * @throws ProviderError; the signal's reason
 */
export async function migrate(
  migrations: Migrations,
  { name, resource, waits }: MigrationOf,
  signal: AbortSignal,
): Promise<MigrationEnd> {
  await migrations.create(name, resource, signal);
  const began = performance.now();
  for (;;) {
    const state = await stateOf(migrations, name, signal);
    const isUnseen = state.kind === "unseen" && performance.now() - began < waits.unseenMs;
    if (state.kind !== "running" && !isUnseen) {
      await migrations.remove(name, signal);
      return state;
    }
    await pause(waits.pollMs, signal);
  }
}

async function stateOf(migrations: Migrations, name: string, signal: AbortSignal): Promise<MigrationState> {
  try {
    return await migrations.state(name, signal);
  } catch (error) {
    if (!(error instanceof ApiError && error.status === 404)) throw error;
    return { kind: "failed", message: "somebody has deleted it" };
  }
}

/** What is migrated. */
export interface MigrationOf {
  readonly name: string;
  readonly resource: ServedResource;
  readonly waits: MigrationWaits;
}
