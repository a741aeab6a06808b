import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import { BLOCK_BYTES, encodeObject, type PlainDigest } from "../../src/object/encode.ts";
import { type ObjectMetadata, parseTrailer, trailerOf } from "../../src/object/metadata.ts";
import {
  MemoryBudget,
  readMetadata,
  type VerifyOptions,
  verifyObject,
} from "../../src/object/verify.ts";
import type { OpenObject } from "../../src/store/store.ts";
import { WalarcError } from "../../src/errors.ts";
import { FrameWalk } from "../../src/object/zstd-frame.ts";
import { Chance } from "../support/chance.ts";

const NAME = "00000001000000000000000A";
const budget = () => new MemoryBudget(64 * 1024 * 1024);

/** Half noise, half repetition: about what a segment is. */
function content(sizeBytes: number): Buffer {
  const bytes = Buffer.alloc(sizeBytes, "walarc ");
  for (let at = 0; at < sizeBytes; at += 512) randomBytes(200).copy(bytes, at);
  return bytes;
}

async function* inChunks(bytes: Buffer, chunkBytes: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += chunkBytes) yield bytes.subarray(at, at + chunkBytes);
}

async function encode(bytes: Buffer, chunkBytes = 65_536, compressionLevel = 1): Promise<Buffer> {
  const describe = (digest: PlainDigest) => ({
    name: NAME,
    ...digest,
    systemIdentifier: "7312000000000000001",
    timeline: 1,
    archivedAt: "2026-11-21T12:00:00.000Z",
  });
  const options = { compressionLevel, sizeBytes: bytes.length, describe };
  return Buffer.concat(await Array.fromAsync(encodeObject(inChunks(bytes, chunkBytes), options)));
}

function opened(stored: Buffer): OpenObject {
  return {
    storedBytes: stored.length,
    notedSha256: undefined,
    read: async (position, length) => {
      if (position + length > stored.length) throw new WalarcError("corrupt", "too short");
      return stored.subarray(position, position + length);
    },
    [Symbol.asyncDispose]: async () => {},
  };
}

async function readBack(stored: Buffer, options: Partial<VerifyOptions> = {}) {
  const wanted = { name: NAME, budget: budget(), proof: "stored" as const, ...options };
  await using verified = await verifyObject(opened(stored), wanted);
  return Buffer.concat(await Array.fromAsync(verified.plain()));
}

async function verified(stored: Buffer, proof: VerifyOptions["proof"]) {
  return verifyObject(opened(stored), { name: NAME, budget: budget(), proof });
}

test.each([1, 40, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES, 5_000_000])(
  "an object of %i plain bytes comes back as it was, with memory to keep it and without",
  async (sizeBytes) => {
    const bytes = content(sizeBytes);
    const stored = await encode(bytes);
    expect((await readBack(stored)).equals(bytes)).toBe(true);
    const poor = { budget: new MemoryBudget(0) };
    expect((await readBack(stored, poor)).equals(bytes)).toBe(true);
    expect((await readBack(stored, { proof: "content" })).equals(bytes)).toBe(true);
  },
);

test.each([-7, -2, -1, 3])("level %i is what zstd itself does at it", async (level) => {
  const chance = new Chance(1);
  const words = Array.from({ length: 500 }, () => chance.below(1e9).toString(36));
  const text = Array.from({ length: 120_000 }, () => words[chance.below(words.length)]);
  const bytes = Buffer.from(text.join(" "));
  const option = level < 0 ? `--fast=${-level}` : `-${level}`;
  const wanted = execFileSync("zstd", ["--quiet", option], { input: bytes }).length;
  for (const chunkBytes of [65_536, bytes.length]) {
    const stored = await encode(bytes, chunkBytes, level);
    expect((await readBack(stored)).equals(bytes)).toBe(true);
    // With its metadata, some hundred bytes.
    expect(Math.abs(stored.length / wanted - 1)).toBeLessThan(0.005);
  }
});

test("objects encoded at the same time keep to their own content, though they share memory", async () => {
  const contents = Array.from({ length: 64 }, (_, at) => content(BLOCK_BYTES - at));
  for (let round = 0; round < 4; round++) {
    const encoded = await Promise.all(
      contents.map(async (bytes, at) => {
        // Some begin when others end, and get the memory that those have given back.
        await new Promise((resolve) => setTimeout(resolve, at));
        return encode(bytes);
      }),
    );
    for (const [at, stored] of encoded.entries()) {
      expect((await readBack(stored)).equals(contents[at] ?? Buffer.alloc(0))).toBe(true);
    }
  }
});

test.each([
  ["half noise", content(2_000_000)],
  ["nothing but noise", randomBytes(2_000_000)],
  ["nothing but zeros", Buffer.alloc(2_000_000)],
  ["a few bytes", Buffer.from("1\t0/3000000\tno recovery target specified\n")],
])("%s in one chunk becomes one frame, which says its size", async (_what, bytes) => {
  const others = Array.from({ length: 100 }, () => Buffer.from("memory that small buffers share"));
  const stored = await encode(bytes, bytes.length);
  expect(await readBack(stored)).toEqual(bytes);
  expect(execFileSync("zstd", ["-d", "-c"], { input: stored, maxBuffer: 2 ** 24 })).toEqual(bytes);
  const walk = new FrameWalk();
  const { frameBytes } = parseTrailer(stored, { storedBytes: stored.length });
  expect(walk.take(stored)).toBe(frameBytes);
  expect(walk).toMatchObject({ isComplete: true, hasChecksum: true, hasSize: true });
  expect(new Set(others.map(String))).toEqual(new Set(["memory that small buffers share"]));
});

test("a body that goes on after the size that was told is not encoded", async () => {
  const bytes = content(2_000_000);
  const told = { compressionLevel: 1, sizeBytes: 1_000_000, describe: () => unexpected() };
  await expect(Array.fromAsync(encodeObject(inChunks(bytes, 1_000_000), told))).rejects.toThrow(
    "there is more than was said",
  );
});

function unexpected(): never {
  throw new Error("described");
}

test("chunks of any size make the same object", async () => {
  const bytes = content(2 * BLOCK_BYTES + 77);
  const whole = await encode(bytes, bytes.length);
  expect((await encode(bytes, 1000)).equals(whole)).toBe(true);
});

test("zstd -d restores an object without walarc", async () => {
  const bytes = content(3_000_000);
  const restored = execFileSync("zstd", ["-dc"], {
    input: await encode(bytes),
    maxBuffer: 10_000_000,
  });
  expect(restored.equals(bytes)).toBe(true);
});

test("the metadata are found from the end of the object alone", async () => {
  const bytes = content(100_000);
  const stored = await encode(bytes);
  const { metadata, frameBytes } = await readMetadata(opened(stored));
  expect(metadata).toMatchObject({ name: NAME, sizeBytes: 100_000, timeline: 1 });
  expect(frameBytes).toBeLessThan(stored.length);
  expect(() => parseTrailer(stored.subarray(-20), { storedBytes: stored.length })).toThrow(/short/);
});

test("no flipped bit anywhere in an object ever changes what is served, or is found too late", async () => {
  const bytes = content(20_000);
  const stored = await encode(bytes);
  let refused = 0;
  for (let at = 0; at < stored.length; at += 7) {
    const flipped = Buffer.from(stored);
    flipped[at] = flipped[at]! ^ (1 << (at % 8));
    // zstd has bits that mean nothing; one of those may flip and the content still be proven.
    const object = await verified(flipped, "stored").catch((error: unknown) => {
      expect(error, `byte ${at}`).toMatchObject({ code: "corrupt" });
      refused += 1;
    });
    if (object === undefined) continue;
    const served = Buffer.concat(await Array.fromAsync(object.plain()));
    expect(served.equals(bytes), `byte ${at}`).toBe(true);
  }
  expect(refused).toBeGreaterThan((stored.length / 7) * 0.99);
});

test("no cut, lengthened or misplaced object is ever served", async () => {
  const stored = await encode(content(20_000));
  for (let length = 0; length < stored.length; length += 101) {
    await expect(readBack(stored.subarray(0, length))).rejects.toMatchObject({ code: "corrupt" });
  }
  const longer = Buffer.concat([stored, Buffer.from("x")]);
  await expect(readBack(longer)).rejects.toMatchObject({ code: "corrupt" });
  const elsewhere = { name: "00000001000000000000000B" };
  await expect(readBack(stored, elsewhere)).rejects.toMatchObject({ code: "corrupt" });
});

/** The same object with other metadata, and a trailer that agrees with itself. */
function retold(
  stored: Buffer,
  change: Partial<ObjectMetadata>,
  frameSha256?: (found: string | undefined) => string | undefined,
): Buffer {
  const found = parseTrailer(stored, { storedBytes: stored.length });
  const { frameBytes } = found;
  const frame = { frameBytes, frameSha256: (frameSha256 ?? ((same) => same))(found.frameSha256) };
  const trailer = trailerOf({ ...found.metadata, ...change }, frame);
  return Buffer.concat([stored.subarray(0, frameBytes), trailer]);
}

test("an object without a digest of its frame, as of earlier versions, is proven by its content", async () => {
  const bytes = content(BLOCK_BYTES + 5);
  const older = retold(await encode(bytes), {}, () => undefined);
  expect((await readBack(older)).equals(bytes)).toBe(true);
  const wrong = retold(older, { sha256: "0".repeat(64) });
  await expect(verified(wrong, "stored")).rejects.toMatchObject({ code: "corrupt" });
});

test("content that was not what was pushed when it was written is never served whole", async () => {
  const bytes = content(3 * BLOCK_BYTES);
  const wrong = retold(await encode(bytes), { sha256: "0".repeat(64) });
  await expect(verified(wrong, "content")).rejects.toMatchObject({ code: "corrupt" });

  await using object = await verified(wrong, "stored");
  const served: Buffer[] = [];
  const serving = (async () => {
    for await (const chunk of object.plain()) served.push(chunk);
  })();
  await expect(serving).rejects.toMatchObject({ code: "corrupt" });
  expect(Buffer.concat(served).length).toBeLessThan(bytes.length);
});

test("what fails its digest only when it is read a second time is never served whole", async () => {
  const bytes = content(3 * BLOCK_BYTES);
  const stored = await encode(bytes);
  const poor = { name: NAME, budget: new MemoryBudget(0), proof: "stored" as const };
  for (const form of ["frame", "plain"] as const) {
    const changing = Buffer.from(stored);
    await using object = await verifyObject(opened(changing), poor);
    changing[100_000] = changing[100_000]! ^ 1;
    const serving = Array.fromAsync(object[form]());
    await expect(serving, form).rejects.toMatchObject({ code: "corrupt" });
  }
});

test("memory is given back, also by objects that fail", async () => {
  const memory = new MemoryBudget(20_000);
  const stored = await encode(content(20_000));
  await readBack(stored, { budget: memory });
  const flipped = Buffer.from(stored);
  flipped[100] = flipped[100]! ^ 1;
  await expect(readBack(flipped, { budget: memory })).rejects.toThrow();
  expect(memory.take(20_000)).toBe(true);
});

test("a body that fails half way fails the encoding with its own error", async () => {
  const failing = async function* () {
    yield content(3 * BLOCK_BYTES);
    throw new WalarcError("rejected", "no such luck");
  };
  const options = {
    compressionLevel: 1,
    sizeBytes: undefined,
    describe: () => expect.unreachable("described a failed body"),
  };
  const encoding = Array.fromAsync(encodeObject(failing(), options));
  await expect(encoding).rejects.toMatchObject({ code: "rejected" });
});
