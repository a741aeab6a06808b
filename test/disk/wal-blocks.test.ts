import { expect, test } from "vitest";
import { WalBlocks } from "../../src/disk/wal-blocks.ts";

const MIB = 1024 * 1024;

test("a block that was given back is used again, one that somebody may still read is not", () => {
  const blocks = new WalBlocks();
  const first = blocks.take(MIB)!;
  blocks.giveBack(first);
  expect(blocks.take(MIB)).toBe(first);
  blocks.drop(first);
  expect(blocks.take(MIB)).not.toBe(first);
});

test("two that are taken are never the same", () => {
  const blocks = new WalBlocks();
  blocks.giveBack(blocks.take(MIB)!);
  expect(blocks.take(MIB)).not.toBe(blocks.take(MIB));
});

test("64 MB stand in memory at most, whatever the sizes, and what is spare gives way", () => {
  const blocks = new WalBlocks();
  const four = [1, 2, 3, 4].map(() => blocks.take(16 * MIB)!);
  expect(four.map(({ length }) => length)).toEqual([1, 2, 3, 4].map(() => 16 * MIB));
  expect(blocks.take(1)).toBeUndefined();
  for (const block of four) blocks.giveBack(block);
  expect(blocks.take(64 * MIB)?.length).toBe(64 * MIB);
  expect(blocks.take(16 * MIB)).toBeUndefined();
  expect(new WalBlocks().take(64 * MIB + 1)).toBeUndefined();
});
