import { cp, mkdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { useMachine } from "../support/machine.ts";
import type { Systemd } from "../support/systemd.ts";
import { makeSegment, MIB } from "../support/wal-maker.ts";

const PROJECT = fileURLToPath(new URL("../..", import.meta.url));
const CONFIG = '[server]\nlisten = ""\n\n[store]\npath = "/var/lib/walarc"\n';
const SOCKET = "/run/walarc/walarc.sock";
const DROP_INS = "/etc/systemd/system/walarc.service.d";

/** Installed as docs/deployment.md says, into what becomes the root of a machine. */
async function installInto(root: string): Promise<void> {
  const put = async (path: string, source: string) => {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await cp(source, join(root, path), { recursive: true });
  };
  await put("etc/systemd/system/walarc.service", join(PROJECT, "systemd/walarc.service"));
  await put("usr/lib/sysusers.d/walarc.conf", join(PROJECT, "systemd/walarc.sysusers"));
  await put("usr/lib/tmpfiles.d/walarc.conf", join(PROJECT, "systemd/walarc.tmpfiles"));
  for (const part of ["bin", "dist"]) await put(`opt/walarc/${part}`, join(PROJECT, part));
  await put("opt/walarc/node_modules/.bin/node", process.execPath);
  await put("usr/local/bin/placeholder", "/bin/true");
  await rm(join(root, "usr/local/bin/placeholder"));
  await symlink("/opt/walarc/bin/walarc", join(root, "usr/local/bin/walarc"));
  await mkdir(join(root, "etc/walarc"));
  await writeFile(join(root, "etc/walarc/walarc.toml"), CONFIG);
  await mkdir(join(root, "srv"));
  for (const number of SEGMENTS) {
    const { name, bytes } = makeSegment({ number, segmentSizeBytes: MIB, content: "mixed" });
    await writeFile(join(root, "srv", name), bytes);
  }
}

const SEGMENTS = Array.from({ length: 40 }, (_, index) => index + 1);
const nameOf = (number: number) => makeSegment({ number, segmentSizeBytes: MIB }).name;

const machine = useMachine("the unit under a real systemd", installInto);

async function dropIn(host: Systemd, text: string): Promise<void> {
  await host.require("mkdir", "-p", DROP_INS);
  const path = `${DROP_INS}/test.conf`;
  await host.require("sh", "-c", `printf '%s\\n' "$1" > ${path}`, "sh", `[Service]\n${text}`);
  await host.require("systemctl", "daemon-reload");
}

const asWalarc = ["setpriv", "--reuid=walarc", "--regid=walarc", "--clear-groups"];

describe("the unit under a real systemd", () => {
  test("is active once the daemon serves, and says where", async ({ skip }) => {
    const host = machine(skip);
    await host.require("systemd-sysusers", "walarc.conf");
    await host.require("systemd-tmpfiles", "--create", "walarc.conf");
    const { status } = await host.run("systemctl", "start", "walarc");
    expect(status, status === 0 ? "" : (await journal(host)) + host.log()).toBe(0);
    // No waiting: systemctl came back because the daemon had said that it serves.
    expect(await host.property("walarc", "ActiveState")).toBe("active");
    expect(await host.property("walarc", "StatusText")).toBe(`serving on ${SOCKET}`);
    expect(await host.require(...asWalarc, "walarc", "push", `/srv/${nameOf(1)}`)).toBe("");
    expect(await host.require("walarc", "ls")).toContain(nameOf(1));
  });

  test("holds the daemon to what it needs", async ({ skip }) => {
    const host = machine(skip);
    const pid = await host.property("walarc", "MainPID");
    const status = await host.require("cat", `/proc/${pid}/status`);
    expect(status).toMatch(/^CapEff:\t0+$/m);
    expect(status).toMatch(/^CapBnd:\t0+$/m);
    expect(status).toMatch(/^NoNewPrivs:\t1$/m);
    expect(status).toMatch(/^Seccomp:\t2$/m);
    expect(status).toMatch(/^Umask:\t0077$/m);
    expect(await host.require("cat", `/proc/${pid}/limits`)).toMatch(/^Max core file size +0 +0 /m);
    const mounts = await host.require("cat", `/proc/${pid}/mountinfo`);
    expect(mounts).toMatch(/ \/ \/ ro,/);
    expect(mounts).toMatch(/ \/var\/lib\/walarc rw,/);
    const modes = await host.require(
      "stat",
      "-c",
      "%U %a",
      "/var/lib/walarc",
      "/run/walarc",
      SOCKET,
    );
    expect(modes).toBe("walarc 700\nwalarc 750\nwalarc 660");
  });

  test("keeps strangers out at the socket", async ({ skip }) => {
    const host = machine(skip);
    const stranger = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"];
    const { status } = await host.run(
      ...stranger,
      "walarc",
      "push",
      "--timeout=2",
      `/srv/${nameOf(2)}`,
    );
    expect(status).not.toBe(0);
    expect(await host.require("walarc", "ls")).not.toContain(nameOf(2));
  });

  test("a reload refuses a configuration with a mistake, and nothing happens", async ({ skip }) => {
    const host = machine(skip);
    const pid = await host.property("walarc", "MainPID");
    await host.require("sh", "-c", "echo 'nonsense = 1' > /etc/walarc/walarc.toml");
    expect((await host.run("systemctl", "reload", "walarc")).status).not.toBe(0);
    expect(await host.property("walarc", "ActiveState")).toBe("active");
    expect(await host.property("walarc", "MainPID")).toBe(pid);
    expect(await journal(host)).toMatch(/check-config.*nonsense|nonsense.*check-config/s);
  });

  test("a start with such a file fails for good, for trying again would not help", async ({
    skip,
  }) => {
    const host = machine(skip);
    await host.require("systemctl", "stop", "walarc");
    expect((await host.run("systemctl", "start", "walarc")).status).not.toBe(0);
    expect(await host.property("walarc", "ActiveState")).toBe("failed");
    expect(await host.property("walarc", "ExecMainStatus")).toBe("2");
    expect(await host.property("walarc", "NRestarts")).toBe("0");
    await host.require("sh", "-c", `printf '%s' "$1" > /etc/walarc/walarc.toml`, "sh", CONFIG);
    await host.require("systemctl", "start", "walarc");
  });

  test("a reload of a right one is taken by the same process", async ({ skip }) => {
    const host = machine(skip);
    const pid = await host.property("walarc", "MainPID");
    await host.require("systemctl", "reload", "walarc");
    expect(await host.property("walarc", "MainPID")).toBe(pid);
    // First it is "reloading", which the daemon ends when the new configuration counts.
    await eventually("it is over", async () => {
      const state = await host.property("walarc", "ActiveState");
      return state === "active" && (await journal(host)).includes("configuration reloaded");
    });
  });

  test("one that lives is left alone for twice the watchdog's", async ({ skip }) => {
    const host = machine(skip);
    await dropIn(host, "WatchdogSec=3");
    await host.require("systemctl", "restart", "walarc");
    const pid = await host.property("walarc", "MainPID");
    const first = Number(await host.property("walarc", "WatchdogTimestampMonotonic"));
    await eventually("it has lived twice as long", async () => {
      const now = Number(await host.property("walarc", "WatchdogTimestampMonotonic"));
      return now - first > 6_000_000;
    });
    expect(await host.property("walarc", "MainPID")).toBe(pid);
  });

  test("a daemon that stands still is killed and started anew", async ({ skip }) => {
    const host = machine(skip);
    const pid = await host.property("walarc", "MainPID");
    await host.require("kill", "-STOP", pid);
    await eventually("another process serves", async () => {
      const now = await host.property("walarc", "MainPID");
      const state = await host.property("walarc", "ActiveState");
      return state === "active" && now !== pid && now !== "0";
    });
    expect(await host.property("walarc", "NRestarts")).toBe("1");
    expect(await journal(host)).toContain("Watchdog timeout");
    expect(await host.require("walarc", "ls")).toContain(nameOf(1));
  });

  test("a stop under load is orderly, and loses nothing acknowledged", async ({ skip }) => {
    const host = machine(skip);
    const archived = `for n in "$@"; do walarc push --timeout=2 /srv/$n && echo $n; done`;
    const pushing = host.run("sh", "-c", archived, "sh", ...SEGMENTS.slice(2).map(nameOf));
    await eventually("pushing", async () =>
      (await host.require("walarc", "ls")).includes(nameOf(5)),
    );
    await host.require("systemctl", "stop", "walarc");
    expect(await host.property("walarc", "Result")).toBe("success");
    expect(await host.property("walarc", "ExecMainStatus")).toBe("0");
    const { output } = await pushing;
    const acknowledged = SEGMENTS.map(nameOf).filter((name) => output.split("\n").includes(name));
    await host.require("systemctl", "start", "walarc");
    const kept = await host.require("walarc", "ls");
    expect(acknowledged.length).toBeGreaterThan(0);
    expect(acknowledged.length).toBeLessThan(SEGMENTS.length - 2);
    for (const name of acknowledged) expect(kept).toContain(name);
  });

  test("as PostgreSQL's user it reads a data directory that nobody else may enter", async ({
    skip,
  }) => {
    const host = machine(skip);
    const data = "/var/lib/postgresql/data";
    const make = `install -d -o postgres -m 0700 ${data} ${data}/pg_wal ${data}/global &&
      install -o postgres -m 0600 /srv/${nameOf(2)} ${data}/pg_wal/ &&
      printf '\\n[clusters.main]\\ndata_directory = "${data}"\\n' >> /etc/walarc/walarc.toml`;
    await host.require("sh", "-c", make);
    await dropIn(
      host,
      (await readFile(join(PROJECT, "systemd/database-host.conf"), "utf8")).trim(),
    );
    await host.require("systemctl", "restart", "walarc");
    const asPostgres = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"];
    const push = ["--wd", data, ...asPostgres, "walarc", "push", `pg_wal/${nameOf(2)}`];
    expect(await host.require("env", "-C", data, ...push.slice(2))).toBe("");
    expect(await host.require("walarc", "ls")).toContain(nameOf(2));
    expect(await host.require("stat", "-c", "%U", "/var/lib/walarc/walarc.json")).toBe("postgres");
  });

  test("Debian's clusters start once it serves, and have stopped before it does", async ({
    skip,
  }) => {
    const host = machine(skip);
    const order = await readFile(join(PROJECT, "systemd/postgresql-order.conf"), "utf8");
    // Their units, with something else than a server in them.
    const stub = `[Unit]\nAssertPathExists=\n[Service]\nType=oneshot\nRemainAfterExit=yes
ExecStart=\nExecStart=/bin/true\nExecStop=\nExecStop=/bin/sleep 0.5\nPIDFile=\nTimeoutSec=20`;
    const both = "[Unit]\nAllowIsolate=yes\nWants=postgresql@15-main.service walarc.service";
    const none = "[Unit]\nAllowIsolate=yes\nRequires=basic.target";
    const put = async (path: string, text: string) => {
      await host.require("mkdir", "-p", dirname(path));
      await host.require("sh", "-c", `printf '%s\n' "$1" > ${path}`, "sh", text);
    };
    await put("/run/systemd/system/postgresql@.service.d/stub.conf", stub);
    await put("/run/systemd/system/postgresql@.service.d/walarc.conf", order);
    await put("/run/systemd/system/both.target", both);
    await put("/run/systemd/system/none.target", none);
    await host.require("systemctl", "daemon-reload");
    for (const target of ["none", "both", "none"]) {
      await host.require("systemctl", "isolate", `${target}.target`);
    }
    await host.require("journalctl", "--sync");
    const told = await host.require("journalctl", "--no-pager", "-o", "cat", "-t", "systemd");
    const last = (what: string) => told.lastIndexOf(what);
    const [walarc, cluster] = ["walarc.service", "postgresql@15-main.service"];
    expect(last(`Started ${walarc}`)).toBeGreaterThan(-1);
    expect(last(`Started ${walarc}`)).toBeLessThan(last(`Starting ${cluster}`));
    expect(last(`Stopped ${cluster}`)).toBeLessThan(last(`Stopping ${walarc}`));
  });
});

async function journal(host: Systemd): Promise<string> {
  await host.require("journalctl", "--sync");
  return host.require("journalctl", "--no-pager", "-o", "cat", "-u", "walarc");
}
