import { expect, test } from "vitest";
import { failureOf, formatFailure } from "../../src/cli/report.ts";
import { WalarcError } from "../../src/errors.ts";

test("a failure is one line that begins with the status's name, and a hint", () => {
  const failure = new WalarcError("conflict", "the archive holds other bytes", { hint: "look" });
  expect(formatFailure("push 00000001.history", failure)).toBe(
    "walarc: push 00000001.history: conflict: the archive holds other bytes\nhint: look\n",
  );
  expect(formatFailure("ls", new WalarcError("unknown-cluster", "no"))).toBe(
    "walarc: ls: usage: no\n",
  );
});

test("whatever stands in a message, it drives no terminal and begins no line of ours", () => {
  const message = "a\u001b[2Jb\rc\u0085d\nwalarc: push: all is well\r\n\u0007e";
  expect(formatFailure("fetch \u001bx", new WalarcError("unreachable", message))).toBe(
    "walarc: fetch \\x1bx: unreachable: a\\x1b[2Jb\\x0dc\\x85d\n" +
      "  walarc: push: all is well\n  \\x07e\n",
  );
});

test("what nobody expected is a bug that says where it arose", () => {
  const failure = failureOf(new TypeError("x is not a function"));
  expect(failure.code).toBe("bug");
  expect(failure.message).toMatch(/^TypeError: x is not a function \(at .*report\.test\.ts.*\)$/);
  expect(failureOf("a text").message).toBe("a text");
});
