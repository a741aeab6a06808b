import { describe, expect, test } from "vitest";
import { WalarcError } from "../../src/errors.ts";
import { parseHistory } from "../../src/wal/history.ts";
import { requireWalName } from "../../src/wal/name.ts";
import { HISTORY_2, HISTORY_3, UNREADABLE_HISTORY } from "./postgres-files.ts";

describe("what a real server wrote", () => {
  test("a reason that ends in a newline leaves a blank line", () => {
    expect(parse(HISTORY_2.name, HISTORY_2.text)).toEqual({
      timeline: 2,
      parents: [{ timeline: 1, switchLsn: 0x160_0000n }],
    });
  });

  test("a child's file begins with its parent's", () => {
    expect(parse(HISTORY_3.name, HISTORY_3.text)).toEqual({
      timeline: 3,
      parents: [
        { timeline: 1, switchLsn: 0x160_0000n },
        { timeline: 2, switchLsn: 0x190_00a0n },
      ],
    });
  });

  test("a restore point's name with a newline is refused, as PostgreSQL refuses it", () => {
    const error = refusal(UNREADABLE_HISTORY.name, UNREADABLE_HISTORY.text);
    expect(error?.message).toBe("line 2 does not name a timeline and its switch point");
    expect(error?.hint).toMatch(/PostgreSQL cannot read this file either/);
  });
});

describe("what is read as PostgreSQL reads it", () => {
  test("timelines are decimal inside and hex in the name", () => {
    const text = "9\t0/24000A0\tx\n10\t0/25000A0\tx\n12\t0/26000A0\tx\n";
    expect(parse("0000000D.history", text)).toEqual({
      timeline: 13,
      parents: [
        { timeline: 9, switchLsn: 0x240_00a0n },
        { timeline: 10, switchLsn: 0x250_00a0n },
        { timeline: 12, switchLsn: 0x260_00a0n },
      ],
    });
    expect(refusal("0000000B.history", text)?.message).toMatch(/12 is not below its child's 11/);
  });

  test.each([
    ["comments and blank lines", "# of a clone\n\n  # indented\n \t \n1\t0/5000\treason\n\n"],
    ["spaces for tabs", "1 0/5000 reason\n"],
    ["leading white space", " \t1\t0/5000\treason\n"],
    ["carriage returns", "1\t0/5000\treason\r\n\r\n"],
    ["no reason", "1\t0/5000\n"],
    ["no last newline", "1\t0/5000\treason"],
    ["anything after the LSN", "1\t0/5000\tbefore\t# 2\t0/6000\tx"],
    ["something stuck to the LSN", "1\t0/5000;reason\n"],
    ["a reason in no encoding we know", '1\t0/5000\tat restore point "\u00e4\ufffd"\n'],
    ["a padded LSN", "1\t00000000/00005000\treason\n"],
  ])("%s", (_what, text) => {
    const parents = [{ timeline: 1, switchLsn: 0x5000n }];
    expect(parse("00000002.history", text)).toEqual({ timeline: 2, parents });
  });

  test("hex digits of either case", () => {
    const parents = [{ timeline: 1, switchLsn: 0xab_0000_cdefn }];
    expect(parse("00000002.history", "1\tAB/CDEF\tx\n").parents).toEqual(parents);
    expect(parse("00000002.history", "1\tab/cdef\tx\n").parents).toEqual(parents);
  });

  test("the greatest timelines and LSNs", () => {
    expect(parse("FFFFFFFF.history", "4294967294\tFFFFFFFF/FFFFFFFF\tx\n")).toEqual({
      timeline: 0xffff_ffff,
      parents: [{ timeline: 0xffff_fffe, switchLsn: 2n ** 64n - 1n }],
    });
  });
});

describe("what is refused", () => {
  test.each([
    ["an empty file", "00000002.history", "", /names no parent timeline/],
    ["only comments", "00000002.history", "# nothing\n\n", /names no parent timeline/],
    ["NUL bytes", "00000002.history", "1\t0/5000\tx\n\0\0", /not text/],
    ["a segment's beginning", "00000002.history", "\x10\xd1\x06\0", /not text/],
    ["no number", "00000002.history", "hello\n", /^line 1 does not name/],
    ["no LSN", "00000002.history", "1\n", /^line 1 does not name/],
    ["half an LSN", "00000002.history", "1\t0\n", /^line 1 does not name/],
    ["an LSN above 64 bits", "00000002.history", "1\t0/123456789\n", /^line 1 does not name/],
    ["digits that are all the timeline's", "00000002.history", "10/24\n", /^line 1 does not name/],
    ["a hex timeline", "0000000B.history", "A\t0/5000\n", /^line 1 does not name/],
    ["a negative timeline", "00000002.history", "-1\t0/5000\n", /^line 1 does not name/],
    ["timeline 0", "00000002.history", "0\t0/5000\n", /^line 1 does not name/],
    ["a timeline above 32 bits", "FFFFFFFF.history", "4294967296\t0/1\n", /^line 1 does not name/],
    ["a good line, then rubbish", "00000009.history", "1\t0/5000\nx\n", /^line 2 does not name/],
    ["an HTML page", "00000002.history", "<html>\n", /^line 1 does not name/],
    ["its own parent", "00000002.history", "2\t0/5000\n", /2 is not below its child's 2/],
    ["a parent above it", "00000002.history", "3\t0/5000\n", /3 is not below its child's 2/],
    ["a first timeline with a parent", "00000001.history", "1\t0/5000\n", /1 is not below/],
    ["parents that repeat", "00000009.history", "1\t0/5000\n1\t0/6000\n", /1 after 1 does not/],
    ["parents that go back", "00000009.history", "2\t0/5000\n1\t0/6000\n", /1 after 2 does not/],
  ])("%s", (_what, name, text, message) => {
    expect(refusal(name, text)?.message).toMatch(message);
  });
});

function parse(name: string, text: string) {
  return parseHistory(requireWalName(name), text);
}

function refusal(name: string, text: string): WalarcError | undefined {
  try {
    parse(name, text);
    return undefined;
  } catch (error) {
    if (!(error instanceof WalarcError) || error.code !== "rejected") throw error;
    return error;
  }
}
