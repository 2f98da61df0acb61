/** Calls as kube-apiserver makes them, each over a connection of its own, one after the other without pause. */
import { once } from "node:events";
import { connect } from "node:net";
import { createApiServer } from "../devkms/api-server.ts";

/** Load under way. */
export interface Load {
  /** Ends it. @returns how many calls were made, and what went wrong, by its text */
  stop(): Promise<{ readonly calls: number; readonly failures: ReadonlyMap<string, number> }>;
}

const loops = 3;
/** As in the EncryptionConfiguration. */
const timeoutMs = 3000;

/** Starts calling. `sock` is asked for at each call: a host that was booted anew has another path from outside. */
export function startLoad(sock: () => string): Load {
  const over = new AbortController();
  let calls = 0;
  const failures = new Map<string, number>();
  const one = async (): Promise<void> => {
    const api = createApiServer(sock(), timeoutMs);
    try {
      // By itself first: gRPC would try again where a connection is refused.
      await connected(sock());
      await api.status();
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error);
      failures.set(text, (failures.get(text) ?? 0) + 1);
    } finally {
      api.close();
      calls += 1;
    }
  };
  const running = Array.from({ length: loops }, async () => {
    while (!over.signal.aborted) await one();
  });
  return {
    async stop() {
      over.abort();
      await Promise.all(running);
      return { calls, failures };
    },
  };
}

async function connected(file: string): Promise<void> {
  const socket = connect(file);
  await once(socket, "connect");
  socket.destroy();
}
