import { describe, expect, test } from "vitest";
import { type Binding, checkFirstPage, readFirstPage } from "../../src/wal/first-page.ts";
import { requireWalName } from "../../src/wal/name.ts";
import { header, MIB, NAME, reason } from "./header-maker.ts";

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
