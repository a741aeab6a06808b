import { join } from "node:path";
import type { FileSystem } from "./file-system.ts";

export interface Tree {
  readonly root: string;
  readonly fileSystem: FileSystem;
  /** Directories, as `a/b/`, to be passed over. */
  isHidden(prefix: string): boolean;
}

/**
 * Paths of the regular files under `prefix` (`""` or ending in `/`), relative to the root and in
 * the order of the whole path, not of its parts: `a.b` stands before `a/b`, because `.` sorts
 * before `/`. One directory at a time is in memory, and no file is touched.
 */
export async function* listTree(
  tree: Tree,
  options: { prefix: string; after: string | undefined; signal: AbortSignal },
): AsyncGenerator<string, void, void> {
  const pending = [options.prefix]; // The next one last.
  for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
    if (!path.endsWith("/") && path !== "") {
      yield path;
      continue;
    }
    options.signal.throwIfAborted();
    const children = (await childrenOf(path, tree)).filter((child) =>
      isAfter(child, options.after),
    );
    children.sort().reverse();
    for (const child of children) pending.push(child);
  }
}

/** Children as they take part in the order: a directory ends in `/`. */
async function childrenOf(path: string, tree: Tree): Promise<string[]> {
  if (tree.isHidden(path)) return [];
  const children = [];
  for (const entry of (await tree.fileSystem.list(join(tree.root, path))) ?? []) {
    if (entry.kind === "file") children.push(path + entry.name);
    if (entry.kind === "directory") children.push(`${path}${entry.name}/`);
  }
  return children;
}

/** Whether the path, or for a directory anything in it, comes after `after`. */
function isAfter(path: string, after: string | undefined): boolean {
  return after === undefined || path > after || (path.endsWith("/") && after.startsWith(path));
}
