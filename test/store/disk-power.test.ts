import { join } from "node:path";
import { expect, test } from "vitest";
import { DiskStore } from "../../src/store/disk.ts";
import { describeFaults } from "../support/fault-tools.ts";
import { type FileSystemKind, LoopMount } from "../support/loop-mount.ts";
import { contentOf, keysOf, put } from "./objects.ts";

const signal = new AbortController().signal;
const WAL = "clusters/main/wal/00000001";
const STATE = "clusters/main/standbys/s1.json";

/*
 * What test/store/crash.test.ts shows for a file system as POSIX allows it to be, on two real ones.
 * One cut each, right after the last acknowledgement; all of a fresh store hangs on it.
 */
describeFaults(
  "a power cut right after an acknowledgement",
  { needs: ["root", "ext4", "xfs"] },
  () => {
    test.each<FileSystemKind>(["ext4", "xfs"])("loses nothing on %s", async (kind) => {
      await using mount = await LoopMount.create(kind);
      const root = join(mount.path, "store");
      const keys = [`${WAL}/00000000/1`, `${WAL}/00000001/1`, `${WAL}/00000001/2`];
      {
        await using store = await DiskStore.open(root);
        await put(store, `${WAL}/00000001/removed`, "not needed any more");
        await store.remove(`${WAL}/00000001/removed`, { signal });
        await store.replace(STATE, Buffer.from("older state"), { signal });
        await store.replace(STATE, Buffer.from("state"), { signal });
        for (const key of keys) await put(store, key, `content of ${key}`);
        mount.pullPlug();
      }
      await mount.comeBack();

      await using store = await DiskStore.open(root);
      expect(await keysOf(store)).toEqual([STATE, ...keys]);
      expect(await contentOf(store, STATE)).toBe("state");
      for (const key of keys) expect(await contentOf(store, key)).toBe(`content of ${key}`);
      expect(await put(store, `${WAL}/00000002/1`, "goes on")).toBe("created");
    });
  },
);
