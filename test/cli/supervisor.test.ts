import { once } from "node:events";
import { chmod } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startLifeSigns, statusLine } from "../../src/cli/liveness.ts";
import { Supervisor, takeSupervision } from "../../src/cli/supervisor.ts";
import { WalarcDaemon } from "../support/daemon.ts";
import { eventually } from "../support/eventually.ts";
import { type Installation, installWalarc } from "../support/installation.ts";
import { NotifySocket } from "../support/notify-socket.ts";
import { Workspace } from "../support/workspace.ts";

class Log {
  readonly lines: object[] = [];
  warn(fields: object, message: string): void {
    this.lines.push({ ...fields, message });
  }
}

const READY = { ready: true, reasons: [] };

let workspace: Workspace;
let installation: Installation;
beforeAll(async () => {
  workspace = await Workspace.create();
  installation = await installWalarc(workspace);
});
afterAll(async () => {
  await workspace[Symbol.asyncDispose]();
});

describe("the daemon under a supervisor", () => {
  test("says when it is ready, that it lives, and when it stops", async () => {
    await using systemd = await NotifySocket.listen(workspace.path("notify"));
    await chmod(systemd.address, 0o777);
    const env = { NOTIFY_SOCKET: systemd.address, WATCHDOG_USEC: "1000000" };
    await using daemon = await WalarcDaemon.prepare({
      workspace,
      installation: { ...installation, env: { ...installation.env, ...env } },
    });
    await daemon.start();
    const evidence = () => systemd.told + daemon.logTail();
    await eventually("two signs of life", () => systemd.count("WATCHDOG=1") >= 2, { evidence });
    expect(systemd.told).toContain(`READY=1\nSTATUS=serving on ${daemon.socketPath}`);
    expect(systemd.told.indexOf("READY=1")).toBeLessThan(systemd.told.indexOf("WATCHDOG=1"));
    expect(systemd.count("STOPPING=1")).toBe(0);

    const readies = systemd.count("READY=1");
    daemon.hangUp();
    const isReloaded = () => systemd.count("READY=1") > readies;
    await eventually("it says that it has reloaded", isReloaded, { evidence });
    expect(systemd.told).toMatch(/RELOADING=1\nMONOTONIC_USEC=\d+/);

    expect(await daemon.stop()).toBe(0);
    await eventually("it says that it stops", () => systemd.count("STOPPING=1") === 1, {
      evidence,
    });
    expect(daemon.log()).not.toContain("systemd could not be told");
  });

  test("goes on when nobody listens where it should tell, and says so", async () => {
    const env = { NOTIFY_SOCKET: workspace.path("nobody") };
    await using daemon = await WalarcDaemon.prepare({
      workspace,
      name: "unheard",
      installation: { ...installation, env: { ...installation.env, ...env } },
    });
    await daemon.start();
    await eventually("the log tells", () => daemon.log().includes("systemd could not be told"));
    expect(await daemon.stop()).toBe(0);
  });
});

describe("a sign of life", () => {
  test("is given only while the daemon's own listener answers", async () => {
    await using systemd = await NotifySocket.listen(`@walarc-test-${process.pid}`);
    await using listener = await StubbornListener.open(workspace.path("stubborn"));
    const log = new Log();
    const socket = systemd.address;
    const supervisor = new Supervisor({ socket, watchdogMs: 400, log });
    const living = { listeners: { socket: listener.path }, readiness: () => READY };
    await using _signs = startLifeSigns(living, { supervisor, log });

    await eventually("it was asked in vain, twice", () => log.lines.length >= 2);
    expect(systemd.count("WATCHDOG=1")).toBe(0);
    expect(log.lines[0]).toMatchObject({ loop: "liveness", message: "step failed" });

    listener.status = 500;
    const asked = log.lines.length;
    await eventually("another answer will not do", () => log.lines.length > asked + 1);
    expect(systemd.count("WATCHDOG=1")).toBe(0);

    listener.status = 200;
    await eventually("the sign was given", () => systemd.count("WATCHDOG=1") > 0);
  });

  test("tells in one line where the daemon serves, and what is wrong", () => {
    const listeners = { socket: "/run/walarc/walarc.sock", listen: "127.0.0.1:8417" };
    const where = "serving on /run/walarc/walarc.sock and 127.0.0.1:8417";
    expect(statusLine({ listeners, readiness: () => READY })).toBe(where);
    const tls = { listen: "127.0.0.1:8417", isEncrypted: true };
    const overTls = statusLine({ listeners: tls, readiness: () => READY });
    expect(overTls).toBe("serving on 127.0.0.1:8417 (TLS)");
    const reasons = [{ text: "the store is full" }, { text: "the spool stands still" }];
    const readiness = () => ({ ready: false, reasons });
    expect(statusLine({ listeners, readiness })).toBe(
      `${where}; not ready: the store is full; the spool stands still`,
    );
  });

  test("cannot smuggle in another message", async () => {
    await using systemd = await NotifySocket.listen(workspace.path("smuggled"));
    const log = new Log();
    const options = { socket: systemd.address, watchdogMs: undefined, log };
    await new Supervisor(options).tell({ STATUS: "the store\nMAINPID=1\r\nSTOPPING=1" });
    await eventually("it was told", () => systemd.told.includes("STATUS="));
    expect(systemd.told).toContain("STATUS=the store MAINPID=1 STOPPING=1");
    expect(log.lines).toEqual([]);
  });
});

describe("what systemd wants is taken from the environment", () => {
  const mine = String(process.pid);
  test.each([
    [{}, { socket: undefined, watchdogMs: undefined }],
    [{ NOTIFY_SOCKET: "" }, { socket: undefined, watchdogMs: undefined }],
    [
      { NOTIFY_SOCKET: "@a", WATCHDOG_USEC: "60000000" },
      { socket: "@a", watchdogMs: 60_000 },
    ],
    [
      { WATCHDOG_USEC: "1000", WATCHDOG_PID: mine },
      { socket: undefined, watchdogMs: 1 },
    ],
    [
      { WATCHDOG_USEC: "1000", WATCHDOG_PID: "1" },
      { socket: undefined, watchdogMs: undefined },
    ],
    [{ WATCHDOG_USEC: "0" }, { socket: undefined, watchdogMs: undefined }],
    [{ WATCHDOG_USEC: "soon" }, { socket: undefined, watchdogMs: undefined }],
  ])("%j", (wanted, expected) => {
    const env: NodeJS.ProcessEnv = { ...wanted, HOME: "/" };
    expect(takeSupervision(env)).toEqual(expected);
    expect(env).toEqual({ HOME: "/" });
  });
});

/** Takes connections, and answers only once it has a status to answer with. */
class StubbornListener implements AsyncDisposable {
  readonly path: string;
  status: number | undefined;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(path: string) {
    this.path = path;
    this.#server = createServer((socket) => {
      this.#sockets.add(socket);
      socket.on("error", () => {}).on("data", () => this.#answer(socket));
    });
  }

  static async open(path: string): Promise<StubbornListener> {
    const listener = new StubbornListener(path);
    listener.#server.listen(path);
    await once(listener.#server, "listening");
    return listener;
  }

  #answer(socket: Socket): void {
    if (this.status !== undefined) socket.end(`HTTP/1.1 ${this.status} X\r\n\r\n`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, "close");
  }
}
