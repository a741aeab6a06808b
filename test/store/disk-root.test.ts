import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  chmod,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { DiskStore } from "../../src/store/disk.ts";
import { eventually } from "../support/eventually.ts";
import { Workspace } from "../support/workspace.ts";
import { contentOf, keysOf, put } from "./objects.ts";

const signal = new AbortController().signal;
const KEY = "clusters/main/wal/00000001/00000000/000000010000000000000001";
const HOLDER = join(import.meta.dirname, "../support/store-holder.ts");

let workspace: Workspace;
let root: string;

beforeEach(async () => {
  workspace = await Workspace.create();
  root = workspace.path("store");
});
afterEach(() => workspace[Symbol.asyncDispose]());

describe("opening a directory", () => {
  test("makes it, with what is missing above it, and finds everything again later", async () => {
    root = workspace.path("not", "there", "yet");
    {
      await using store = await DiskStore.open(root);
      await put(store, KEY, "kept");
    }
    expect(JSON.parse(await readFile(join(root, "walarc.json"), "utf8"))).toEqual({ format: 1 });
    await using store = await DiskStore.open(root);
    expect(await contentOf(store, KEY)).toBe("kept");
    expect(await store.clusters({ signal })).toEqual(["main"]);
  });

  test.each([
    ['{"format": 2}', /has format 2/],
    ['{"format": 0}', /has format 0/],
    ["{}", /does not tell the format/],
    ["\0\0\0\0", /does not tell the format/],
    ["", /does not tell the format/],
  ])("refuses a format it does not know, and touches nothing: %j", async (marker, message) => {
    await mkdir(join(root, "clusters/main/tmp"), { recursive: true });
    await writeFile(join(root, "walarc.json"), marker);
    await writeFile(join(root, "clusters/main/tmp/staged"), "of a walarc to come");
    const before = await everythingIn(root);
    await expect(DiskStore.open(root)).rejects.toMatchObject({ code: "usage" });
    await expect(DiskStore.open(root)).rejects.toThrow(message);
    expect(await everythingIn(root)).toEqual(before);
  });

  test("refuses one that holds something else, and touches nothing", async () => {
    await mkdir(root);
    await writeFile(join(root, "thesis.txt"), "the only copy");
    const opening = DiskStore.open(root);
    await expect(opening).rejects.toMatchObject({ code: "usage", hint: /"thesis.txt"/ });
    expect(await readdir(root)).toEqual(["thesis.txt"]);
  });

  test("takes one that only a new file system or an interrupted start has touched", async () => {
    await mkdir(join(root, "lost+found"), { recursive: true });
    await writeFile(join(root, "walarc.lock"), "");
    await writeFile(join(root, "walarc.tmp.1234"), '{"for');
    await using store = await DiskStore.open(root);
    expect(await put(store, KEY, "kept")).toBe("created");
    expect(await readdir(root)).not.toContain("walarc.tmp.1234");
  });

  test("refuses one that everybody may write to, and takes one that a group may", async () => {
    await mkdir(root);
    await chmod(root, 0o777);
    await expect(DiskStore.open(root)).rejects.toMatchObject({ code: "usage", hint: /chmod o-w/ });
    await chmod(root, 0o770);
    await using store = await DiskStore.open(root);
    expect(await put(store, KEY, "kept")).toBe("created");
  });

  test("refuses what is no directory, and follows a symbolic link to one", async () => {
    await writeFile(root, "");
    await expect(DiskStore.open(root)).rejects.toMatchObject({ code: "usage" });

    const link = workspace.path("link");
    await mkdir(workspace.path("elsewhere"));
    await symlink(workspace.path("elsewhere"), link);
    await using store = await DiskStore.open(link);
    expect(await put(store, KEY, "kept")).toBe("created");
    expect(await readdir(workspace.path("elsewhere"))).toContain("clusters");
  });

  test.each([0o000, 0o022, 0o177])(
    "makes everything for its user alone, umask %o",
    async (umask) => {
      const before = process.umask(umask);
      try {
        await using store = await DiskStore.open(root);
        await put(store, KEY, "private");
        await store.replace("clusters/main/cluster.json", Buffer.from("{}"), { signal });
        await using staged = await store.stage("main", { signal });
        await staged.write(Buffer.from("also private"));
        const modes = new Set<string>();
        for (const path of ["", ...(await readdir(root, { recursive: true }))]) {
          const { mode } = await stat(join(root, path));
          modes.add((mode & 0o170777).toString(8));
        }
        expect(modes).toEqual(new Set(["100600", "40700"]));
      } finally {
        process.umask(before);
      }
    },
  );
});

describe("two daemons on one directory", () => {
  test("the second is refused and told who holds it, until the first is killed", async () => {
    const holder = await hold(root);
    const refused = { code: "store-failed", hint: /another walarc daemon/ };
    await expect(DiskStore.open(root)).rejects.toMatchObject(refused);
    await expect(DiskStore.open(root)).rejects.toThrow(`locked by process ${holder.pid}`);

    holder.kill("SIGKILL");
    await once(holder, "exit");
    await using store = await DiskStore.open(root);
    expect(await put(store, KEY, "kept")).toBe("created");
  });

  test("cannot be one process either, and a refusal leaves the first its lock", async () => {
    await using store = await DiskStore.open(root);
    await expect(DiskStore.open(root)).rejects.toThrow(`locked by process ${process.pid}`);
    await expect(hold(root)).rejects.toThrow(`locked by process ${process.pid}`);
    expect(await put(store, KEY, "kept")).toBe("created");
  });

  test("of several that start at the same moment exactly one gets it", async () => {
    const outcomes = await Promise.allSettled(Array.from({ length: 4 }, () => hold(root)));
    const holders = outcomes.flatMap((each) => (each.status === "fulfilled" ? [each.value] : []));
    for (const holder of holders) holder.kill("SIGKILL");
    for (const holder of holders) await once(holder, "exit");
    expect(holders).toHaveLength(1);
  });

  test("a store that was closed is free", async () => {
    const holder = await hold(root);
    holder.stdin?.end();
    const [status] = await once(holder, "exit");
    expect(status).toBe(0);
    await using _store = await DiskStore.open(root);
  });
});

describe("a directory that is removed, moved or replaced under the daemon", () => {
  const takeAway: Record<string, () => Promise<void>> = {
    "the root is removed": () => rm(root, { recursive: true }),
    "the root is moved away": () => rename(root, `${root}.old`),
    "everything in the root is removed": async () => {
      for (const name of await readdir(root)) await rm(join(root, name), { recursive: true });
    },
    "another store stands in its place": async () => {
      await rename(root, `${root}.old`);
      await using _other = await DiskStore.open(root);
    },
  };

  test.each(Object.keys(takeAway))(
    "fails every operation, and nothing is made anew: %s",
    async (how) => {
      await using store = await DiskStore.open(root);
      await put(store, KEY, "gone");
      await using staged = await store.stage("main", { signal });
      await staged.write(Buffer.from("in flight"));
      await takeAway[how]?.();
      const left = await everythingIn(workspace.directory);

      const failed = { code: "store-failed" };
      await expect(staged.publish(`${KEY}0`, { signal })).rejects.toMatchObject(failed);
      await expect(store.probe({ signal })).rejects.toMatchObject(failed);
      await expect(put(store, `${KEY}1`, "new")).rejects.toMatchObject(failed);
      await expect(put(store, KEY.replace("main", "second"), "new")).rejects.toMatchObject(failed);
      await expect(store.replace(KEY, Buffer.from(""), { signal })).rejects.toMatchObject(failed);
      await expect(store.settle(KEY, { signal })).rejects.toMatchObject(failed);
      await expect(store.clusters({ signal })).rejects.toMatchObject(failed);
      await expect(keysOf(store)).rejects.toMatchObject(failed);
      expect(await everythingIn(workspace.directory)).toEqual(left);
    },
  );

  test.each(Object.keys(takeAway))("never says that an object is absent: %s", async (how) => {
    await using store = await DiskStore.open(root);
    await put(store, KEY, "gone");
    await takeAway[how]?.();
    await expect(store.stat(KEY, { signal })).rejects.toMatchObject({ code: "store-failed" });
    await expect(store.open(KEY, { signal })).rejects.toMatchObject({ code: "store-failed" });
  });

  test("a cluster whose directory is gone fails, and the others go on", async () => {
    const other = KEY.replace("main", "other");
    await using store = await DiskStore.open(root);
    await put(store, KEY, "gone");
    await put(store, other, "kept");
    await rm(join(root, "clusters/main"), { recursive: true });

    const failed = { code: "store-failed", hint: /removed, moved or unmounted/ };
    await expect(store.open(KEY, { signal })).rejects.toMatchObject(failed);
    await expect(put(store, KEY, "again")).rejects.toMatchObject(failed);
    expect(await readdir(join(root, "clusters"))).toEqual(["other"]);
    expect(await contentOf(store, other)).toBe("kept");
    expect(await put(store, `${other}0`, "new")).toBe("created");
  });

  test("a directory of WAL files is not made again, one of things set aside is", async () => {
    const conflict = "clusters/main/conflicts/a.b";
    await using store = await DiskStore.open(root);
    await put(store, KEY, "gone");
    await put(store, conflict, "looked at");
    await rm(join(root, "clusters/main/conflicts"), { recursive: true });
    expect(await put(store, conflict, "another")).toBe("created");
    await rm(join(root, "clusters/main/wal"), { recursive: true });
    await expect(put(store, KEY, "again")).rejects.toMatchObject({ code: "store-failed" });
  });
});

test("what stands in the place of an object and is none is an error, never followed", async () => {
  await using store = await DiskStore.open(root);
  await put(store, KEY, "real");
  await symlink("/etc/passwd", join(root, `${KEY}.link`));
  await mkdir(join(root, `${KEY}.directory`));
  for (const key of [`${KEY}.link`, `${KEY}.directory`]) {
    await expect(store.stat(key, { signal })).rejects.toMatchObject({ code: "store-failed" });
    await expect(store.open(key, { signal })).rejects.toMatchObject({ code: "store-failed" });
    await expect(put(store, key, "x")).rejects.toMatchObject({ code: "store-failed" });
  }
  expect(await keysOf(store)).toEqual([KEY]);
});

/** Another process that has the store open; rejects with what it says when it cannot. */
async function hold(path: string): Promise<ChildProcess> {
  const holder = spawn(process.execPath, [HOLDER, path], { stdio: ["pipe", "pipe", "pipe"] });
  let said = "";
  let complained = "";
  holder.stdout.on("data", (chunk) => (said += String(chunk)));
  holder.stderr.on("data", (chunk) => (complained += String(chunk)));
  let isClosed = false;
  // Not its exit: what it says may arrive after that.
  holder.once("close", () => (isClosed = true));
  await eventually("the store is open", () => said !== "" || isClosed);
  if (said === "") throw new Error(complained);
  expect(complained, "no warnings").toBe("");
  return holder;
}

async function everythingIn(directory: string): Promise<string[]> {
  return (await readdir(directory, { recursive: true })).sort();
}
