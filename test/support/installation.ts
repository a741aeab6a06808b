import { access, mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { linkOrCopy, type Workspace } from "./workspace.ts";

const PROJECT = fileURLToPath(new URL("../..", import.meta.url));

/**
 * The product where the server account can run it: the checkout may be in a place it cannot enter.
 */
export interface Installation {
  /** Absolute path of `bin/walarc`. */
  readonly walarc: string;
  /** The whole environment for it, with `walarc` on the PATH and nothing of this machine's own. */
  readonly env: Readonly<Record<string, string>>;
}

/** Copies `bin/walarc`, `dist/` and this Node.js into the workspace. */
export async function installWalarc(workspace: Workspace): Promise<Installation> {
  const prefix = await workspace.makeDirectory("product");
  const parts = ["bin", "dist", "node_modules", "node_modules/.bin"];
  for (const part of parts) await mkdir(join(prefix, part));

  await linkOrCopy(join(PROJECT, "bin/walarc"), join(prefix, "bin/walarc"));
  for (const name of await readdir(join(PROJECT, "dist"))) {
    await linkOrCopy(join(PROJECT, "dist", name), join(prefix, "dist", name));
  }
  await linkOrCopy(process.execPath, join(prefix, "node_modules/.bin/node"));
  await access(join(prefix, "dist/walarc.cjs"));

  const config = await workspace.writeFile(join(prefix, "client.toml"), "[client]\n");
  const path = [join(prefix, "bin"), "/usr/bin", "/bin"].join(":");
  return {
    walarc: join(prefix, "bin/walarc"),
    env: { PATH: path, LC_ALL: "C", TZ: "UTC", WALARC_CONFIG: config },
  };
}
