import { execFileSync } from "node:child_process";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  findConfig,
  readConfigFile,
  readConfigText,
  readSettledConfig,
} from "../../src/config/file.ts";

let directory = "";
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "walarc-config-"));
});
afterEach(async () => {
  await rm(directory, { recursive: true });
});

async function write(content: string | Uint8Array): Promise<string> {
  const path = join(directory, "walarc.toml");
  await writeFile(path, content, { mode: 0o644 });
  return path;
}

test("a problem names the file", async () => {
  const path = await write('[store]\npath = "here"');
  await expect(readConfigFile(path)).rejects.toMatchObject({
    code: "usage",
    message: expect.stringContaining(`${path}: store.path: "here" is not an absolute path`),
  });
});

test.each([
  ["a missing file", "missing", "there is no such file"],
  ["a directory", ".", "it is a directory"],
])("%s is refused as what it is", async (_what, name, why) => {
  const path = join(directory, name);
  await expect(readConfigFile(path)).rejects.toMatchObject({
    code: "usage",
    message: `cannot read the configuration file "${path}": ${why}`,
  });
});

test("what is no text is refused, and so is what never ends", async () => {
  const path = await write(Buffer.from([0x61, 0xff, 0xfe]));
  await expect(readConfigFile(path)).rejects.toThrow(/it is not UTF-8 text$/);
  await expect(readConfigFile("/dev/zero")).rejects.toThrow(/it is larger than 1048576 bytes$/);
});

test("a pipe in the place of a file is not waited for by a daemon that reloads", async () => {
  const path = join(directory, "pipe");
  execFileSync("mkfifo", [path]);
  await expect(readSettledConfig(path)).rejects.toThrow(/it is a pipe$/);
});

test("a file that others may change is a warning, one that all may read is not", async () => {
  const path = await write('[store]\npath = "/a"');
  expect((await readConfigFile(path)).warnings).toEqual([]);
  await chmod(path, 0o664);
  expect((await readConfigFile(path)).warnings).toEqual([
    `"${path}" (mode 0664) can be changed by others than its owner`,
  ]);
});

test.each([
  ["host=s1 password = secret", true],
  ["postgresql://walarc:secret@s1/postgres", true],
  ["host=s1 passfile=/etc/walarc/pgpass", false],
  ["postgresql://walarc@s1/postgres", false],
])("a password that all may read is a warning: %s", async (conninfo, isWarned) => {
  const standby = `[clusters.main.standbys.s1]\nconninfo = "${conninfo}"\n`;
  const path = await write(`[store]\npath = "/a"\n${standby}`);
  const warning = `"${path}" (mode 0644) holds a password that every user of this host can read`;
  expect((await readConfigFile(path)).warnings).toEqual(isWarned ? [warning] : []);
  await chmod(path, 0o640);
  expect((await readConfigFile(path)).warnings).toEqual([]);
});

test("a byte order mark and empty files are no obstacle", async () => {
  expect((await readConfigText(await write('\ufeff[store]\npath = "/a"'))).text[0]).toBe("[");
  expect((await readConfigText("/dev/null")).text).toBe("");
});

test("a named file must be there: no embedded default for who asks for one", async () => {
  const file = join(directory, "missing");
  const found = findConfig({ file, workingDirectory: directory });
  await expect(found).rejects.toMatchObject({ code: "usage" });
});
