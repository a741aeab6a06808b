import { dirname } from "node:path";
import type { FileSystem } from "../../src/disk/file-system.ts";
import type { SimulatedFileSystem } from "../support/simulated-file-system.ts";
import type { Start } from "./crashes.ts";

/** What archivers in the wild got wrong, each a flaw of an otherwise correct writer. */
export type Flaw =
  | "content not synced"
  | "directory not synced"
  | "published before it was synced"
  | "identical retry acknowledged unsynced"
  | "parent of a new directory not synced"
  | "failed sync tried again";

/** A writer in a few lines, right in every step but the flawed one. */
export function flawedWriter(flaw: Flaw | "none"): Start {
  return async (disk) => {
    await disk.makeDirectory("/store");
    await disk.syncDirectory("/");
    const publish = async (key: string, content: Buffer): Promise<void> => {
      await publishFile(`/store/${key}`, { content, flaw, disk });
    };
    return { publish, replace: publish, remove: () => Promise.reject(new Error("not modelled")) };
  };
}

let staged = 0;

async function publishFile(
  path: string,
  { content, flaw, disk }: { content: Buffer; flaw: Flaw | "none"; disk: SimulatedFileSystem },
): Promise<void> {
  const isEarly = flaw === "published before it was synced";
  await makeDirectories(dirname(path), disk);
  const temporary = `/store/${(staged += 1)}`;
  const file = await disk.create(temporary);
  await file.write(content);
  if (!isEarly && flaw !== "content not synced") await syncOnce(file, flaw);
  const published = await disk.link(temporary, path);
  if (isEarly) await syncOnce(file, flaw);
  await disk.remove(temporary);
  if (published === "exists" && flaw === "identical retry acknowledged unsynced") return;
  if (published === "exists") await (await disk.open(path))?.sync();
  if (flaw !== "directory not synced") await disk.syncDirectory(dirname(path));
  if (flaw === "parent of a new directory not synced") return;
  for (let at = dirname(path); at !== "/store"; at = dirname(at)) {
    await disk.syncDirectory(dirname(at));
  }
}

async function syncOnce(file: { sync(): Promise<void> }, flaw: Flaw | "none"): Promise<void> {
  try {
    await file.sync();
  } catch (error) {
    if (flaw !== "failed sync tried again") throw error;
    await file.sync();
  }
}

async function makeDirectories(path: string, disk: FileSystem): Promise<void> {
  if (path === "/store") return;
  await makeDirectories(dirname(path), disk);
  await disk.makeDirectory(path);
}
