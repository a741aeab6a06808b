import { randomBytes } from "node:crypto";
import { constants, zstdCompressSync } from "node:zlib";
import { expect, test } from "vitest";
import { ByteBudget } from "../../src/object/byte-budget.ts";
import { ContentBlocks } from "../../src/object/content-blocks.ts";
import { SPARE_BYTES, zstdContent } from "../../src/object/decompression.ts";
import { SentFrame } from "../../src/object/sent-frame.ts";
import { FrameWalk } from "../../src/object/zstd-frame.ts";
import { sha256Of } from "../support/wal-maker.ts";

const MIB = 1024 * 1024;
const PLAIN_BYTES_MAX = 64 * MIB;
const { ZSTD_c_checksumFlag, ZSTD_c_windowLog } = constants;

const CONTENT = content(3 * MIB);
const FRAME = frameOf(CONTENT);

const refused = { code: "rejected", status: 422 };

/** Half of it does not compress. */
function content(sizeBytes: number): Buffer {
  const bytes = Buffer.alloc(sizeBytes, "walarc ");
  for (let at = 0; at < sizeBytes; at += 512) randomBytes(256).copy(bytes, at);
  return bytes;
}

function frameOf(bytes: Buffer, params: Record<number, number> = {}): Buffer {
  return zstdCompressSync(bytes, {
    params: { [ZSTD_c_checksumFlag]: 1, ...params },
    pledgedSrcSize: bytes.length,
  });
}

async function* inPieces(bytes: Buffer): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536);
}

function sentFrame(frame: Buffer, options: { plainBytesMax?: number } = {}): SentFrame {
  const { plainBytesMax = PLAIN_BYTES_MAX } = options;
  return new SentFrame(inPieces(frame), { plainBytesMax, frameBytes: frame.length });
}

/** Copies, since a chunk is only borrowed. */
async function chunksOf(sent: SentFrame): Promise<Buffer[]> {
  const chunks: Buffer[] = [];
  for await (const chunk of sent.plain()) chunks.push(Buffer.from(chunk));
  return chunks;
}

test("a frame of a known length comes in one piece, with both digests", async () => {
  const sent = sentFrame(FRAME);
  expect(await chunksOf(sent)).toEqual([CONTENT]);
  expect(sent.sha256).toBe(sha256Of(FRAME));
  expect(sent.contentSha256).toBe(sha256Of(CONTENT));
  expect(Buffer.concat(sent.take())).toEqual(FRAME);
});

test("one of an unknown length is a stream with the same bytes, and its own digest", async () => {
  const sent = new SentFrame(inPieces(FRAME), { plainBytesMax: PLAIN_BYTES_MAX });
  const chunks = await chunksOf(sent);
  expect(chunks.length).toBeGreaterThan(4);
  expect(Buffer.concat(chunks)).toEqual(CONTENT);
  expect(sent.sha256).toBe(sha256Of(FRAME));
  expect(sent.contentSha256).toBeUndefined();
});

test("many at the same time keep to their own content, whether there is room or not", async () => {
  const contents = Array.from({ length: 7 }, (_, number) => content(14 * MIB + number));
  const sent = contents.map((bytes) => sentFrame(frameOf(bytes)));
  const found = await Promise.all(sent.map(chunksOf));
  expect(found.map((chunks) => sha256Of(Buffer.concat(chunks)))).toEqual(contents.map(sha256Of));
  const inOne = found.filter(({ length }) => length === 1).length;
  expect(inOne).toBeGreaterThanOrEqual(3);
  // What they had is free again.
  expect(await chunksOf(sentFrame(FRAME))).toEqual([CONTENT]);
});

test("what is given up in the middle leaves its room to others", async () => {
  const large = frameOf(content(40 * MIB));
  for (let round = 0; round < 3; round += 1) {
    const chunks = sentFrame(large).plain();
    expect((await chunks.next()).value).toHaveLength(40 * MIB);
    await chunks.return();
  }
});

test("a flipped bit is found before anything comes out", async () => {
  for (let at = 8; at < FRAME.length; at += Math.ceil(FRAME.length / 40)) {
    const flipped = Buffer.from(FRAME);
    flipped[at] = (flipped[at] ?? 0) ^ 16;
    try {
      expect(await chunksOf(sentFrame(flipped))).toEqual([CONTENT]);
    } catch (error) {
      expect(error).toMatchObject({ code: "rejected" });
    }
  }
  const last = Buffer.from(FRAME);
  last[last.length - 1] = (last.at(-1) ?? 0) ^ 1;
  await expect(chunksOf(sentFrame(last))).rejects.toMatchObject(refused);
});

test.each([
  ["more", 1],
  ["less", -1],
])("a frame that has %s in it than it says is refused", async (_what, difference) => {
  const lying = Buffer.from(FRAME);
  // Behind magic, descriptor and window: a size of four bytes.
  expect(lying.readUInt32LE(6)).toBe(CONTENT.length);
  lying.writeUInt32LE(CONTENT.length - difference, 6);
  await expect(chunksOf(sentFrame(lying))).rejects.toMatchObject(refused);
});

test.each([
  ["is cut off", FRAME.subarray(0, -1)],
  ["is followed by another", Buffer.concat([FRAME, FRAME])],
  ["is followed by garbage", Buffer.concat([FRAME, Buffer.from("x")])],
  ["is none", CONTENT],
  ["is nothing", Buffer.alloc(0)],
])("a body that %s is refused", async (_what, body) => {
  await expect(chunksOf(sentFrame(body))).rejects.toMatchObject(refused);
});

test("nothing comes out beyond the limit", async () => {
  const sent = sentFrame(FRAME, { plainBytesMax: CONTENT.length - 1 });
  await expect(chunksOf(sent)).rejects.toMatchObject({ code: "rejected", status: 413 });
});

test("a window that takes more memory than any level needs is refused", async () => {
  const wide = frameOf(content(20 * MIB), { [ZSTD_c_windowLog]: 25 });
  await expect(chunksOf(sentFrame(wide))).rejects.toMatchObject(refused);
});

test.each([
  [0, 0],
  [1, 1],
  [255, 255],
  [256, 256],
  [65_791, 65_791],
  [65_792, 65_792],
])("a frame of %i bytes says its size", (sizeBytes, expected) => {
  const walk = new FrameWalk();
  walk.take(frameOf(Buffer.alloc(sizeBytes)));
  expect(walk.contentBytes).toBe(expected);
});

test("a window is as large as zstd made it", () => {
  for (const windowLog of [10, 17, 21, 24]) {
    const walk = new FrameWalk();
    walk.take(frameOf(content(17 * MIB), { [ZSTD_c_windowLog]: windowLog }));
    expect(walk.windowBytes).toBe(2 ** windowLog);
  }
});

test("a budget is given out once, and taken back once", () => {
  const budget = new ByteBudget(10);
  const room = budget.take(7);
  expect(budget.take(4)).toBeUndefined();
  expect(budget.take(3)?.bytes).toBe(3);
  room?.[Symbol.dispose]();
  room?.[Symbol.dispose]();
  expect(budget.take(8)).toBeUndefined();
  expect(budget.take(7)).toBeDefined();
});

test("blocks are used again, and no more than was said", () => {
  const blocks = new ContentBlocks(10);
  const first = blocks.take(6);
  expect(blocks.take(5)).toBeUndefined();
  first?.[Symbol.dispose]();
  first?.[Symbol.dispose]();
  expect(blocks.take(6)?.memory).toBe(first?.memory);
  expect(blocks.take(5)).toBeUndefined();
  expect(blocks.take(4)?.memory).toHaveLength(4);
});

test("a content of another size makes room for itself", () => {
  const blocks = new ContentBlocks(10);
  blocks.take(6)?.[Symbol.dispose]();
  expect(blocks.take(10)?.memory).toHaveLength(10);
});

test("a content stands in the memory that was given for it", async () => {
  const memory = Buffer.from(new SharedArrayBuffer(CONTENT.length + SPARE_BYTES));
  const found = await zstdContent(FRAME, memory);
  expect(found.equals(CONTENT)).toBe(true);
  expect(found.buffer).toBe(memory.buffer);
});

test("who waits for memory gets it in turn, and gives up in time", async () => {
  const blocks = new ContentBlocks(10);
  const first = blocks.take(10);
  const [second, third] = [blocks.takeSoon(10, 60_000), blocks.takeSoon(10, 60_000)];
  expect(await blocks.takeSoon(10, 1)).toBeUndefined();
  expect(await blocks.takeSoon(11, 60_000)).toBeUndefined();
  first?.[Symbol.dispose]();
  const given = await second;
  expect(given?.memory).toBe(first?.memory);
  expect(blocks.take(10)).toBeUndefined();
  given?.[Symbol.dispose]();
  expect((await third)?.memory).toBe(first?.memory);
});
