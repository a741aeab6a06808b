import { expect, test } from "vitest";
import { systemIdentifierOf } from "../../src/wal/control-file.ts";
import { bytesOf, CONTROL_FILES } from "./postgres-files.ts";

test.each(CONTROL_FILES)(
  "PostgreSQL $major: the identifier is the one pg_controldata prints",
  ({ head, systemIdentifier }) => {
    expect(systemIdentifierOf(bytesOf(head))).toBe(systemIdentifier);
    expect(systemIdentifierOf(bytesOf(head + "00".repeat(8176)))).toBe(systemIdentifier);
  },
);

test("all 64 bits count", () => {
  expect(systemIdentifierOf(bytesOf("ffffffffffffffff"))).toBe("18446744073709551615");
});

test("a file cut within the identifier tells nothing", () => {
  for (let length = 0; length < 8; length += 1) {
    expect(systemIdentifierOf(new Uint8Array(length).fill(1))).toBeUndefined();
  }
  expect(systemIdentifierOf(new Uint8Array(8).fill(1))).toBe("72340172838076673");
});

test("an identifier of zero is none", () => {
  expect(systemIdentifierOf(new Uint8Array(8192))).toBeUndefined();
});

test("a big-endian server's file tells nothing rather than something wrong", () => {
  expect(systemIdentifierOf(bytesOf("6b01a4f8af1cd9cb0000051400000000"))).toBeUndefined();
});
