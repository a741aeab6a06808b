import { randomBytes, randomInt } from "node:crypto";
import { zstdDecompressSync } from "node:zlib";
import { expect, test } from "vitest";
import { compressed } from "../../src/client/zstd.ts";
import { freeFrame, zstdFrame } from "../../src/object/compression.ts";

const options = { compressionLevel: 1 };

test("of many frames asked for at once each is its own content's", async () => {
  const contents = Array.from({ length: 12 }, (_, index) => Buffer.alloc(500_000 + index, index));
  const frames = await Promise.all(contents.map((content) => zstdFrame(content, options)));
  const again = await Promise.all(contents.map((content) => zstdFrame(content, options)));
  for (const [at, content] of contents.entries()) {
    expect(zstdDecompressSync(frames[at]!).equals(content)).toBe(true);
    expect(zstdDecompressSync(again[at]!).equals(content)).toBe(true);
  }
});

test("a frame's memory is given back at once, and no other memory ever", async () => {
  const frame = await zstdFrame(randomBytes(300_000), options);
  const small = await zstdFrame(Buffer.from("a few bytes"), options);
  const strangers = [Buffer.alloc(300_000, 1), Buffer.from("shared with others"), Buffer.alloc(0)];
  const copies = strangers.map((stranger) => Buffer.from(stranger));
  for (const each of [frame, small, ...strangers]) freeFrame(each);
  expect([frame.length, small.length]).toEqual([0, 0]);
  expect(strangers).toEqual(copies);
  freeFrame(frame);
});

test("a frame that is sent is the one that the daemon would have made", async () => {
  // More that repeats than any table of matches holds: what each finds depends on its parameters.
  const records = Array.from({ length: 50_000 }, () => randomBytes(20));
  const bytes = Buffer.concat(
    Array.from({ length: 200_000 }, () => records[randomInt(records.length)]!),
  );
  const sent = await compressed(bytes);
  expect(sent.equals(await zstdFrame(bytes, options))).toBe(true);
  expect(sent.equals(await zstdFrame(bytes, { compressionLevel: 3 }))).toBe(false);
});
