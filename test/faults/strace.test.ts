import { spawn } from "node:child_process";
import { once } from "node:events";
import { expect, test } from "vitest";
import { describeFaults } from "../support/fault-tools.ts";
import { parseStrace, Strace } from "../support/strace.ts";

test("a log is read with calls of several threads folded into each other", () => {
  const log = `71 openat(AT_FDCWD</srv>, "/srv/a", O_WRONLY|O_CREAT|O_EXCL, 0600) = 23</srv/a>
71 write(23</srv/a>, "a) = 5 <unfinished"..., 4096) = 4096
71 fsync(23</srv/a> <unfinished ...>
70 write(9<socket:[77]>, "HTTP/1.1 201 Created\\r\\n"..., 120 <unfinished ...>
71 <... fsync resumed>)                 = -1 EIO (Input/output error) (INJECTED)
70 <... write resumed>)                 = 120
71 --- SIGURG {si_signo=SIGURG} ---
72 +++ exited with 0 +++
71 link("/srv/a", "/srv/b"  <unfinished ...>
71 +++ killed by SIGKILL +++
`;

  const calls = parseStrace(log);

  expect(calls).toMatchObject([
    { thread: 71, name: "openat", began: 0, ended: 0, result: "23</srv/a>" },
    {
      thread: 71,
      name: "write",
      args: '23</srv/a>, "a) = 5 <unfinished"..., 4096',
      result: "4096",
    },
    { name: "fsync", args: "23</srv/a>", began: 2, ended: 4, isInjected: true },
    { thread: 70, name: "write", began: 3, ended: 5, result: "120", isInjected: false },
    { thread: 71, name: "link", began: 8, ended: Infinity, result: undefined },
  ]);
  expect(calls[2]?.result).toBe("-1 EIO (Input/output error) (INJECTED)");
});

test("a log of one thread alone has no thread numbers", () => {
  expect(parseStrace("fsync(4</srv>) = 0 (DELAYED)\n")).toMatchObject([
    { thread: 0, name: "fsync", args: "4</srv>", result: "0 (DELAYED)", isInjected: true },
  ]);
});

describeFaults("strace", { needs: ["strace"] }, () => {
  test("injects a fault into the n-th call of a running process, and then lets go", async () => {
    const script = `
      const { open } = require("node:fs/promises");
      process.stdin.on("data", async () => {
        const file = await open("/dev/null");
        const outcome = await file.datasync().then(() => "fine", (error) => error.code);
        await file.close();
        process.stdout.write(outcome);
      });
      open("/dev/null").then((file) => file.close()).then(() => process.stdout.write("up"));`;
    const env = { UV_THREADPOOL_SIZE: "1", UV_USE_IO_URING: "0" };
    const child = spawn(process.execPath, ["-e", script], {
      env,
      stdio: ["pipe", "pipe", "inherit"],
    });
    const said = async () => String(((await once(child.stdout, "data")) as [Buffer])[0]);
    const ask = () => {
      child.stdin.write("again");
      return said();
    };
    try {
      expect(await said()).toBe("up");
      const inject = ["fdatasync:error=ENOSPC:when=2"];
      const target = { trace: ["openat"], inject, threads: "workers" } as const;
      await using strace = await Strace.attach(child.pid ?? 0, target);

      const outcomes = [await ask(), await ask(), await ask()];
      await strace.detach();

      expect(outcomes).toEqual(["EINVAL", "ENOSPC", "EINVAL"]);
      expect(strace.calls().map((call) => call.name)).toEqual(
        Array.from({ length: 3 }, () => ["openat", "fdatasync"]).flat(),
      );
      expect(strace.injected()).toMatchObject([{ args: expect.stringContaining("</dev/null") }]);
      expect(await ask()).toBe("EINVAL");
    } finally {
      child.kill();
    }
  });
});
