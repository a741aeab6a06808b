import { chmodSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
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
