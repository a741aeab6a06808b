import { once } from "node:events";
import { lstatSync, readdirSync } from "node:fs";
import { chmod, link, lstat, mkdir, readdir, rename, symlink, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { connect } from "node:net";
import { describe, expect, test } from "vitest";
import { listenOnSocket, listenOnTcp } from "../../src/http/listen.ts";
import { runCommand } from "../support/child.ts";
import { Workspace } from "../support/workspace.ts";

/** An HTTP server that says who it is. */
class Greeter implements AsyncDisposable {
  readonly server: Server;

  constructor(name: string) {
    this.server = createServer((_request, response) => response.end(name));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.server.closeAllConnections();
    if (this.server.listening) await new Promise((resolve) => this.server.close(resolve));
  }
}

async function greeting(path: string): Promise<string> {
  const socket = connect({ path });
  let text = "";
  socket.on("data", (chunk: Buffer) => {
    text += chunk.toString();
  });
  await once(socket, "connect");
  socket.write("GET / HTTP/1.0\r\n\r\n");
  await once(socket, "close");
  return text.slice(text.lastIndexOf("\n") + 1);
}

/** Leaves a socket file behind as a server does that dies. */
async function leaveDeadSocket(path: string): Promise<void> {
  const server = createServer();
  server.listen({ path: `${path}.x` });
  await once(server, "listening");
  await link(`${path}.x`, path);
  server.close();
  await once(server, "close");
}

describe("a unix socket", () => {
  test("is there with exactly its mode, whatever the umask, and gone after", async () => {
    await using workspace = await Workspace.create();
    const path = workspace.path("s");
    const umask = process.umask();
    for (const [mask, mode] of [
      [0o000, 0o660],
      [0o000, 0o600],
      [0o077, 0o666],
      [0o177, 0o660],
    ] as const) {
      process.umask(mask);
      try {
        await using greeter = new Greeter("me");
        await using _socket = await listenOnSocket(greeter.server, { path, mode });
        expect(process.umask()).toBe(mask);
        expect((await lstat(path)).mode & 0o7777).toBe(mode);
        expect(await greeting(path)).toBe("me");
        expect(await readdir(workspace.directory)).toEqual(["s"]);
      } finally {
        process.umask(umask);
      }
      expect(await readdir(workspace.directory)).toEqual([]);
    }
  });

  test("is never wider than its mode, not even when nobody has set that yet", async () => {
    await using workspace = await Workspace.create();
    const path = workspace.path("s");
    const modes = new Set<number>();
    const look = () => {
      for (const name of readdirSync(workspace.directory)) {
        modes.add(lstatSync(workspace.path(name)).mode & 0o777);
      }
    };
    const umask = process.umask(0);
    try {
      await using greeter = new Greeter("me");
      greeter.server.once("listening", look); // Bound, and nothing else has happened.
      await using _socket = await listenOnSocket(greeter.server, { path, mode: 0o640 });
      expect(modes).toEqual(new Set([0o600]));
      look();
      expect(modes).toEqual(new Set([0o600, 0o640]));
    } finally {
      process.umask(umask);
    }
  });

  test("of a server that lives is never taken", async () => {
    await using workspace = await Workspace.create();
    const path = workspace.path("s");
    await using first = new Greeter("first");
    await using _socket = await listenOnSocket(first.server, { path, mode: 0o660 });
    await using second = new Greeter("second");
    await expect(listenOnSocket(second.server, { path, mode: 0o660 })).rejects.toMatchObject({
      code: "usage",
      message: `another server listens on ${path}`,
    });
    expect(await greeting(path)).toBe("first");
    expect(await readdir(workspace.directory)).toEqual(["s"]);
  });

  test("of a server that lives but accepts nothing is never taken", async () => {
    await using workspace = await Workspace.create();
    using stack = new DisposableStack();
    const path = workspace.path("s");
    const script = `
      const { createServer } = require("node:net");
      createServer().listen({ path: ${JSON.stringify(path)}, backlog: 1 }, () => {
        process.stdout.write("up");
        process.kill(process.pid, "SIGSTOP");
      });`;
    const { spawn } = await import("node:child_process");
    const child = spawn(process.execPath, ["-e", script], { stdio: ["ignore", "pipe", "inherit"] });
    try {
      await once(child.stdout, "data");
      // Fills its queue: now a connection is not even refused (EAGAIN).
      for (let waiting = 0; waiting < 4; waiting += 1) {
        const socket = stack.adopt(connect({ path }), (opened) => void opened.destroy());
        await Promise.race([once(socket, "connect"), once(socket, "error")]).catch(() => {});
      }
      await using second = new Greeter("second");
      const listening = listenOnSocket(second.server, { path, mode: 0o660 });
      await expect(listening).rejects.toMatchObject({ code: "usage" });
      expect((await lstat(path)).isSocket()).toBe(true);
    } finally {
      child.kill("SIGKILL");
      await once(child, "close");
    }
  });

  test("of a server that died is replaced", async () => {
    await using workspace = await Workspace.create();
    const path = workspace.path("s");
    await leaveDeadSocket(path);
    await using greeter = new Greeter("me");
    await using _socket = await listenOnSocket(greeter.server, { path, mode: 0o660 });
    expect(await greeting(path)).toBe("me");
  });

  test("goes to one of many servers that start at once over a dead one", async () => {
    await using workspace = await Workspace.create();
    const path = workspace.path("s");
    for (let round = 0; round < 10; round += 1) {
      await leaveDeadSocket(path);
      await using stack = new AsyncDisposableStack();
      const starts = Array.from({ length: 8 }, async (_, index) => {
        const { server } = stack.use(new Greeter(String(index)));
        stack.use(await listenOnSocket(server, { path, mode: 0o660 }));
        return String(index);
      });
      const results = await Promise.allSettled(starts);
      const winners = results.flatMap((result) =>
        result.status === "fulfilled" ? [result.value] : [],
      );
      expect(winners).toHaveLength(1);
      expect(await greeting(path)).toBe(winners[0]);
    }
    expect(await readdir(workspace.directory)).toEqual([]);
  });

  test.each(["a file", "a directory", "a link to a file", "a dangling link"])(
    "takes no place where %s stands",
    async (what) => {
      await using workspace = await Workspace.create();
      const path = workspace.path("s");
      if (what === "a file") await writeFile(path, "precious");
      else if (what === "a directory") await mkdir(path);
      else await symlink(what === "a link to a file" ? "/etc/passwd" : "/nowhere", path);
      const before = await lstat(path);
      await using greeter = new Greeter("me");
      await expect(listenOnSocket(greeter.server, { path, mode: 0o660 })).rejects.toMatchObject({
        code: "usage",
        message: `"${path}" exists and is not a socket`,
      });
      expect((await lstat(path)).ino).toBe(before.ino);
    },
  );

  test.each([
    ["everybody may write in", 0o777],
    ["everybody may write in, for all its sticky bit", 0o1777],
  ])("is not made in a directory that %s", async (_what, mode) => {
    await using workspace = await Workspace.create();
    await mkdir(workspace.path("d"));
    await chmod(workspace.path("d"), mode);
    await using greeter = new Greeter("me");
    const path = workspace.path("d", "s");
    await expect(listenOnSocket(greeter.server, { path, mode: 0o660 })).rejects.toMatchObject({
      code: "usage",
    });
    expect(await readdir(workspace.path("d"))).toEqual([]);
  });

  test("says what is wrong with a directory that is not there, and with a path too long", async () => {
    await using workspace = await Workspace.create();
    await using greeter = new Greeter("me");
    for (const path of [workspace.path("no", "s"), workspace.path("s".repeat(120))]) {
      await expect(listenOnSocket(greeter.server, { path, mode: 0o660 })).rejects.toMatchObject({
        code: "usage",
      });
    }
    expect(await readdir(workspace.directory)).toEqual([]);
  });

  test("that was replaced meanwhile stays where it is", async () => {
    await using workspace = await Workspace.create();
    const path = workspace.path("s");
    await using second = new Greeter("second");
    {
      await using first = new Greeter("first");
      await using _socket = await listenOnSocket(first.server, { path, mode: 0o660 });
      await rename(path, `${path}.old`);
      await using _later = await listenOnSocket(second.server, { path, mode: 0o660 });
      await rename(path, `${path}.kept`);
      await rename(`${path}.kept`, path);
      expect(await greeting(path)).toBe("second");
      await first[Symbol.asyncDispose]();
      expect(await greeting(path)).toBe("second");
    }
    expect(await readdir(workspace.directory)).toEqual(["s.old"]);
  });

  test("admits only those whom its mode lets in", async ({ skip }) => {
    await using workspace = await Workspace.create();
    if (process.getuid?.() !== 0) skip("only root can be somebody else");
    const path = workspace.path("s");
    await using greeter = new Greeter("me");
    await using _socket = await listenOnSocket(greeter.server, { path, mode: 0o660 });
    const stranger = { account: workspace.account, cwd: "/", env: {} };
    const script = ["-c", `curl -sS --unix-socket ${path} http://x/`];
    const refused = await runCommand("/bin/sh", script, stranger);
    expect(refused).toMatchObject({ status: 7, stdout: "" });
  });
});

describe("a TCP address", () => {
  test("is told, also when the system chose the port", async () => {
    await using greeter = new Greeter("me");
    const address = await listenOnTcp(greeter.server, { host: "127.0.0.1", port: 0 });
    expect(address).toEqual({ host: "127.0.0.1", port: expect.any(Number) });
  });

  test("that is taken, or not ours, is a clear error", async () => {
    await using first = new Greeter("first");
    const { port } = await listenOnTcp(first.server, { host: "127.0.0.1", port: 0 });
    for (const [address, message] of [
      [{ host: "127.0.0.1", port }, `another server listens on 127.0.0.1:${port}`],
      [{ host: "192.0.2.1", port: 0 }, "cannot listen on 192.0.2.1:0"],
    ] as const) {
      await using greeter = new Greeter("me");
      const listening = listenOnTcp(greeter.server, address);
      await expect(listening).rejects.toMatchObject({ code: "usage", message });
    }
  });
});
