import {
  chmodSync,
  chownSync,
  mkdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { requireApart } from "../../src/spool/apart.ts";
import { SpoolDirectory } from "../../src/spool/directory.ts";
import { segment, SpoolScene } from "../support/spool-scene.ts";
import { makeHistory } from "../support/wal-maker.ts";

let scene: SpoolScene;
beforeEach(async () => {
  scene = await SpoolScene.open();
});
afterEach(async () => {
  await scene[Symbol.asyncDispose]();
});

describe("a spool directory", () => {
  test("that everybody may write to is refused", async () => {
    chmodSync(scene.directory, 0o777);
    await expect(scene.start()).rejects.toMatchObject({
      code: "usage",
      message: expect.stringContaining("is writable by everybody") as string,
    });
  });

  test("that everybody may write to from some moment on is left alone from then on", async () => {
    await scene.start();
    scene.put(segment(3));
    await scene.drained();
    chmodSync(scene.directory, 0o777);
    scene.put(segment(4));
    await scene.until("it says so", () => /writable by everybody/.test(scene.status.problem ?? ""));
    expect(scene.names()).toEqual([segment(4).name]);
    chmodSync(scene.directory, 0o770);
    await scene.drained();
  });

  test("in a directory that everybody may change is refused", async () => {
    const open = scene.elsewhere("open");
    mkdirSync(open);
    chmodSync(open, 0o777);
    renameSync(scene.directory, `${open}/spool`);
    await expect(new SpoolDirectory(`${open}/spool`).requireUsable()).rejects.toMatchObject({
      code: "usage",
    });
    renameSync(`${open}/spool`, scene.directory);
  });

  test("that is a file is refused", async () => {
    rmSync(scene.directory, { recursive: true });
    writeFileSync(scene.directory, "");
    await expect(scene.start()).rejects.toMatchObject({ code: "usage" });
  });

  test("whose rejected/ is a link into another directory is refused", async () => {
    mkdirSync(scene.elsewhere("trap"));
    symlinkSync(scene.elsewhere("trap"), scene.path("rejected"));
    await expect(scene.start()).rejects.toMatchObject({ code: "usage" });
  });

  test("that is two spools, by a link, is refused", async () => {
    symlinkSync(scene.directory, scene.elsewhere("link"));
    mkdirSync(scene.elsewhere("other"));
    const [other, missing] = [scene.elsewhere("other"), scene.elsewhere("missing")];
    await requireApart([scene.directory, other, missing]);
    await expect(requireApart([scene.directory, scene.elsewhere("link")])).rejects.toMatchObject({
      code: "usage",
      message: expect.stringContaining("are one directory") as string,
    });
  });

  test("that a group may write to is the usual thing, and a link to it is fine", async () => {
    chmodSync(scene.directory, 0o2770);
    renameSync(scene.directory, scene.elsewhere("real"));
    symlinkSync(scene.elsewhere("real"), scene.directory);
    await scene.start();
    scene.put(makeHistory(2, [{ timeline: 1, switchLsn: "0/500000" }]));
    await scene.drained();
    expect(scene.counted).toEqual(["archived"]);
  });
});

describe.skipIf(process.geteuid?.() !== 0)("what a killed daemon was about to remove", () => {
  // PostgreSQL's files, which the daemon's group may read: a link to them is not allowed.
  function interrupted(mode: number): string {
    const { name, bytes } = segment(3);
    const hidden = `rejected/.removing.${name}.0123456789ab`;
    mkdirSync(scene.path("rejected"), { mode: 0o700 });
    writeFileSync(scene.path(hidden), bytes);
    chmodSync(scene.path(hidden), mode);
    return scene.path(hidden);
  }

  test("and may not link, because it is another user's, is drained all the same", async () => {
    const path = interrupted(0o644);
    using _ = scene.withoutRights();
    chownAsRoot(path);
    await scene.start();
    await scene.drained();
    expect(scene.counted).toEqual(["archived"]);
    expect(scene.rejected()).toEqual([]);
  });

  test("and may neither link nor read is shown in rejected/", async () => {
    const path = interrupted(0o600);
    using _ = scene.withoutRights();
    chownAsRoot(path);
    await scene.start();
    await scene.until("it is counted", () => scene.status.rejected === 1);
    await scene.drained();
    expect(scene.rejected()).toEqual([`removing.${segment(3).name}.0123456789ab`]);
  });

  function chownAsRoot(path: string): void {
    const own = process.geteuid?.() ?? 0;
    process.seteuid?.(0);
    chownSync(path, 0, 0);
    process.seteuid?.(own);
  }
});
