import { constants, zstdCompressSync } from "node:zlib";
import {
  array,
  assert,
  asyncProperty,
  boolean,
  constantFrom,
  integer,
  nat,
  record,
  tuple,
  uint8Array,
} from "fast-check";
import { expect, test } from "vitest";
import { SentFrame } from "../../src/object/sent-frame.ts";

const PLAIN_BYTES_MAX = 4 * 1024 * 1024;
const LIMIT = { plainBytesMax: PLAIN_BYTES_MAX };

/** Plain bytes with parts that compress, parts that do not and long runs: all kinds of blocks. */
const plain = array(
  constantFrom("run", "text", "noise").chain((kind) =>
    integer({ min: 0, max: 150_000 }).chain((bytes) =>
      kind === "noise"
        ? uint8Array({ minLength: 1, maxLength: 2000 }).map((found) => Buffer.from(found))
        : uint8Array({ minLength: kind === "run" ? 1 : 3, maxLength: kind === "run" ? 1 : 30 }).map(
            (pattern) => Buffer.alloc(bytes, Buffer.from(pattern)),
          ),
    ),
  ),
  { maxLength: 4 },
).map((parts) => Buffer.concat(parts));

const frame = tuple(
  plain,
  record({
    level: integer({ min: -5, max: 12 }),
    hasChecksum: boolean(),
    hasSize: boolean(),
  }),
).map(([bytes, { level, hasChecksum, hasSize }]) => ({
  bytes,
  frame: zstdCompressSync(bytes, {
    params: {
      [constants.ZSTD_c_compressionLevel]: level,
      [constants.ZSTD_c_checksumFlag]: Number(hasChecksum),
      [constants.ZSTD_c_contentSizeFlag]: Number(hasSize),
    },
  }),
}));

async function* inPieces(bytes: Buffer, pieceBytes: number): AsyncGenerator<Buffer, void, void> {
  for (let at = 0; at < bytes.length; at += pieceBytes) yield bytes.subarray(at, at + pieceBytes);
}

async function decompress(body: Buffer, pieceBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  const source = inPieces(body, pieceBytes);
  const sent = new SentFrame(source, LIMIT);
  for await (const chunk of sent.plain()) chunks.push(chunk);
  return Buffer.concat(chunks);
}

const pieces = constantFrom(1, 2, 3, 7, 100, 65_536);

const refused = { code: "rejected", status: 422 };

test("one frame is its plain bytes, however it was compressed and cut into pieces", async () => {
  const promise = asyncProperty(frame, pieces, async ({ bytes, frame }, pieceBytes) => {
    expect(await decompress(frame, pieceBytes)).toEqual(bytes);
  });
  await assert(promise, { numRuns: 60 });
});

test("a frame that lacks an end is refused wherever it was cut", async () => {
  const promise = asyncProperty(frame, pieces, nat(), async ({ frame }, pieceBytes, place) => {
    const cut = frame.subarray(0, place % frame.length);
    await expect(decompress(cut, pieceBytes)).rejects.toMatchObject(refused);
  });
  await assert(promise, { numRuns: 100 });
});

test("a frame that something follows is refused, whatever it is and however it comes", async () => {
  const tail = tuple(frame, uint8Array({ minLength: 1, maxLength: 50 }), boolean());
  const promise = asyncProperty(frame, tail, pieces, async ({ frame }, rest, pieceBytes) => {
    const [second, garbage, isFrame] = rest;
    const body = Buffer.concat([frame, isFrame ? second.frame : garbage]);
    await expect(decompress(body, pieceBytes)).rejects.toMatchObject(refused);
  });
  await assert(promise, { numRuns: 60 });
});

test("of a frame with a flipped bit either nothing or the right thing comes out", async () => {
  const promise = asyncProperty(
    frame,
    pieces,
    nat(),
    async ({ bytes, frame }, pieceBytes, place) => {
      const flipped = Buffer.from(frame);
      const at = place % frame.length;
      flipped[at] = (flipped[at] ?? 0) ^ (1 << (place % 8));
      try {
        // Without a checksum a literal may differ; the digest of the push is there for that.
        const hasChecksum = ((frame[4] ?? 0) & 4) !== 0 && at !== 4;
        const result = await decompress(flipped, pieceBytes);
        if (hasChecksum) expect(result).toEqual(bytes);
      } catch (error) {
        expect(error).toMatchObject({ code: "rejected" });
      }
    },
  );
  await assert(promise, { numRuns: 200 });
});

test("nothing comes out beyond the limit", async () => {
  const frame = zstdCompressSync(Buffer.alloc(PLAIN_BYTES_MAX + 1));
  await expect(decompress(frame, 100)).rejects.toMatchObject({ code: "rejected", status: 413 });
  const full = zstdCompressSync(Buffer.alloc(PLAIN_BYTES_MAX));
  expect(await decompress(full, 100)).toHaveLength(PLAIN_BYTES_MAX);
});

test("a failure of the source is the failure of the body", async () => {
  async function* failing(): AsyncGenerator<Buffer, void, void> {
    yield zstdCompressSync(Buffer.alloc(100_000)).subarray(0, 10);
    throw new Error("the client left");
  }
  const read = async () => {
    for await (const _ of new SentFrame(failing(), LIMIT).plain());
  };
  await expect(read()).rejects.toThrow("the client left");
});

test("a reader who stops early stops the source", async () => {
  let isClosed = false;
  async function* endless(): AsyncGenerator<Buffer, void, void> {
    try {
      yield* inPieces(zstdCompressSync(Buffer.alloc(PLAIN_BYTES_MAX, "wal")), 10);
    } finally {
      isClosed = true;
    }
  }
  for await (const _ of new SentFrame(endless(), LIMIT).plain()) break;
  expect(isClosed).toBe(true);
});
