import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { findPassword, passwordIn } from "../../src/postgres/passfile.ts";

const USE = { host: "s1", port: 5432, database: "postgres", user: "walarc" };

test.each<[string, string | undefined]>([
  ["s1:5432:postgres:walarc:secret", "secret"],
  ["*:*:*:*:secret", "secret"],
  ["s1:5432:*:walarc:first\n*:*:*:*:second", "first"],
  ["s2:5432:*:walarc:first\n*:*:*:*:second", "second"],
  ["# *:*:*:*:no\r\ns1:*:*:*:yes\r\n", "yes"],
  [String.raw`s1:5432:postgres:walarc:a\:b\\c`, String.raw`a:b\c`],
  ["s1:5432:postgres:walarc:a:b", "a:b"],
  ["s1:5432:postgres:walarc:", ""],
  ["s1:5433:*:*:no", undefined],
  ["s1:5432:postgres:other:no", undefined],
  ["s1:5432:postgres:walarc", undefined],
  ["", undefined],
])("in %j the password is %j", (text, password) => {
  expect(findPassword(text, USE)).toBe(password);
});

test("a colon in a name is escaped, and sockets are at localhost", () => {
  expect(findPassword(String.raw`a\:b:*:*:*:x`, { ...USE, host: "a:b" })).toBe("x");
  expect(findPassword("localhost:*:*:*:x", { ...USE, host: "/run/postgresql" })).toBe("x");
  expect(findPassword("/run/postgresql:*:*:*:x", { ...USE, host: "/run/postgresql" })).toBe("x");
});

test("a file that others may read is none, as one that is not there", async () => {
  const directory = await mkdtemp(join(tmpdir(), "walarc-passfile-"));
  const path = join(directory, "pgpass");
  expect(await passwordIn(path, USE)).toBeUndefined();
  await writeFile(path, "*:*:*:*:secret\n", { mode: 0o600 });
  expect(await passwordIn(path, USE)).toBe("secret");
  await chmod(path, 0o640);
  expect(await passwordIn(path, USE)).toBeUndefined();
  await rm(directory, { recursive: true });
});
