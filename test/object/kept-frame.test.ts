import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { constants, zstdCompressSync } from "node:zlib";
import { expect, test } from "vitest";
import { encodeObject, type PlainDigest } from "../../src/object/encode.ts";
import { parseTrailer } from "../../src/object/metadata.ts";
import { SentFrame } from "../../src/object/sent-frame.ts";
import { sha256Of } from "../support/wal-maker.ts";

const PLAIN_BYTES_MAX = 8 * 1024 * 1024;

interface FrameWish {
  readonly level?: number;
  readonly checksum?: 0 | 1;
  readonly size?: 0 | 1;
}

function content(sizeBytes: number): Buffer {
  const bytes = Buffer.alloc(sizeBytes, "walarc ");
  for (let at = 0; at < sizeBytes; at += 512) randomBytes(200).copy(bytes, at);
  return bytes;
}

function frameOf(bytes: Buffer, { level = 1, checksum = 1, size = 1 }: FrameWish = {}): Buffer {
  const params = {
    [constants.ZSTD_c_compressionLevel]: level,
    [constants.ZSTD_c_checksumFlag]: checksum,
    [constants.ZSTD_c_contentSizeFlag]: size,
  };
  return zstdCompressSync(bytes, { params, pledgedSrcSize: bytes.length });
}

async function* inPieces(bytes: Buffer, pieceBytes: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += pieceBytes) yield bytes.subarray(at, at + pieceBytes);
}

/** The object made of a frame that was sent. */
async function objectOf(
  frame: Buffer,
  options: { compressionLevel?: number; pieceBytes?: number } = {},
): Promise<Buffer> {
  const { compressionLevel = 1, pieceBytes = 65_536 } = options;
  const sent = new SentFrame(inPieces(frame, pieceBytes), { plainBytesMax: PLAIN_BYTES_MAX });
  const describe = (digest: PlainDigest) => ({
    name: "00000001000000000000000A",
    ...digest,
    systemIdentifier: null,
    timeline: 1,
    archivedAt: "2026-11-21T12:00:00.000Z",
  });
  const encoded = encodeObject(sent.plain(), {
    compressionLevel,
    sizeBytes: undefined,
    sent,
    describe,
  });
  return Buffer.concat(await Array.fromAsync(encoded));
}

function frameIn(object: Buffer): Buffer {
  const { frameBytes, frameSha256 } = parseTrailer(object, { storedBytes: object.length });
  const frame = object.subarray(0, frameBytes);
  expect(frameSha256).toBe(sha256Of(frame));
  return frame;
}

test.each([1, 7, 65_536, 5_000_000])(
  "a frame that comes in pieces of %i bytes is stored as it came",
  async (pieceBytes) => {
    const bytes = content(pieceBytes < 100 ? 20_000 : 3_000_000);
    const frame = frameOf(bytes);
    const object = await objectOf(frame, { pieceBytes });
    expect(frameIn(object).equals(frame)).toBe(true);
    const { metadata } = parseTrailer(object, { storedBytes: object.length });
    expect(metadata).toMatchObject({ sha256: sha256Of(bytes), sizeBytes: bytes.length });
    const restored = execFileSync("zstd", ["-dc"], { input: object, maxBuffer: 2 ** 26 });
    expect(restored.equals(bytes)).toBe(true);
  },
);

test.each<[string, FrameWish, number]>([
  ["that has no checksum", { checksum: 0 }, 1],
  ["that does not say its size", { size: 0 }, 1],
  ["where a higher level is configured", {}, 9],
])("a frame %s is compressed anew", async (_what, wish, compressionLevel) => {
  const bytes = content(2_000_000);
  const frame = frameOf(bytes, wish);
  const object = await objectOf(frame, { compressionLevel });
  const stored = frameIn(object);
  expect(stored.equals(frame)).toBe(false);
  expect(stored[4]! & 0x04).toBe(0x04); // Its checksum flag.
  expect(execFileSync("zstd", ["-dc"], { input: object, maxBuffer: 2 ** 26 })).toEqual(bytes);
});

test("an empty frame is an object of no bytes", async () => {
  const object = await objectOf(frameOf(Buffer.alloc(0)));
  const { metadata } = parseTrailer(object, { storedBytes: object.length });
  expect(metadata).toMatchObject({ sizeBytes: 0 });
});

test.each([
  ["its checksum", (frame: Buffer) => frame.writeUInt32LE(0, frame.length - 4)],
  ["its size", (frame: Buffer) => (frame[6] = frame[6]! ^ 0x01)],
])("a frame whose content does not fit %s makes no object", async (_what, damage) => {
  const frame = frameOf(content(1_000_000));
  damage(frame);
  await expect(objectOf(frame)).rejects.toMatchObject({ code: "rejected" });
});

test("a frame of empty blocks does not fill the store", async () => {
  const frame = frameOf(content(1000));
  const empty = Buffer.alloc(3 * 10_000); // Raw, of no bytes, and not the last one.
  const header = frame.subarray(0, 7);
  const swollen = Buffer.concat([header, empty, frame.subarray(header.length)]);
  await expect(objectOf(swollen)).rejects.toThrow("longer than its own content");
});
