import { describe, expect, test } from "vitest";
import { WalarcError } from "../../src/errors.ts";
import {
  type Binding,
  checkFirstPage,
  FIRST_PAGE_BYTES,
  readFirstPage,
} from "../../src/wal/first-page.ts";
import { requireWalName } from "../../src/wal/name.ts";
import { bytesOf, RECYCLED, SEGMENTS } from "./postgres-files.ts";

const MIB = 1024 * 1024;

describe("segments of real servers", () => {
  test.each(SEGMENTS)("PostgreSQL $major: $name is accepted", (segment) => {
    const page = readFirstPage(bytesOf(segment.header));
    expect(page).toMatchObject({
      postgresMajor: segment.major,
      timeline: segment.timeline,
      systemIdentifier: segment.systemIdentifier,
      segmentSizeBytes: segment.segmentSizeBytes,
    });
    const binding = {
      systemIdentifier: segment.systemIdentifier,
      segmentSizeBytes: segment.segmentSizeBytes,
      postgresMajor: segment.major,
    };
    const sizeBytes = segment.segmentSizeBytes;
    checkFirstPage(requireWalName(segment.name), page, { binding, sizeBytes });
    checkFirstPage(requireWalName(segment.name), page, { binding: {}, sizeBytes: undefined });
  });

  test("a recycled file, which has a new name and old content, is refused", () => {
    const { name, header } = RECYCLED;
    expect(reason(name, { bytes: bytesOf(header) })).toBe(
      "page address 0/500000 does not belong to this name, which starts at 0/900000",
    );
  });
});

describe("what the header must say", () => {
  test.each([
    [0xd101, 12],
    [0xd106, 13],
    [0xd10d, 14],
    [0xd110, 15],
    [0xd113, 16],
    [0xd116, 17],
    [0xd118, 18],
  ])("magic %d is PostgreSQL %d", (magic, major) => {
    expect(readFirstPage(header({ magic })).postgresMajor).toBe(major);
  });

  test.each([
    [0xd098, "the segment is of PostgreSQL 11; walarc takes 12 to 18"],
    [0xd075, "the segment is of PostgreSQL 9.3; walarc takes 12 to 18"],
    [0x10d1, "the segment was written by a big-endian server, which walarc does not read"],
    [0x98d0, "the segment was written by a big-endian server, which walarc does not read"],
    [0x0000, "the first page is empty: PostgreSQL has not written it yet"],
    [0xd111, "D111 is not the page magic of a known PostgreSQL major"],
    [0xd10f, "D10F is not the page magic of a known PostgreSQL major"],
    [0x0001, "0001 is not the page magic of a known PostgreSQL major"],
    [0xffff, "FFFF is not the page magic of a known PostgreSQL major"],
  ])("magic %d is refused", (magic, message) => {
    expect(reason(NAME, { bytes: header({ magic }) })).toBe(message);
  });

  test("info bits: a long header and the three known flags", () => {
    const high = [4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15].map((bit) => 0x0002 | (1 << bit));
    for (const info of [...Array(16).keys(), ...high, 0xffff]) {
      const isGood = info <= 0x000f && (info & 0x0002) !== 0;
      const found = reason(NAME, { bytes: header({ info }) });
      if (isGood) expect(found).toBeUndefined();
      else if (info <= 0x000f) expect(found).toMatch(/^no long page header/);
      else expect(found).toMatch(/^unknown info bits [0-9A-F]{4} in the header$/);
    }
  });

  test("a file too short for the header is refused, one byte more is not", () => {
    const bytes = header({});
    expect(reason(NAME, { bytes: bytes.subarray(0, 0) })).toMatch(/^the file is empty/);
    for (let length = 1; length < FIRST_PAGE_BYTES; length += 1) {
      const found = reason(NAME, { bytes: bytes.subarray(0, length) });
      expect(found).toBe(`only ${length} bytes: a segment begins with a header of 40 bytes`);
    }
    expect(reason(NAME, { bytes })).toBeUndefined();
  });

  test("only the header is looked at, wherever its bytes lie in memory", () => {
    const memory = new Uint8Array(8192).fill(0xee);
    memory.set(header({}), 1000);
    expect(readFirstPage(memory.subarray(1000))).toEqual(readFirstPage(header({})));
  });

  test.each([MIB, 2 * MIB, 16 * MIB, 64 * MIB, 512 * MIB, 1024 * MIB])(
    "a segment size of %d is possible",
    (segmentSizeBytes) => {
      expect(readFirstPage(header({ segmentSizeBytes })).segmentSizeBytes).toBe(segmentSizeBytes);
    },
  );

  test.each([0, 1, 8192, MIB / 2, MIB - 1, MIB + 1, 3 * MIB, 2048 * MIB, 2 ** 32 - 1])(
    "a segment size of %d is not",
    (segmentSizeBytes) => {
      const wanted = `segment size ${segmentSizeBytes} in the header is not a power of two from 1 MiB to 1 GiB`;
      expect(reason(NAME, { bytes: header({ segmentSizeBytes }) })).toBe(wanted);
    },
  );

  test.each([1024, 2048, 4096, 8192, 16_384, 32_768, 65_536])(
    "a page size of %d can be built",
    (pageSizeBytes) => {
      expect(reason(NAME, { bytes: header({ pageSizeBytes }) })).toBeUndefined();
    },
  );

  test.each([0, 512, 1023, 3072, 8191, 8193, 131_072, 2 ** 32 - 1])(
    "a page size of %d cannot",
    (pageSizeBytes) => {
      const wanted = `page size ${pageSizeBytes} in the header is not a power of two from 1 to 64 KiB`;
      expect(reason(NAME, { bytes: header({ pageSizeBytes }) })).toBe(wanted);
    },
  );

  test("a system identifier is read in all its 64 bits", () => {
    const all = header({ systemIdentifier: 2n ** 64n - 1n });
    expect(readFirstPage(all).systemIdentifier).toBe("18446744073709551615");
    const high = header({ systemIdentifier: 2n ** 63n + 1n });
    expect(readFirstPage(high).systemIdentifier).toBe("9223372036854775809");
  });

  test("a system identifier of zero is refused", () => {
    const bytes = header({ systemIdentifier: 0n });
    expect(reason(NAME, { bytes })).toBe("the system identifier in the header is zero");
  });

  test("a header of timeline 0 is refused", () => {
    const bytes = header({ timeline: 0 });
    expect(reason(NAME, { bytes })).toBe("the page header carries timeline 0");
  });
});

describe("whether it belongs here", () => {
  const bound: Binding = {
    systemIdentifier: "7312345678901234567",
    segmentSizeBytes: 16 * MIB,
    postgresMajor: 15,
  };

  test("what is not bound yet is not compared", () => {
    expect(reason(NAME, { bytes: header({ systemIdentifier: 1n }) })).toBeUndefined();
    expect(reason(NAME, { bytes: header({}), binding: bound })).toBeUndefined();
  });

  test("another system identifier is refused, be it different in the last bit only", () => {
    const bytes = header({ systemIdentifier: 7312345678901234566n });
    expect(reason(NAME, { bytes, binding: bound })).toBe(
      "system identifier 7312345678901234566 is not the cluster's 7312345678901234567",
    );
  });

  test("another PostgreSQL major is refused", () => {
    const bytes = header({ magic: 0xd113 });
    expect(reason(NAME, { bytes, binding: bound })).toBe(
      "a segment of PostgreSQL 16 does not belong to a cluster of PostgreSQL 15",
    );
  });

  test("another segment size is refused, also when the file has just that size", () => {
    const bytes = header({ segmentSizeBytes: 64 * MIB, pageAddress: 5n * 64n * BigInt(MIB) });
    expect(reason(NAME, { bytes, binding: bound, sizeBytes: 64 * MIB })).toBe(
      "segment size 67108864 in the header is not the cluster's 16777216",
    );
    expect(reason(NAME, { bytes, sizeBytes: 64 * MIB })).toBeUndefined();
  });

  test.each([0, 40, 16 * MIB - 1, 16 * MIB + 1, 8 * MIB, 32 * MIB])(
    "a body of %d bytes is refused when the header says 16 MB",
    (sizeBytes) => {
      expect(reason(NAME, { bytes: header({}), sizeBytes })).toBe(
        `the file has ${sizeBytes} bytes, its header says 16777216`,
      );
    },
  );

  test("a body whose length is not known yet is not compared", () => {
    expect(reason(NAME, { bytes: header({}), sizeBytes: undefined })).toBeUndefined();
  });

  test.each([
    [1, "000000010000000000000FFF", "000000010000000000001000"],
    [16, "0000000100000000000000FF", "000000010000000000000100"],
    [64, "00000001000000000000003F", "000000010000000000000040"],
    [1024, "000000010000000000000003", "000000010000000000000004"],
  ])("with %d MB segments %s is possible and %s is not", (sizeMb, possible, impossible) => {
    const segmentSizeBytes = sizeMb * MIB;
    const last = header({ segmentSizeBytes, pageAddress: 2n ** 32n - BigInt(segmentSizeBytes) });
    expect(reason(possible, { bytes: last })).toBeUndefined();
    // What its address would be if the name were read without looking.
    const beyond = header({ segmentSizeBytes, pageAddress: 2n ** 32n });
    expect(reason(impossible, { bytes: beyond })).toBe(
      `there is no segment ${impossible.slice(8)} with a segment size of ${segmentSizeBytes} bytes`,
    );
  });

  test.each([
    ["0/4000000", 0x400_0000n],
    ["0/6000000", 0x600_0000n],
    ["0/5002000", 0x500_2000n],
    ["0/4FFFFFF", 0x4ff_ffffn],
    ["1/5000000", 0x1_0500_0000n],
    ["0/0", 0n],
  ])("page address %s is refused for the segment at 0/5000000", (text, pageAddress) => {
    expect(reason(NAME, { bytes: header({ pageAddress }) })).toBe(
      `page address ${text} does not belong to this name, which starts at 0/5000000`,
    );
  });

  test.each([1, 16, 64, 1024])("the same name is another place with %d MB segments", (sizeMb) => {
    const segmentSizeBytes = sizeMb * MIB;
    const pageAddress = 0x7_0000_0000n + 2n * BigInt(segmentSizeBytes);
    const name = "000000010000000700000002";
    expect(reason(name, { bytes: header({ segmentSizeBytes, pageAddress }) })).toBeUndefined();
  });

  // A promotion copies the old timeline's pages: equality would stop archiving at every failover.
  test.each([
    [1, "00000001", true],
    [2, "00000001", false],
    [1, "00000002", true],
    [9, "0000000A", true],
    [10, "0000000A", true],
    [11, "0000000A", false],
    [15, "00000010", true],
    [16, "00000010", true],
    [17, "00000010", false],
    [1, "FFFFFFFF", true],
    [0xffff_ffff, "FFFFFFFF", true],
    [0xffff_ffff, "FFFFFFFE", false],
  ])("header timeline %d under a name of timeline %s: %s", (timeline, prefix, isGood) => {
    const found = reason(`${prefix}0000000000000005`, { bytes: header({ timeline }) });
    if (isGood) expect(found).toBeUndefined();
    else expect(found).toMatch(/^the header's timeline \d+ is above the name's \d+$/);
  });

  test("a partial segment is held to the same rules", () => {
    const name = `${NAME}.partial`;
    expect(reason(name, { bytes: header({}), binding: bound })).toBeUndefined();
    expect(reason(name, { bytes: header({ timeline: 2 }) })).toMatch(/timeline 2 is above/);
    expect(reason(name, { bytes: header({}), sizeBytes: 100 })).toMatch(/has 100 bytes/);
  });

  test.each(["00000002.history", `${"0".repeat(7)}1${"0".repeat(16)}.00000028.backup`])(
    "asking it of %s is a bug, not a refusal",
    (name) => {
      const page = readFirstPage(header({}));
      const check = () =>
        checkFirstPage(requireWalName(name), page, { binding: {}, sizeBytes: undefined });
      expect(check).toThrow(TypeError);
    },
  );
});

test("no two faults share a reason", () => {
  const reasons = [
    reason(NAME, { bytes: header({ magic: 0xd111 }) }),
    reason(NAME, { bytes: header({ magic: 0xd098 }) }),
    reason(NAME, { bytes: header({ magic: 0x10d1 }) }),
    reason(NAME, { bytes: header({ magic: 0 }) }),
    reason(NAME, { bytes: new Uint8Array(0) }),
    reason(NAME, { bytes: new Uint8Array(39) }),
    reason(NAME, { bytes: header({ info: 0x0004 }) }),
    reason(NAME, { bytes: header({ info: 0x0012 }) }),
    reason(NAME, { bytes: header({ timeline: 0 }) }),
    reason(NAME, { bytes: header({ timeline: 2 }) }),
    reason(NAME, { bytes: header({ pageAddress: 1n }) }),
    reason(NAME, { bytes: header({ systemIdentifier: 0n }) }),
    reason(NAME, { bytes: header({}), binding: { systemIdentifier: "1" } }),
    reason(NAME, { bytes: header({}), binding: { segmentSizeBytes: MIB } }),
    reason(NAME, { bytes: header({}), binding: { postgresMajor: 12 } }),
    reason(NAME, { bytes: header({ segmentSizeBytes: 5 }) }),
    reason(NAME, { bytes: header({ pageSizeBytes: 5 }) }),
    reason(NAME, { bytes: header({}), sizeBytes: 5 }),
    reason("000000010000000000000100", { bytes: header({}) }),
  ].map((text) => text?.replaceAll(/\d+/g, "N"));
  expect(new Set(reasons).size).toBe(reasons.length);
  expect(reasons).not.toContain(undefined);
});

const NAME = "000000010000000000000005";

interface HeaderFields {
  magic?: number;
  info?: number;
  timeline?: number;
  pageAddress?: bigint;
  systemIdentifier?: bigint;
  segmentSizeBytes?: number;
  pageSizeBytes?: number;
}

/** Of the 16 MB segment NAME, PostgreSQL 15, where nothing else is said. */
function header(fields: HeaderFields): Uint8Array {
  const view = new DataView(new ArrayBuffer(FIRST_PAGE_BYTES));
  view.setUint16(0, fields.magic ?? 0xd110, true);
  view.setUint16(2, fields.info ?? 0x0006, true);
  view.setUint32(4, fields.timeline ?? 1, true);
  view.setBigUint64(8, fields.pageAddress ?? 0x500_0000n, true);
  view.setBigUint64(24, fields.systemIdentifier ?? 7312345678901234567n, true);
  view.setUint32(32, fields.segmentSizeBytes ?? 16 * MIB, true);
  view.setUint32(36, fields.pageSizeBytes ?? 8192, true);
  return new Uint8Array(view.buffer);
}

/** Why the file is rejected, or `undefined` when it is not. */
function reason(
  name: string,
  options: { bytes: Uint8Array; binding?: Binding; sizeBytes?: number | undefined },
): string | undefined {
  try {
    const page = readFirstPage(options.bytes);
    const { binding = {}, sizeBytes } = options;
    checkFirstPage(requireWalName(name), page, { binding, sizeBytes });
    return undefined;
  } catch (error) {
    if (!(error instanceof WalarcError) || error.code !== "rejected") throw error;
    return error.message;
  }
}
