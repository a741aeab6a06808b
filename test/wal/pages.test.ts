import { createCipheriv } from "node:crypto";
import { describe, expect, test } from "vitest";
import { SegmentPages, type Wholeness } from "../../src/wal/pages.ts";
import { makeSegment, MIB } from "../support/wal-maker.ts";

const PAGE_BYTES = 8192;

function judge(bytes: Uint8Array, options: { pieceBytes?: number } = {}): Wholeness {
  const { pieceBytes = MIB / 4 } = options;
  const pages = new SegmentPages({ sizeBytes: bytes.length });
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    // The same buffer again and again, as its caller has it.
    const piece = Buffer.from(bytes.subarray(at, at + pieceBytes));
    pages.take(piece);
    piece.fill(0xee);
  }
  return pages.wholeness();
}

function dense(): Buffer {
  return makeSegment({ number: 5, segmentSizeBytes: MIB }).bytes;
}

/** The pages from `from` to `to` are zero: not written yet. */
function withoutPages(from: number, to: number): Buffer {
  return dense().fill(0, from * PAGE_BYTES, to * PAGE_BYTES);
}

/** Records of these lengths from the first page on, then zeros; the last one is a switch. */
function recordsOf(lengths: readonly number[], last: "switch" | "other"): Buffer {
  const bytes = makeSegment({ number: 5, segmentSizeBytes: MIB, content: "sparse" }).bytes;
  const headers = dense();
  bytes.fill(0, 40, PAGE_BYTES);
  let at = 40;
  const write = (record: Buffer): void => {
    for (let done = 0; done < record.length; ) {
      if (at % PAGE_BYTES === 0) {
        headers.copy(bytes, at, at, at + 24);
        bytes.writeUInt16LE(done > 0 ? 0x0005 : 0x0004, at + 2);
        bytes.writeUInt32LE(done > 0 ? record.length - done : 0, at + 16);
        at += 24;
      }
      const room = Math.min(record.length - done, PAGE_BYTES - (at % PAGE_BYTES));
      record.copy(bytes, at, done, done + room);
      [at, done] = [at + room, done + room];
    }
    at = Math.ceil(at / 8) * 8;
  };
  for (const [index, length] of lengths.entries()) {
    const record = Buffer.alloc(length, 0xab).fill(0, 0, 24);
    const isSwitch = last === "switch" && index === lengths.length - 1;
    record.writeUInt32LE(length, 0);
    record.writeUInt8(isSwitch ? 0x40 : 0x20, 16);
    record.writeUInt8(0, 17);
    write(record);
  }
  return bytes;
}

describe("a segment of full size", () => {
  test.each([MIB, MIB / 4, 100_000, 8192, 24, 8191])(
    "is whole when its last page is written, in pieces of %i bytes",
    (pieceBytes) => {
      expect(judge(dense(), { pieceBytes })).toBe("whole");
    },
  );

  test.each([
    ["the second page", 1, 2],
    ["some in the middle", 40, 80],
    ["all but the first and the last", 1, 127],
  ])("is unfinished when %s is not written", (_title, from, to) => {
    expect(judge(withoutPages(from, to))).toBe("unfinished");
    expect(judge(withoutPages(from, to), { pieceBytes: 100_000 })).toBe("unfinished");
  });

  test.each([
    ["alone", [24]],
    ["behind others", [100, 33, 57, 24]],
    ["on a later page", [5000, 5000, 5000, 24]],
    ["behind a record that spans pages", [100, 50_000, 24]],
    ["that fills its page to the end", [8192 - 40 - 24, 24]],
    ["with 8 of its bytes on the page before", [8192 - 40 - 8, 24]],
    ["with 16 of its bytes on the page before", [8192 - 40 - 16, 24]],
    [
      "split behind a record that spans pages",
      [100, 20_000, 8192 * 3 - 40 - 24 * 2 - 104 - 20_000 - 16, 24],
    ],
  ])("is whole when zeros follow a switch %s", (_title, lengths) => {
    expect(judge(recordsOf(lengths, "switch"))).toBe("whole");
    expect(judge(recordsOf(lengths, "switch"), { pieceBytes: 8192 })).toBe("whole");
  });

  test("proves nothing when its WAL ends without a switch, or there is none", () => {
    expect(judge(recordsOf([100, 33], "other"))).toBe("unproven");
    expect(judge(makeSegment({ number: 5, segmentSizeBytes: MIB, content: "sparse" }).bytes)).toBe(
      "unproven",
    );
  });

  test("is unfinished wherever a copy of it stood still", () => {
    const whole = recordsOf([100, 20_000, 300, 9000, 60_000, 24], "switch");
    const writtenBytes =
      Math.ceil(whole.findLastIndex((byte) => byte !== 0) / PAGE_BYTES) * PAGE_BYTES;
    for (let cut = PAGE_BYTES; cut < writtenBytes; cut += 4096) {
      const copy = Buffer.alloc(MIB);
      whole.copy(copy, 0, 0, cut);
      expect(judge(copy)).not.toBe("whole");
    }
  });

  test("proves nothing when it holds pages of somewhere else", () => {
    const bytes = dense();
    makeSegment({ number: 6, segmentSizeBytes: MIB }).bytes.copy(bytes, MIB / 2, MIB / 2);
    expect(judge(bytes)).toBe("unproven");
    expect(judge(Buffer.alloc(MIB, 7))).toBe("unproven");
    expect(judge(Buffer.alloc(0))).toBe("unproven");
  });

  test.each([
    ["random bytes", createCipheriv("aes-128-ctr", Buffer.alloc(16, 5), Buffer.alloc(16))],
    ["a text", undefined],
  ])("proves nothing when %s stand where its first record belongs", (_title, noise) => {
    const { bytes } = makeSegment({ number: 5, segmentSizeBytes: MIB, content: "sparse" });
    const junk =
      noise?.update(Buffer.alloc(PAGE_BYTES - 40)) ?? Buffer.from("content of segment 5");
    bytes.set(junk, 40);
    expect(judge(bytes)).toBe("unproven");
  });

  test("has addresses that cross four gigabytes", () => {
    const number = 2 ** 32 / MIB - 1;
    expect(judge(makeSegment({ number, segmentSizeBytes: MIB }).bytes)).toBe("whole");
    const big = makeSegment({ number: 3, segmentSizeBytes: (1024 * MIB) / 64 });
    expect(judge(big.bytes)).toBe("whole");
  });
});
