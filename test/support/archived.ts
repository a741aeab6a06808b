import { createHash } from "node:crypto";
import { expect } from "vitest";
import type { WalarcDaemon } from "./daemon.ts";

/**
 * Of these files those that retention leaves alone by its defaults: whatever the oldest base backup
 * needs to be restored, all that came later, and all history files.
 */
export function sinceBackup(files: ReadonlyMap<string, Buffer>): Map<string, Buffer> {
  const backup = [...files.keys()].find((name) => name.endsWith(".backup"));
  if (backup === undefined) return new Map(files);
  const horizon = backup.slice(8, 24);
  const isLeft = (name: string): boolean =>
    name.endsWith(".history") || name.slice(8, 24) >= horizon;
  return new Map([...files].filter(([name]) => isLeft(name)));
}

/**
 * Holds the archive to every one of `files`: what it gives for the name is what PostgreSQL
 * archived, and so is the digest that it tells.
 */
export async function expectArchived(
  files: ReadonlyMap<string, Buffer>,
  daemon: WalarcDaemon,
  cluster = "main",
): Promise<void> {
  expect(files.size).toBeGreaterThan(0);
  for (const [name, archived] of files) {
    const { status, headers, body } = await daemon.get(`/v1/clusters/${cluster}/wal/${name}`);
    const digest = createHash("sha256").update(archived).digest("hex");
    expect({ name, status }).toEqual({ name, status: 200 });
    expect({ name, digest: headers["walarc-sha256"] }).toEqual({ name, digest });
    expect(body.equals(archived), `${name} comes back as it went in`).toBe(true);
  }
}
