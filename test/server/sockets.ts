/**
 * What the tests of server/unix-socket.ts share: listeners that greet, sockets that nobody answers on.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { lstatSync, statSync } from "node:fs";
import type { Server, Socket } from "node:net";
import { connect, createServer } from "node:net";
import type { TestContext } from "node:test";
import { ProviderError } from "../../src/errors.ts";
import type { ListeningSocket, SocketEvent, UnixSocketOptions } from "../../src/server/socket/unix-socket.ts";
import { listenOnSocket } from "../../src/server/socket/unix-socket.ts";

export interface Listener {
  readonly socket: ListeningSocket;
  readonly events: SocketEvent[];
  readonly connections: Socket[];
  nextEvent(): Promise<SocketEvent>;
}

/** Listens, with everything closed at the test's end. Each connection gets `greeting` and stays open. */
export async function listen(
  t: TestContext,
  file: string,
  change: Partial<UnixSocketOptions> = {},
  greeting = "hello",
): Promise<Listener> {
  const events: SocketEvent[] = [];
  const connections: Socket[] = [];
  const waiting = new Set<(event: SocketEvent) => void>();
  const socket = await listenOnSocket({
    path: file,
    mode: 0o660,
    replace: false,
    ...change,
    onConnection(connection) {
      connections.push(connection);
      connection.on("error", () => undefined).write(greeting);
    },
    onEvent(event) {
      events.push(event);
      for (const tell of waiting) tell(event);
      waiting.clear();
    },
  });
  t.after(async () => {
    await socket.close();
    for (const connection of connections) connection.destroy();
  });
  return { socket, events, connections, nextEvent: () => new Promise((resolve) => waiting.add(resolve)) };
}

/** What is said to a client of the socket. */
export async function greetingOf(t: TestContext, file: string): Promise<string> {
  const client = connect({ path: file });
  t.after(() => client.destroy());
  const [chunk] = (await once(client, "data")) as [Buffer];
  return chunk.toString();
}

export async function refusal(promise: Promise<unknown>, says: RegExp): Promise<void> {
  await assert.rejects(promise, (error) => {
    assert.ok(error instanceof ProviderError);
    assert.equal(error.code, "SOCKET");
    assert.match(error.message, says);
    return true;
  });
}

/** A socket file on which nobody answers, as a process leaves it that was killed. */
export async function makeStaleSocket(file: string): Promise<void> {
  const child = spawn(process.execPath, [
    "-e",
    `require("net").createServer().listen(${JSON.stringify(file)}, () => process.kill(process.pid, "SIGKILL"))`,
  ]);
  await once(child, "exit");
  assert.ok(lstatSync(file).isSocket());
}

export async function otherListener(t: TestContext, file: string): Promise<Server> {
  const server = createServer((connection) => connection.on("error", () => undefined).end("other"));
  t.after(() => server.close());
  await once(server.listen({ path: file }), "listening");
  return server;
}

/** Permission bits of a file, in octal. */
export function modeOf(file: string): string {
  return (statSync(file).mode & 0o7777).toString(8);
}
