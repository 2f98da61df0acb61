import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import type { Server } from "node:net";
import { createServer } from "node:net";
import path from "node:path";
import type { TestContext } from "node:test";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { maxSocketPathBytes } from "../../../src/server/socket/socket-path.ts";
import { temporaryFolder } from "../harness.ts";
import { greetingOf, listen, makeStaleSocket, modeOf, otherListener, refusal } from "../sockets.ts";

const uniqueName = (): string => `@okms-test-${process.pid}-${Math.random().toString(36).slice(2)}`;

/** Runs a process with `server`'s listening socket as file descriptor 3, as systemd does. */
async function activated(
  t: TestContext,
  server: Server,
  environment: string,
  file: string,
): Promise<{ said: string; next: () => Promise<string>; leave: () => Promise<unknown> }> {
  const code = `
    import { listenOnSocket } from ${JSON.stringify(path.resolve("src/server/socket/unix-socket.ts"))};
    try {
      const socket = await listenOnSocket({
        path: ${JSON.stringify(file)}, mode: 0o660, replace: false,
        onEvent: (event) => console.log(event.type, socket.reach === "listening", event.error?.message),
        onConnection: (connection) => connection.end("activated"),
      });
      process.once("SIGTERM", () => socket.close().then(() => process.exit(0)));
      console.log(socket.origin, socket.address, process.env.LISTEN_FDS);
    } catch (error) { console.log(error.code, error.message); process.exit(1); }`;
  const { fd } = Reflect.get(server, "_handle") as { fd: number };
  const child = spawn(
    "sh",
    ["-c", `${environment} exec "$0" --input-type=module-typescript -e "$1"`, process.execPath, code],
    {
      stdio: ["ignore", "pipe", "inherit", fd],
    },
  );
  t.after(() => child.kill("SIGKILL"));
  const exited = once(child, "exit");
  assert.ok(child.stdout);
  const { stdout } = child;
  const next = async (): Promise<string> => String((await once(stdout, "data"))[0]);
  return {
    said: await next(),
    next,
    leave: () => {
      child.kill("SIGTERM");
      return exited;
    },
  };
}

describe("the file of a socket", () => {
  for (const mode of [0o660, 0o600, 0o666]) {
    test(`has mode ${mode.toString(8)} when told so, and nothing else is left in the folder`, async (t) => {
      const folder = temporaryFolder(t);
      const file = path.join(folder, "kms.sock");
      await listen(t, file, { mode });
      assert.equal(modeOf(file), mode.toString(8));
      assert.deepEqual(readdirSync(folder), ["kms.sock"]);
    });
  }

  test("never appears at its path with another mode", async (t) => {
    const folder = temporaryFolder(t);
    const file = path.join(folder, "kms.sock");
    const seen = new Set<string>();
    const done = new AbortController();
    const watching = (async (): Promise<void> => {
      while (!done.signal.aborted) {
        if (existsSync(file)) seen.add(modeOf(file));
        await sleep(0);
      }
    })();
    const before = process.umask();
    await listen(t, file, { mode: 0o660 });
    await sleep(20);
    done.abort();
    await watching;
    assert.deepEqual([...seen], ["660"]);
    assert.equal(process.umask(), before);
  });

  test("is never made through a link that was put in its place: whose file that is stays as it was", async (t) => {
    const folder = temporaryFolder(t);
    const victim = path.join(temporaryFolder(t), "victim");
    writeFileSync(victim, "", { mode: 0o600 });
    const { gid } = statSync(victim);
    let swaps = 0;
    let isDone = false;
    const swap = (): void => {
      if (isDone) return;
      for (const name of readdirSync(folder).filter((each) => each.startsWith("."))) {
        const file = path.join(folder, name);
        if (!lstatSync(file).isSocket()) continue;
        unlinkSync(file);
        symlinkSync(victim, file);
        swaps += 1;
      }
      setImmediate(swap);
    };
    swap();
    const group = String(process.getuid?.() === 0 ? 4242 : gid);
    for (let round = 0; round < 20; round += 1)
      await listen(t, path.join(folder, `${round}.sock`), { group }).catch(() => undefined);
    isDone = true;
    assert.ok(swaps > 0);
    assert.deepEqual([modeOf(victim), statSync(victim).gid], ["600", gid]);
  });

  test("belongs to the group that is named by its number", async (t) => {
    const gid = process.getgroups?.().at(-1) ?? process.getgid?.() ?? 0;
    const file = path.join(temporaryFolder(t), "kms.sock");
    await listen(t, file, { group: String(gid) });
    assert.equal(statSync(file).gid, gid);
  });

  test("belongs to the group that is named by its name", async (t) => {
    const file = path.join(temporaryFolder(t), "kms.sock");
    if (process.getuid?.() === 0) {
      await listen(t, file, { group: "daemon" });
      assert.notEqual(statSync(file).gid, 0);
    } else await refusal(listen(t, file, { group: "daemon" }), /run as a member of it, or as root/);
  });

  test("may have the longest path that there is, with a name of a few letters", async (t) => {
    const folder = temporaryFolder(t);
    const file = path.join(folder, "a".repeat(maxSocketPathBytes - folder.length - 6), "k.s");
    assert.equal(file.length, maxSocketPathBytes - 1);
    await listen(t, file);
    assert.equal(await greetingOf(t, file), "hello");
  });

  test("is not made for a group that does not exist", async (t) => {
    const file = path.join(temporaryFolder(t), "kms.sock");
    await refusal(listen(t, file, { group: "no-such-group" }), /no group no-such-group/);
    assert.equal(existsSync(file), false);
  });

  test("goes away at the end, and connections stay", async (t) => {
    const file = path.join(temporaryFolder(t), "kms.sock");
    const { socket, connections } = await listen(t, file);
    assert.equal(await greetingOf(t, file), "hello");
    await socket.close();
    assert.equal(existsSync(file), false);
    assert.equal(connections[0]?.destroyed, false);
  });
});

describe("what stands at the path", () => {
  test("is replaced where it is a socket on which nobody answers", async (t) => {
    const file = path.join(temporaryFolder(t), "kms.sock");
    await makeStaleSocket(file);
    await listen(t, file);
    assert.equal(await greetingOf(t, file), "hello");
  });

  test("is refused where it is a socket on which somebody answers", async (t) => {
    const file = path.join(temporaryFolder(t), "kms.sock");
    await otherListener(t, file);
    await refusal(listen(t, file), /another process listens on .*--replace/);
    assert.equal(await greetingOf(t, file), "other");
  });

  for (const [what, make] of [
    ["a file", (file: string) => writeFileSync(file, "precious")],
    ["a folder", (file: string) => mkdirSync(file)],
    ["a link", (file: string) => symlinkSync("elsewhere", file)],
  ] as const) {
    for (const replace of [false, true]) {
      test(`is refused and left alone where it is ${what}, ${replace ? "with" : "without"} --replace`, async (t) => {
        const file = path.join(temporaryFolder(t), "kms.sock");
        make(file);
        const before = lstatSync(file).ino;
        await refusal(listen(t, file, { replace }), /is not a socket|is a folder: add the name of a file/);
        assert.equal(lstatSync(file).ino, before);
      });
    }
  }
});

describe("the folder of a socket", () => {
  test("is made with mode 750 where it is missing whatever the umask, and so are its parents", async (t) => {
    const folder = temporaryFolder(t);
    const before = process.umask(0o077);
    t.after(() => process.umask(before));
    await listen(t, path.join(folder, "a/b/kms.sock"));
    for (const made of ["a", "a/b"]) assert.equal(modeOf(path.join(folder, made)), "750");
    assert.equal(modeOf(folder), "700");
  });

  test("is made for the socket's group, which would else not come through to it", async (t) => {
    const folder = temporaryFolder(t);
    const gid = process.getuid?.() === 0 ? 4242 : (process.getgroups?.().at(-1) ?? 0);
    await listen(t, path.join(folder, "a/b/kms.sock"), { group: String(gid) });
    for (const made of ["a", "a/b", "a/b/kms.sock"])
      assert.equal(statSync(path.join(folder, made)).gid, gid, made);
  });

  test("keeps the set-group-ID bit that it inherits", async (t) => {
    const folder = temporaryFolder(t);
    chmodSync(folder, 0o2750);
    await listen(t, path.join(folder, "a/kms.sock"));
    assert.equal(modeOf(path.join(folder, "a")), "2750");
  });

  test("is refused where others may write to it", async (t) => {
    const folder = temporaryFolder(t);
    chmodSync(folder, 0o777);
    await refusal(listen(t, path.join(folder, "kms.sock")), /others may write .*chmod o-w/);
  });

  test("is refused where others may write to one above it, and swap the folder", async (t) => {
    const folder = temporaryFolder(t);
    mkdirSync(path.join(folder, "a/b"), { recursive: true });
    chmodSync(path.join(folder, "a"), 0o777);
    await refusal(
      listen(t, path.join(folder, "a/b/kms.sock")),
      new RegExp(`others may write to the folder ${folder}/a,`),
    );
  });

  test("is accepted where others may write to it but the sticky bit guards its files", async (t) => {
    const folder = temporaryFolder(t);
    chmodSync(folder, 0o1777);
    await listen(t, path.join(folder, "kms.sock"));
  });

  test("is refused where it is a file", async (t) => {
    const folder = temporaryFolder(t);
    writeFileSync(path.join(folder, "file"), "");
    await refusal(listen(t, path.join(folder, "file/kms.sock")), /file is not a folder/);
  });
});

test("a path longer than the kernel takes is refused with both lengths", async (t) => {
  const file = path.join(temporaryFolder(t), "x".repeat(108));
  await refusal(listen(t, file), new RegExp(`has ${file.length} bytes, and Linux allows 107`));
});

test("a path as long as the kernel takes works", async (t) => {
  const folder = temporaryFolder(t);
  const file = path.join(folder, "x".repeat(107 - folder.length - 1));
  await listen(t, file);
  assert.equal(await greetingOf(t, file), "hello");
});

describe("an abstract socket", () => {
  test("is found by other programs under its name, without padding", async (t) => {
    const name = uniqueName();
    const { socket } = await listen(t, name);
    assert.equal(socket.address, name);
    assert.equal(await greetingOf(t, `\0${name.slice(1)}`), "hello");
  });

  test("is refused where somebody listens on it", async (t) => {
    const name = uniqueName();
    await listen(t, name);
    await refusal(listen(t, name, { replace: true }), /another process listens on the abstract socket/);
  });
});

describe("systemd's socket", () => {
  test("is listened on instead of --sock, and its file is left to systemd", async (t) => {
    const folder = temporaryFolder(t);
    const file = path.join(folder, "kms.sock");
    const server = createServer();
    await once(server.listen({ path: file }), "listening");
    t.after(() => server.close());
    const { said, leave } = await activated(
      t,
      server,
      "LISTEN_PID=$$ LISTEN_FDS=1",
      path.join(folder, "own"),
    );
    assert.match(said, /^systemd .* undefined\n$/);
    assert.deepEqual(readdirSync(folder), ["kms.sock"]);
    await leave();
    assert.deepEqual(readdirSync(folder), ["kms.sock"]);
  });

  test("is missed when its file is gone, which only systemd can make again", async (t) => {
    const file = path.join(temporaryFolder(t), "kms.sock");
    const server = await otherListener(t, file);
    const { next } = await activated(t, server, "LISTEN_PID=$$ LISTEN_FDS=1", file);
    unlinkSync(file);
    assert.match(await next(), /^failed true there is no socket at .*restart its socket unit/);
  });

  test("is not taken by a process that it was not passed to", async (t) => {
    const folder = temporaryFolder(t);
    const server = await otherListener(t, path.join(folder, "kms.sock"));
    const { said } = await activated(t, server, "LISTEN_PID=1 LISTEN_FDS=1", path.join(folder, "own"));
    assert.match(said, /^file .*own 1\n$/);
  });

  test("is refused where there are several", async (t) => {
    const folder = temporaryFolder(t);
    const server = await otherListener(t, path.join(folder, "kms.sock"));
    const { said } = await activated(t, server, "LISTEN_PID=$$ LISTEN_FDS=2", path.join(folder, "own"));
    assert.match(said, /^SOCKET systemd passed 2 sockets/);
  });

  test("is refused where it is a network socket", async (t) => {
    const server = createServer();
    await once(server.listen({ port: 0, host: "127.0.0.1" }), "listening");
    t.after(() => server.close());
    const own = path.join(temporaryFolder(t), "own");
    const { said } = await activated(t, server, "LISTEN_PID=$$ LISTEN_FDS=1", own);
    assert.match(said, /^SOCKET systemd passed a network socket/);
  });
});
