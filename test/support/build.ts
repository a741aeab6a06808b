import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

/** Builds dist/ once before all tests: commands are tested as PostgreSQL runs them. */
export async function setup(): Promise<void> {
  const script = fileURLToPath(new URL("../../bin/build.mjs", import.meta.url));
  await promisify(execFile)(process.execPath, [script]);
}
