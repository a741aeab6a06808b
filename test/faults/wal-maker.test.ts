import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { zstdCompressSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { parseBackupHistory } from "../../src/wal/backup-history.ts";
import { checkFirstPage, readFirstPage } from "../../src/wal/first-page.ts";
import { parseHistory } from "../../src/wal/history.ts";
import { requireWalName } from "../../src/wal/name.ts";
import { startLsn } from "../../src/wal/segment.ts";
import { findPostgres } from "../support/postgres-programs.ts";
import * as maker from "../support/wal-maker.ts";

/*
 * The faults are played with WAL files that no PostgreSQL wrote. Were they not like real ones, a
 * push could be refused for a wrong reason and the test would not notice.
 */

const { MIB, SYSTEM_IDENTIFIER } = maker;

describe("made segments", () => {
  const wishes: maker.SegmentWish[] = [
    { number: 1 },
    { number: 255, segmentSizeBytes: MIB },
    { number: 4096 * 3 + 4095, segmentSizeBytes: MIB, timeline: 10 },
    { number: 64 * 5 + 63, segmentSizeBytes: 64 * MIB, timeline: 0xffffffff },
    { number: 9, timeline: 2, pageTimeline: 1 },
    { number: 2 ** 33, segmentSizeBytes: MIB, systemIdentifier: "18446744073709551615" },
  ];

  test.each(wishes)("are what they claim to be: %j", (wish) => {
    const { name, bytes } = maker.makeSegment(wish);
    const segmentSizeBytes = wish.segmentSizeBytes ?? 16 * MIB;
    const page = readFirstPage(bytes);

    expect(bytes).toHaveLength(segmentSizeBytes);
    expect(page).toMatchObject({
      postgresMajor: 15,
      timeline: wish.pageTimeline ?? wish.timeline ?? 1,
      pageAddress: startLsn(wish.number, segmentSizeBytes),
      systemIdentifier: wish.systemIdentifier ?? SYSTEM_IDENTIFIER,
      segmentSizeBytes,
    });
    checkFirstPage(requireWalName(name), page, { binding: {}, sizeBytes: bytes.length });
  });

  test("are equal for equal seeds and differ otherwise, whatever their content", () => {
    for (const content of ["dense", "mixed", "sparse"] as const) {
      const wish = { number: 7, segmentSizeBytes: MIB, content };
      const [one, same, other] = ["a", "a", "b"].map((seed) =>
        maker.makeSegment({ ...wish, seed }),
      );

      expect(one?.bytes.equals(same?.bytes ?? Buffer.alloc(0))).toBe(true);
      expect(one?.bytes.equals(other?.bytes ?? Buffer.alloc(0))).toBe(false);
    }
  });

  test("compress as much as their content says", () => {
    expect(compressedShare({ number: 1, content: "dense" })).toBeGreaterThan(0.95);
    expect(compressedShare({ number: 1, content: "mixed" })).toBeGreaterThan(0.2);
    expect(compressedShare({ number: 1, content: "mixed" })).toBeLessThan(0.35);
    expect(compressedShare({ number: 1, content: "sparse" })).toBeLessThan(0.001);
  });

  test.skipIf("missing" in findPostgres())("are read by PostgreSQL's own pg_waldump", () => {
    const directory = mkdtempSync(join(tmpdir(), "walarc-maker-"));
    try {
      for (const wish of [{ number: 1 }, { number: 67, segmentSizeBytes: MIB, timeline: 3 }]) {
        expect(dump(maker.writeSegmentFile(directory, wish))).toMatch(/^rmgr: XLOG .* NOOP\s*$/);
      }
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  test("of a gigabyte need neither its memory nor its disk when they are sparse", () => {
    const directory = mkdtempSync(join(tmpdir(), "walarc-maker-"));
    try {
      const wish = { number: 3, segmentSizeBytes: 1024 * MIB, content: "sparse" } as const;
      const file = statSync(maker.writeSegmentFile(directory, wish));

      expect(file.size).toBe(1024 * MIB);
      expect(file.blocks * 512).toBeLessThan(MIB);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});

test("made history files parse", () => {
  const { name, bytes } = maker.makeHistory(11, [
    { timeline: 1, switchLsn: "0/3000028" },
    { timeline: 10, switchLsn: "1/A0000B8" },
  ]);

  expect(name).toBe("0000000B.history");
  expect(parseHistory(requireWalName(name), bytes.toString()).parents).toEqual([
    { timeline: 1, switchLsn: 0x3000028n },
    { timeline: 10, switchLsn: 0x1_0a00_00b8n },
  ]);
});

test("made backup history files parse", () => {
  const { name, bytes } = maker.makeBackupHistory({ number: 7, segmentSizeBytes: MIB });

  expect(name).toBe("000000010000000000000007.00000028.backup");
  expect(parseBackupHistory(requireWalName(name), bytes.toString())).toMatchObject({
    startLsn: 0x700028n,
    startSegment: "000000010000000000000007",
  });
});

function compressedShare(wish: maker.SegmentWish): number {
  const { bytes } = maker.makeSegment(wish);
  return zstdCompressSync(bytes).length / bytes.length;
}

/** What pg_waldump finds in the file; its own complaint about the end of the records aside. */
function dump(path: string): string {
  const postgres = findPostgres();
  if ("missing" in postgres) throw new Error(postgres.missing);
  const command = `"${postgres.bin}/pg_waldump" "${path}" 2>/dev/null || true`;
  return execFileSync("/bin/sh", ["-c", command], { encoding: "utf8" });
}
