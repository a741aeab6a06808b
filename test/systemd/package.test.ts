import { execFileSync } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { useMachine } from "../support/machine.ts";
import { makeSegment, MIB } from "../support/wal-maker.ts";

const SEGMENT = makeSegment({ number: 1, segmentSizeBytes: MIB });
const asPostgres = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"];

const machine = useMachine("the Debian packages", async (root) => {
  const packages = join(root, "srv");
  execFileSync(process.execPath, ["bin/package.mjs", packages, "--compress=none"]);
  await writeFile(join(packages, SEGMENT.name), SEGMENT.bytes);
});

test("the client's package is all that a database host needs", async ({ skip }) => {
  const host = machine(skip);
  await host.require("sh", "-c", "dpkg --install /srv/walarc-client_*.deb");
  expect(await host.require("walarc", "--version")).toMatch(/^walarc \d/);
  const push = await host.run(...asPostgres, "walarc", "push", `/srv/${SEGMENT.name}`);
  expect(push).toMatchObject({ status: 3, output: expect.stringContaining("unreachable") });
});

test("what has no package yet on this host says which one", async ({ skip }) => {
  const host = machine(skip);
  const { status, output } = await host.run("walarc", "status");
  expect(status).toBe(2);
  expect(output).toMatch(/install the package walarc/);
});

test("the daemon's package brings a service that starts as it is", async ({ skip }) => {
  const host = machine(skip);
  await host.require("sh", "-c", "dpkg --install /srv/walarc_*.deb");
  // Nothing starts before its administrator has had a look at the configuration.
  expect(await host.property("walarc", "ActiveState")).toBe("inactive");
  await host.require("walarc", "check-config", "/etc/walarc/walarc.toml");
  await host.require("systemctl", "enable", "--now", "walarc");
  await host.require("usermod", "--append", "--groups", "walarc", "postgres");
  expect(await host.require(...asPostgres, "walarc", "push", `/srv/${SEGMENT.name}`)).toBe("");
  expect(await host.require(...asPostgres, "walarc", "ls")).toContain(SEGMENT.name);
  expect(await host.require("man", "--where", "walarc").catch(() => "no man here")).toMatch(
    /walarc\.1|no man here/,
  );
});

test("what is installed is what was packed, and what somebody changes is found out", async ({
  skip,
}) => {
  const host = machine(skip);
  // By the packages' own digests: dpkg makes some of what it unpacks, if there are none.
  for (const name of ["walarc", "walarc-client"]) {
    const digests = await host.require("sh", "-c", `dpkg-deb --info /srv/${name}_*.deb md5sums`);
    const files = (await host.require("dpkg", "--listfiles", name)).split("\n");
    const isFile = async (path: string) => (await host.run("test", "-f", path)).status === 0;
    const packed = digests.split("\n").map((line) => line.slice(34));
    for (const path of files.filter((file) => /\/(dist|bin|man1)\/./.test(file))) {
      if (path === "/usr/bin/walarc" || !(await isFile(path))) continue;
      expect(packed).toContain(path.slice(1));
    }
    await host.require("sh", "-c", `cd / && echo '${digests}' | md5sum --check --quiet`);
  }
  const verify = async () => (await host.run("dpkg", "--verify", "walarc", "walarc-client")).output;
  // A machine may leave out documentation, which is then missing; nothing is different.
  expect(await verify()).not.toMatch(/^..5/m);
  await host.require("sh", "-c", "echo >> /usr/lib/walarc/bin/walarc");
  expect(await verify()).toMatch(/^\?\?5\?+ +\/usr\/lib\/walarc\/bin\/walarc$/m);
  expect(await verify()).not.toContain("walarc.toml");
});

test("an upgrade restarts the daemon, and keeps its archive and configuration", async ({
  skip,
}) => {
  const host = machine(skip);
  const pid = await host.property("walarc", "MainPID");
  await host.require("sh", "-c", "echo '# mine' >> /etc/walarc/walarc.toml");
  await host.require("sh", "-c", "dpkg --install /srv/*.deb");
  expect(await host.property("walarc", "ActiveState")).toBe("active");
  expect(await host.property("walarc", "MainPID")).not.toBe(pid);
  expect(await host.require("tail", "-1", "/etc/walarc/walarc.toml")).toBe("# mine");
  expect(await host.require("walarc", "ls")).toContain(SEGMENT.name);
});

test("an upgrade leaves a daemon alone that its configuration would not let come back", async ({
  skip,
}) => {
  const host = machine(skip);
  const pid = await host.property("walarc", "MainPID");
  await host.require("sh", "-c", "echo 'mistake = 1' >> /etc/walarc/walarc.toml");
  const { status, output } = await host.run("sh", "-c", "dpkg --install /srv/walarc_*.deb");
  expect({ status, output }).toMatchObject({
    status: 0,
    output: expect.stringMatching(
      /mistake: is not a known key[^]*not restarted, the old version goes on/,
    ),
  });
  expect(await host.property("walarc", "MainPID")).toBe(pid);
  await host.require("sed", "-i", "/^mistake/d", "/etc/walarc/walarc.toml");
});

test("a purge takes the service away and leaves the archive", async ({ skip }) => {
  const host = machine(skip);
  // Whatever somebody has done by hand before.
  await host.require("rm", "/usr/lib/systemd/system/walarc.service");
  await host.require("systemctl", "daemon-reload");
  await host.require("dpkg", "--purge", "walarc", "walarc-client");
  expect(await host.property("walarc", "ActiveState")).toBe("inactive");
  expect(await host.property("walarc", "LoadState")).not.toBe("loaded");
  expect((await host.run("walarc", "--version")).status).not.toBe(0);
  const stored = await host.require("find", "/var/lib/walarc", "-name", SEGMENT.name);
  expect(stored).toContain(SEGMENT.name);
});
