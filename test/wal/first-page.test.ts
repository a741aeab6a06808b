import { describe, expect, test } from "vitest";
import { checkFirstPage, FIRST_PAGE_BYTES, readFirstPage } from "../../src/wal/first-page.ts";
import { requireWalName } from "../../src/wal/name.ts";
import { header, MIB, NAME, reason } from "./header-maker.ts";
import { bytesOf, RECYCLED, SEGMENTS } from "./postgres-files.ts";

const POWER_OF_TWO = "a power of two";

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
      expect(reason(NAME, { bytes: header({ segmentSizeBytes }) })).toBe(
        `segment size ${segmentSizeBytes} in the header is not ${POWER_OF_TWO} from 1 MiB to 1 GiB`,
      );
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
      expect(reason(NAME, { bytes: header({ pageSizeBytes }) })).toBe(
        `page size ${pageSizeBytes} in the header is not ${POWER_OF_TWO} from 1 to 64 KiB`,
      );
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
