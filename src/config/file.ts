/** Reads configuration files. */
import { type FileHandle, open, stat } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { WalarcError } from "../errors.ts";
import type { Config } from "./config.ts";
import { defaultConfig, parseConfig } from "./parser.ts";
import { DEFAULT_CONFIG_FILE } from "./places.ts";

/** Far above any configuration; a wrong path may lead to something endless. */
const FILE_BYTES_MAX = 1024 * 1024;
/** Longer than an editor or a copy pauses in the middle of a file. */
const SETTLE_MS = 300;
const READINGS_MAX = 25;
/** In a connection string, as a key or in a URI. */
const PASSWORD = /^\s*conninfo\s*=.*(\bpassword\s*=|:\/\/[^/@\s]*:[^/@\s]+@)/m;

export interface ConfigText {
  readonly text: string;
  readonly warnings: readonly string[];
}

/**
 * The configuration the daemon starts with: the named file, else the default one if it exists, else
 * the embedded default in the working directory. Rejects with `usage`.
 */
export async function findConfig(options: {
  readonly file: string | undefined;
  readonly workingDirectory: string;
}): Promise<Config> {
  if (options.file !== undefined) return await readConfigFile(options.file);
  try {
    return await readConfigFile(DEFAULT_CONFIG_FILE);
  } catch (error) {
    if (error instanceof WalarcError && isMissing(error.cause)) {
      return defaultConfig(options.workingDirectory);
    }
    throw error;
  }
}

/**
 * The configuration in a file that may just be being written: half of one can look like a whole one
 * with less in it. Read again until it stands still. Rejects as `readConfigFile` does.
 */
export async function readSettledConfig(path: string): Promise<Config> {
  for (let reading = 1; ; reading += 1) {
    const before = await traceOf(path);
    await delay(SETTLE_MS);
    await requireNoPipe(path);
    const read = readConfigFile(path);
    await read.catch(() => {}); // It counts only if the file stands still.
    const isQuiet = (await traceOf(path)) === before;
    if (isQuiet || reading === READINGS_MAX) return await read;
  }
}

/** The configuration in a file. Rejects with `usage`: every problem, or why it cannot be read. */
export async function readConfigFile(path: string): Promise<Config> {
  const { text, warnings } = await readConfigText(path);
  try {
    const config = parseConfig(text);
    return { ...config, warnings: [...warnings, ...config.warnings] };
  } catch (error) {
    if (!(error instanceof WalarcError)) throw error;
    const hint = error.hint === undefined ? {} : { hint: error.hint };
    throw new WalarcError("usage", `${path}: ${error.message}`, { ...hint, cause: error });
  }
}

/** A configuration file's text, with a warning when others may change it. Rejects with `usage`. */
export async function readConfigText(path: string): Promise<ConfigText> {
  const refuse = (why: string, cause?: unknown) =>
    new WalarcError("usage", `cannot read the configuration file "${path}": ${why}`, { cause });
  try {
    await using file = await open(path, "r");
    const status = await file.stat();
    if (status.isDirectory()) throw refuse("it is a directory");
    const bytes = await readAtMost(file, FILE_BYTES_MAX + 1);
    if (bytes.length > FILE_BYTES_MAX) throw refuse(`it is larger than ${FILE_BYTES_MAX} bytes`);
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    const isOpenToChange = status.isFile() && (status.mode & 0o022) !== 0;
    const mode = (status.mode & 0o777).toString(8).padStart(4, "0");
    const subject = `"${path}" (mode ${mode})`;
    const isSeen = (status.mode & 0o004) !== 0 && PASSWORD.test(text);
    const warnings = [
      ...(isOpenToChange ? [`${subject} can be changed by others than its owner`] : []),
      ...(isSeen ? [`${subject} holds a password that every user of this host can read`] : []),
    ];
    return { text, warnings };
  } catch (error) {
    if (error instanceof WalarcError) throw error;
    throw refuse(READ_ERRORS[(error as NodeJS.ErrnoException).code ?? ""] ?? String(error), error);
  }
}

/** To open one that nobody writes to would wait for ever, and whoever stops the daemon with it. */
async function requireNoPipe(path: string): Promise<void> {
  const found = await stat(path).catch(() => undefined);
  if (found?.isFIFO() !== true) return;
  throw new WalarcError("usage", `cannot read the configuration file "${path}": it is a pipe`);
}

async function traceOf(path: string): Promise<string> {
  const found = await stat(path, { bigint: true }).catch(() => undefined);
  return [found?.dev, found?.ino, found?.size, found?.mtimeNs, found?.ctimeNs].join(" ");
}

async function readAtMost(file: FileHandle, bytesMax: number): Promise<Buffer> {
  const buffer = Buffer.alloc(bytesMax);
  let filled = 0;
  for (;;) {
    // A pipe gives what it has; only nothing is the end.
    const { bytesRead } = await file.read(buffer, filled, bytesMax - filled, null);
    filled += bytesRead;
    if (bytesRead === 0 || filled === bytesMax) return buffer.subarray(0, filled);
  }
}

const READ_ERRORS: Readonly<Record<string, string>> = {
  ENOENT: "there is no such file",
  ENOTDIR: "there is no such file",
  EACCES: "permission denied",
  EISDIR: "it is a directory",
  ERR_ENCODING_INVALID_ENCODED_DATA: "it is not UTF-8 text",
};

function isMissing(error: unknown): boolean {
  const { code } = (error ?? {}) as NodeJS.ErrnoException;
  return code === "ENOENT" || code === "ENOTDIR";
}
