import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { DiskStore } from "../../src/store/disk.ts";
import { describeFaults } from "../support/fault-tools.ts";
import { TmpfsMount } from "../support/tmpfs-mount.ts";
import { contentOf, keysOf, put } from "./objects.ts";

const signal = new AbortController().signal;
const KEY = "clusters/main/wal/00000001/00000000/000000010000000000000001";
const STATE = "clusters/main/standbys/s1.json";
const MIB = 1024 * 1024;
const FULL = { code: "store-failed", status: 507 };

describeFaults("a disk that is full", { needs: ["root"] }, () => {
  let mount: TmpfsMount;
  let stack: AsyncDisposableStack;

  beforeEach(async () => {
    stack = new AsyncDisposableStack();
    mount = stack.use(await TmpfsMount.create("size=8m,nr_inodes=40"));
  });
  afterEach(() => stack.disposeAsync());

  async function open(options = {}): Promise<DiskStore> {
    return stack.use(await DiskStore.open(join(mount.path, "store"), options));
  }

  test("refuses pushes, keeps small states, and takes pushes again once there is room", async () => {
    const store = await open();
    await put(store, KEY, "archived before");
    const filler = join(mount.path, "filler");
    await writeFile(filler, Buffer.alloc(7 * MIB));

    await expect(put(store, `${KEY}0`, "no room")).rejects.toMatchObject(FULL);
    await expect(store.probe({ signal })).rejects.toMatchObject(FULL);
    await store.replace(STATE, Buffer.from("a restart point"), { signal });
    await store.settle(KEY, { signal });
    expect(await contentOf(store, KEY)).toBe("archived before");
    expect(await contentOf(store, STATE)).toBe("a restart point");

    await store.remove(KEY, { signal });
    await rm(filler);
    expect(await put(store, `${KEY}0`, "room")).toBe("created");
    expect((await store.probe({ signal })).freeBytes).toBeGreaterThan(6 * MIB);
  });

  test("is noticed in the middle of a push, and what was written is given back", async () => {
    const store = await open({ reserveBytes: 0 });
    const { freeBytes = 0 } = await store.probe({ signal });
    {
      await using staged = await store.stage("main", { signal });
      const block = Buffer.alloc(MIB);
      const pushing = async (): Promise<void> => {
        for (let written = 0; written < 16; written += 1) await staged.write(block);
      };
      await expect(pushing()).rejects.toMatchObject(FULL);
      await expect(staged.publish(KEY, { signal })).rejects.toMatchObject({ code: "store-failed" });
    }
    expect(await keysOf(store)).toEqual([]);
    expect((await store.probe({ signal })).freeBytes).toBeGreaterThan(freeBytes - MIB);
  });

  test("opens, so that what it holds can be fetched", async () => {
    {
      await using store = await open();
      await put(store, KEY, "archived before");
    }
    await writeFile(join(mount.path, "filler"), Buffer.alloc(16 * MIB)).catch(() => {});
    await using store = await open();
    expect(await contentOf(store, KEY)).toBe("archived before");
    await expect(put(store, `${KEY}0`, "no room")).rejects.toMatchObject(FULL);
  });

  test("may be out of inodes with many bytes left", async () => {
    const store = await open();
    const fillers: string[] = [];
    const fill = async (): Promise<void> => {
      for (;;) {
        const path = join(mount.path, `filler${fillers.length}`);
        await writeFile(path, "");
        fillers.push(path);
      }
    };
    await put(store, KEY, "archived before");
    await expect(fill()).rejects.toMatchObject({ code: "ENOSPC" });
    await expect(put(store, `${KEY}0`, "no room")).rejects.toMatchObject(FULL);
    await expect(store.probe({ signal })).rejects.toMatchObject(FULL);
    expect(await contentOf(store, KEY)).toBe("archived before");

    for (const path of fillers) await rm(path);
    expect(await put(store, `${KEY}0`, "room")).toBe("created");
    expect(await keysOf(store)).toEqual([KEY, `${KEY}0`]);
  });
});

describeFaults("a file system that is remounted read-only", { needs: ["root"] }, () => {
  const READ_ONLY = { code: "store-failed", status: 503, hint: /remount it writable/ };

  test("still gives what it holds, and takes pushes again when it is writable", async () => {
    await using mount = await TmpfsMount.create("size=8m");
    await using store = await DiskStore.open(join(mount.path, "store"));
    await put(store, KEY, "archived before");
    await mount.remount("ro");

    await expect(put(store, `${KEY}0`, "later")).rejects.toMatchObject(READ_ONLY);
    await expect(store.probe({ signal })).rejects.toMatchObject(READ_ONLY);
    await expect(store.remove(KEY, { signal })).rejects.toMatchObject(READ_ONLY);
    expect(await contentOf(store, KEY)).toBe("archived before");

    await mount.remount("rw");
    expect(await put(store, `${KEY}0`, "now")).toBe("created");
  });

  test("opens without its lock, and asks for it before the first write", async () => {
    await using mount = await TmpfsMount.create("size=8m");
    const root = join(mount.path, "store");
    {
      await using store = await DiskStore.open(root);
      await put(store, KEY, "archived before");
    }
    await mount.remount("ro");
    await using store = await DiskStore.open(root);
    expect(await contentOf(store, KEY)).toBe("archived before");
    await expect(put(store, `${KEY}0`, "later")).rejects.toMatchObject(READ_ONLY);

    await mount.remount("rw");
    {
      await using _other = await DiskStore.open(root);
      await expect(put(store, `${KEY}0`, "later")).rejects.toThrow(/is locked by process/);
    }
    expect(await put(store, `${KEY}0`, "now")).toBe("created");
    await expect(DiskStore.open(root)).rejects.toThrow(/is locked by process/);
  });

  test("is no place for a new store", async () => {
    await using mount = await TmpfsMount.create("size=8m,ro");
    await expect(DiskStore.open(mount.path)).rejects.toMatchObject(READ_ONLY);
    await expect(DiskStore.open(join(mount.path, "store"))).rejects.toMatchObject(READ_ONLY);
  });
});
