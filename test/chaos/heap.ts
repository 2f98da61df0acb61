/**
 * The heap of a running Node process, by its inspector (started with `--inspect=127.0.0.1:0`): what is in use once
 * everything that can be collected has been. The resident set alone cannot tell a leak from V8's reserves.
 */

/** See above. */
export interface Heap {
  /** Collects garbage, and gives the bytes in use. */
  usedBytes(): Promise<number>;
  close(): void;
}

interface Reply {
  readonly id?: number;
  readonly result?: { readonly usedSize?: number };
  readonly error?: { readonly message: string };
}

/** Connects. @param url as Node says it on stderr: `ws://127.0.0.1:PORT/UUID` */
export async function connectHeap(url: string): Promise<Heap> {
  const socket = new WebSocket(url);
  const waiting = new Map<number, (reply: Reply) => void>();
  let lastId = 0;
  await new Promise<void>((resolve, reject) => {
    socket.addEventListener("open", () => resolve(), { once: true });
    socket.addEventListener("error", () => reject(new Error("the inspector cannot be reached")), {
      once: true,
    });
  });
  socket.addEventListener("message", ({ data }) => {
    const reply = JSON.parse(String(data)) as Reply;
    if (reply.id !== undefined) waiting.get(reply.id)?.(reply);
  });
  const ask = async (method: string): Promise<Reply> => {
    lastId += 1;
    const { promise, resolve } = Promise.withResolvers<Reply>();
    waiting.set(lastId, resolve);
    socket.send(JSON.stringify({ id: lastId, method }));
    const reply = await promise;
    waiting.delete(lastId);
    if (reply.error !== undefined) throw new Error(`${method}: ${reply.error.message}`);
    return reply;
  };
  return {
    async usedBytes() {
      await ask("HeapProfiler.collectGarbage");
      return (await ask("Runtime.getHeapUsage")).result?.usedSize ?? Number.NaN;
    },
    close: () => socket.close(),
  };
}
