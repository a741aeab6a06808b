import { existsSync, linkSync, readFileSync, renameSync, unlinkSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { describeFaults } from "../support/fault-tools.ts";
import { LoopMount } from "../support/loop-mount.ts";
import { type Loss, lossesOf, syncPath, type Writer, writeWhole } from "../support/power-cut.ts";

/*
 * A harness that was never seen red proves nothing. These writers make the mistakes that archivers
 * in use have made, and the power cut must convict each of them; the last one makes none.
 *
 * All of them are found on both file systems. A lost name shows by the cut alone; a torn file, and
 * a source lost with it, only when somebody else's fsync commits the journal before the writer's
 * own.
 */

const WRITERS: readonly { title: string; writer: Writer; losses: readonly Loss[] }[] = [
  {
    title: "never syncs",
    losses: ["acknowledged file lost", "torn file visible"],
    *writer({ target, content }) {
      writeWhole(target, content);
      yield "acknowledged";
    },
  },
  {
    title: "syncs the file but not its directory",
    losses: ["acknowledged file lost"],
    *writer({ target, content }) {
      const temporary = `${target}.tmp`;
      writeWhole(temporary, content);
      syncPath(temporary);
      yield "working";
      linkSync(temporary, target);
      unlinkSync(temporary);
      yield "acknowledged";
    },
  },
  {
    title: "renames before it syncs",
    losses: ["torn file visible"],
    *writer({ directory, target, content }) {
      const temporary = `${target}.tmp`;
      writeWhole(temporary, content);
      renameSync(temporary, target);
      yield "working";
      syncPath(target);
      syncPath(directory);
      yield "acknowledged";
    },
  },
  {
    title:
      "acknowledges an identical retry without a sync, after its first try died at the directory's",
    losses: ["acknowledged file lost"],
    *writer({ target, content }) {
      const temporary = `${target}.tmp`;
      writeWhole(temporary, content);
      syncPath(temporary);
      linkSync(temporary, target);
      // Killed here. The next process finds the name taken and the content equal.
      expect(content.equals(readFileSync(target))).toBe(true);
      yield "acknowledged";
    },
  },
  {
    title: "unlinks its source before the copy is synced",
    losses: ["source lost", "torn file visible"],
    *writer({ directory, target, source }) {
      const temporary = `${target}.tmp`;
      writeWhole(temporary, readFileSync(source));
      renameSync(temporary, target);
      unlinkSync(source);
      yield "working";
      syncPath(target);
      syncPath(directory);
      yield "acknowledged";
    },
  },
  {
    title: "does everything in the right order",
    losses: [],
    *writer({ directory, target, source, content }) {
      const temporary = `${target}.tmp`;
      writeWhole(temporary, content);
      yield "working";
      syncPath(temporary);
      yield "working";
      linkSync(temporary, target);
      yield "working";
      unlinkSync(temporary);
      yield "working";
      syncPath(directory);
      yield "acknowledged";
      unlinkSync(source);
      yield "working";
    },
  },
];

for (const kind of ["ext4", "xfs"] as const) {
  describeFaults(`a power cut on ${kind}`, { needs: ["root", kind] }, () => {
    let mount: LoopMount;
    beforeAll(async () => {
      mount = await LoopMount.create(kind);
    });
    afterAll(() => mount[Symbol.asyncDispose]());

    test.each(WRITERS)("judges a writer that $title", async (row) => {
      expect([...(await lossesOf(row.writer, mount))].sort()).toEqual([...row.losses].sort());
    });

    test("leaves what was synced, and nothing of what was not", async () => {
      const [kept, lost] = [`${mount.path}/kept`, `${mount.path}/lost`];
      writeWhole(kept, Buffer.from("kept"));
      syncPath(kept);
      syncPath(mount.path);
      writeWhole(lost, Buffer.from("lost"));
      await mount.cutPower();

      expect(readFileSync(kept, "utf8")).toBe("kept");
      expect(existsSync(lost)).toBe(false);
    });

    test("makes every later write and sync fail, so that nobody can acknowledge after it", async () => {
      const path = `${mount.path}/late`;
      writeWhole(path, Buffer.from("late"));
      mount.pullPlug();

      expect(() => syncPath(path)).toThrow(/EIO|EUCLEAN/);
      expect(() => syncPath(mount.path)).toThrow(/EIO|EUCLEAN/);
      await mount.comeBack();
    });
  });
}
