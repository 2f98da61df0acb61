/** Rewrites a resource by PATCHes of this program's own: page by page, some objects at once, the state saved after each page. */
import { ProviderError } from "../../errors.ts";
import { ApiError } from "../../kubernetes/api-error.ts";
import type { ApiClient } from "../../kubernetes/client.ts";
import type { ServedResource } from "../../kubernetes/discovery.ts";
import { listPage, type ObjectRef, type Page, touch } from "../../kubernetes/objects.ts";
import type { Progress } from "./progress.ts";
import { addTallies, emptyTally, type ResourceState, type Tally } from "./state.ts";

/** Objects of a page, as the API server's own clients have it. */
const pageSize = 500;
/** Requests at once: enough for 1,000 a second at 16 ms each; --qps limits them. */
const atOnce = 16;
/** After so many failed objects in a row the resource is given up. */
const mostFailuresInARow = 20;
/** How often a list may start from the beginning because its token has expired and the answer had no other one. */
const mostRestarts = 3;

/** What a rewrite works with. */
export interface RewriteContext {
  readonly client: ApiClient;
  readonly namespace: string | undefined;
  readonly progress: Progress;
  /** Writes the state. */
  readonly save: () => Promise<void>;
  /** An object could not be rewritten. */
  readonly onFailure: (object: ObjectRef, error: ApiError) => void;
  readonly signal: AbortSignal;
}

/**
 * Rewrites all objects of a resource, from where `state` says on.
 * @throws ProviderError where it cannot go on; the signal's reason
 */
export async function rewriteResource(
  context: RewriteContext,
  resource: ServedResource,
  state: ResourceState,
): Promise<void> {
  if (state.continueToken === undefined) state.tally = emptyTally();
  const failures = { inARow: 0 };
  for await (const page of pagesOf(context, resource, state.continueToken)) {
    const tally = await touchAll(context, resource, page.objects, failures);
    state.tally = addTallies(state.tally, tally);
    state.continueToken = page.continueToken;
    // With failed objects it stays open: another run reads all of them again.
    if (page.continueToken === undefined && state.tally.failed === 0) state.status = "patched";
    await context.save();
  }
}

/** The pages from a token on. A token expires after some minutes: its list goes on at a newer revision. */
async function* pagesOf(
  { client, namespace, signal }: RewriteContext,
  resource: ServedResource,
  continueToken: string | undefined,
): AsyncGenerator<Page> {
  let restarts = 0;
  let token = continueToken;
  for (;;) {
    let page: Page | undefined;
    try {
      page = await listPage(client, resource, { namespace, limit: pageSize, continueToken: token }, signal);
    } catch (error) {
      if (!(error instanceof ApiError && error.status === 410) || token === undefined) throw error;
      token = error.continueToken;
      // Without a new token: from the beginning. What is current already is not written again.
      if (token === undefined && (restarts += 1) > mostRestarts) throw error;
    }
    if (page === undefined) continue;
    yield page;
    token = page.continueToken;
    if (token === undefined) return;
  }
}

async function touchAll(
  { client, progress, onFailure, signal: outer }: RewriteContext,
  resource: ServedResource,
  objects: readonly ObjectRef[],
  failures: { inARow: number },
): Promise<Tally> {
  const tally = emptyTally();
  const stop = new AbortController();
  const signal = AbortSignal.any([outer, stop.signal]);
  const queue = objects.values();
  const work = async (): Promise<void> => {
    for (const object of queue) {
      try {
        tally[await touch(client, resource, object, signal)] += 1;
        failures.inARow = 0;
      } catch (error) {
        if (!(error instanceof ApiError) || error.status === 401 || error.status === 403) throw error;
        tally.failed += 1;
        failures.inARow += 1;
        onFailure(object, error);
        if (failures.inARow >= mostFailuresInARow)
          throw new ProviderError("REST_STATUS", `${mostFailuresInARow} objects in a row failed: given up`);
      }
      progress.add(1);
    }
  };
  const workers = Array.from({ length: atOnce }, async () => {
    try {
      await work();
    } catch (error) {
      stop.abort(error);
      throw error;
    }
  });
  await Promise.allSettled(workers);
  outer.throwIfAborted();
  stop.signal.throwIfAborted();
  return tally;
}
