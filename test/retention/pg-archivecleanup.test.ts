import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { planRetention, removableNames } from "../../src/wal/retention.ts";
import { requireRestartPoint } from "../../src/retention/standby.ts";
import { findPostgres } from "../support/postgres-programs.ts";
import { claimantsIn, type World, worlds } from "./worlds.ts";

const postgres = findPostgres();
const ARCHIVES = 400;

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "walarc-cleanup-"));
});
afterAll(() => rmSync(root, { recursive: true }));

/** Names that are none of an archive's: both programs have to leave them alone. */
const STRANGERS = ["000000010000000000000009.gz", "lost+found.tmp", "00000001000000000000000a"];

test.skipIf("missing" in postgres)(
  `removes what pg_archivecleanup removes, for one standby, in ${ARCHIVES} random archives`,
  () => {
    if ("missing" in postgres) return;
    const program = join(postgres.bin, "pg_archivecleanup");
    let [compared, removed, backups] = [0, 0, 0];
    fc.assert(
      fc.property(worlds, fc.nat(), (world, pick) => {
        const restartPoint = restartPointIn(world, pick);
        if (restartPoint === undefined) return;
        const directory = directoryOf(world, (compared += 1));
        execFileSync(program, [directory, restartPoint]);
        const left = readdirSync(directory).filter((name) => !STRANGERS.includes(name));
        const theirs = world.names.filter((name) => !left.includes(name)).sort();

        const ours = removedFor(world, restartPoint);
        expect(ours.filter((name) => !isBackup(name))).toEqual(theirs);
        // Version 15 leaves backup history files for ever. Version 17 removes them with -b, by the
        // same comparison.
        expect(ours.filter(isBackup)).toEqual(
          world.names
            .filter((name) => isBackup(name) && name.slice(8, 24) < restartPoint.slice(8))
            .sort(),
        );
        for (const name of STRANGERS) expect(readdirSync(directory)).toContain(name);
        removed += theirs.length;
        backups += ours.filter(isBackup).length;
        rmSync(directory, { recursive: true });
      }),
      { numRuns: ARCHIVES },
    );
    expect(compared).toBeGreaterThan(ARCHIVES / 2);
    expect(removed).toBeGreaterThan(ARCHIVES * 3);
    expect(backups).toBeGreaterThan(10);
  },
);

/**
 * A segment's name that a standby of this archive can report, archived or not. Not ahead of the
 * archive: there walarc counts the end of the archive instead.
 */
function restartPointIn({ names }: World, pick: number): string | undefined {
  const segments = names.filter((name) => name.length === 24).map((name) => name.slice(8));
  const newest = segments.sort().at(-1) ?? "";
  const placed = names.filter((name) => !name.endsWith(".history"));
  const possible = placed.filter((name) => name.slice(8, 24) <= newest);
  return possible[pick % possible.length]?.slice(0, 24);
}

function directoryOf({ names }: World, index: number): string {
  const directory = join(root, String(index));
  mkdirSync(directory);
  for (const name of [...names, ...STRANGERS]) writeFileSync(join(directory, name), "");
  return directory;
}

function isBackup(name: string): boolean {
  return name.endsWith(".backup");
}

function removedFor(world: World, restartPoint: string): string[] {
  const { catalog } = claimantsIn(world);
  const from = requireRestartPoint(catalog, restartPoint);
  const plan = planRetention(catalog, [{ kind: "standby", name: "s1", from }]);
  return [...removableNames(plan)].map(({ text }) => text).sort();
}
