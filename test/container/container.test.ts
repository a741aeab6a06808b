import { chown, cp, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Container } from "../support/container.ts";
import { execForm, readDockerfile } from "../support/dockerfile.ts";
import { makeSegment, MIB } from "../support/wal-maker.ts";

const PROJECT = fileURLToPath(new URL("../..", import.meta.url));
const image = readDockerfile(join(PROJECT, "Dockerfile")).at(-1)!.instructions;
const last = (word: string) => image.findLast((one) => one.word === word)!;
const HEALTH = execForm(last("HEALTHCHECK"));
const USER = last("USER").text;
/** TCP is closed here: other tests may have the port. */
const CONFIG = '[server]\nlisten = ""\n\n[store]\npath = "/var/lib/walarc"\n';
const SEGMENT = makeSegment({ number: 1, segmentSizeBytes: MIB, content: "mixed" });

let directory: string;
let container: Container;

async function fill(root: string): Promise<void> {
  await mkdir(join(root, "opt/walarc/bin"), { recursive: true });
  await cp(join(PROJECT, "bin/walarc"), join(root, "opt/walarc/bin/walarc"));
  await cp(join(PROJECT, "dist"), join(root, "opt/walarc/dist"), { recursive: true });
  await mkdir(join(root, "usr/local/bin"), { recursive: true });
  await cp(process.execPath, join(root, "usr/local/bin/node"));
  await symlink("/opt/walarc/bin/walarc", join(root, "usr/local/bin/walarc"));
  await mkdir(join(root, "etc/walarc"), { recursive: true });
  await writeFile(join(root, "etc/walarc/walarc.toml"), CONFIG);
  await mkdir(join(root, "srv"));
  await writeFile(join(root, "srv", SEGMENT.name), SEGMENT.bytes);
}

describe.skipIf(process.getuid?.() !== 0)("the daemon as PID 1 of a container", () => {
  /** On this machine's own root, with the image's files over it, as the image's user. */
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "walarc-"));
    const path = (...parts: string[]) => join(directory, ...parts);
    for (const part of ["base", "added", "volume"]) await mkdir(path(part));
    await fill(path("added"));
    const [uid, gid] = USER.split(":").map(Number);
    await chown(path("volume"), uid ?? 0, gid ?? 0);
    container = new Container({
      base: path("base"),
      root: "/",
      added: path("added"),
      volume: path("volume"),
      user: USER,
      command: [...execForm(last("ENTRYPOINT")), ...execForm(last("CMD"))],
      logFile: path("log"),
    });
    await container.healthy(HEALTH);
  });

  afterAll(async () => {
    await container[Symbol.asyncDispose]();
    await rm(directory, { recursive: true });
  });

  test("archives on a root that nobody can write to, without any rights", async () => {
    expect((await container.run(["touch", "/etc/x"], { user: "0:0" })).output).toMatch(/Read-only/);
    expect((await container.run(["cat", "/proc/1/status"])).output).toMatch(/^CapBnd:\t0+$/m);
    const { status, output } = await container.run(["walarc", "push", `/srv/${SEGMENT.name}`]);
    expect({ status, output }).toEqual({ status: 0, output: "" });
    expect((await container.run(["walarc", "ls"])).output).toContain(SEGMENT.name);
  });

  test("leaves no zombies, as it starts nothing that outlives its parent", async () => {
    for (let turn = 0; turn < 5; turn += 1) await container.run(HEALTH);
    const { output } = await container.run(["sh", "-c", "cat /proc/[0-9]*/stat"]);
    expect(output.split("\n").filter((line) => / Z /.test(line))).toEqual([]);
  });

  test("is not healthy while it stands still, and is again when it goes on", async () => {
    container.signal("SIGSTOP");
    expect((await container.run(HEALTH)).status).toBe(1);
    container.signal("SIGCONT");
    await container.healthy(HEALTH);
  });

  test("ends in an orderly way when it is told to stop", async () => {
    container.signal("SIGTERM");
    expect(await container.ended).toBe(0);
    expect(container.log()).toContain('"msg":"stopped"');
  });
});
