/** The plain bytes of a file that an import takes, whatever it is compressed with. */
import { spawn } from "node:child_process";
import { closeSync } from "node:fs";
import { promisify } from "node:util";
import { gunzip, zstdDecompress } from "node:zlib";
import {
  openSourceFile,
  readSource,
  requireUnchanged,
  type SourceFile,
} from "../client/source-file.ts";
import { WalarcError } from "../errors.ts";
import type { Compression, ImportFile } from "./source.ts";

/** The largest segment there is, and a byte, so that a longer one is noticed. */
const PLAIN_BYTES_MAX = 1024 ** 3 + 1;

/** What decompresses, apart from what Node brings. */
const PROGRAMS = { lz4: "lz4", bz2: "bzip2", xz: "xz" } as const;

/** Bytes of a known length, to be read as often as wanted. Dispose it. */
export interface Content extends Disposable {
  readonly sizeBytes: number;
  /** A reader from the beginning on, which fills a buffer and returns how many bytes. */
  reader(): (buffer: Buffer) => number;
}

/** Rejects with `local` when the file cannot be read or decompressed. */
export async function openContent(file: ImportFile): Promise<Content> {
  const source = openSourceFile(file.path);
  if (file.compression === undefined) return plainContent(source, file.path);
  try {
    const bytes = await decompress(file.compression, readWhole(source), file.path);
    return {
      sizeBytes: bytes.length,
      reader: () => readerOf(bytes),
      [Symbol.dispose]: () => {},
    };
  } finally {
    closeSync(source.descriptor);
  }
}

/** Rejects with `usage` when a program is missing that these need. */
export async function requirePrograms(compressions: Iterable<Compression>): Promise<void> {
  for (const compression of compressions) {
    if (compression === "gz" || compression === "zst") continue;
    const program = PROGRAMS[compression];
    try {
      await run(program, Buffer.alloc(0), ["--version"]);
    } catch (error) {
      throw new WalarcError("usage", `cannot run "${program}", which reads .${compression} files`, {
        hint: `install it (Debian: apt-get install ${program})`,
        cause: error,
      });
    }
  }
}

function plainContent(opened: SourceFile, path: string): Content {
  let source: SourceFile | undefined = opened;
  const close = () => {
    if (source !== undefined) closeSync(source.descriptor);
    source = undefined;
  };
  let isFresh = true;
  return {
    sizeBytes: opened.stats.size,
    reader: () => {
      if (!isFresh) {
        close();
        source = openSourceFile(path);
      }
      isFresh = false;
      const reading = source ?? openSourceFile(path);
      let bytesRead = 0;
      return (buffer) => {
        const count = readSource(reading, buffer);
        bytesRead += count;
        if (count === 0 || bytesRead === reading.stats.size) requireUnchanged(reading, bytesRead);
        return count;
      };
    },
    [Symbol.dispose]: close,
  };
}

function readerOf(bytes: Buffer): (buffer: Buffer) => number {
  let at = 0;
  return (buffer) => {
    const count = bytes.copy(buffer, 0, at);
    at += count;
    return count;
  };
}

function readWhole(source: SourceFile): Buffer {
  const bytes = Buffer.allocUnsafe(source.stats.size + 1);
  let filled = 0;
  for (;;) {
    const count = readSource(source, bytes.subarray(filled));
    if (count === 0 || filled + count === bytes.length) break;
    filled += count;
  }
  requireUnchanged(source, filled);
  return bytes.subarray(0, filled);
}

async function decompress(compression: Compression, bytes: Buffer, path: string): Promise<Buffer> {
  const limits = { maxOutputLength: PLAIN_BYTES_MAX };
  try {
    switch (compression) {
      case "gz":
        return await promisify(gunzip)(bytes, limits);
      case "zst":
        return await promisify(zstdDecompress)(bytes, limits);
      case "lz4":
      case "bz2":
      case "xz":
        return await run(PROGRAMS[compression], bytes, ["-d", "-c"]);
    }
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new WalarcError("local", `cannot decompress ${JSON.stringify(path)}: ${why}`, {
      cause: error,
    });
  }
}

/** What the program makes of the bytes. It is given no file's name and no say in anything. */
async function run(program: string, bytes: Buffer, args: readonly string[]): Promise<Buffer> {
  const child = spawn(program, args, { stdio: ["pipe", "pipe", "pipe"] });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  child.stdin.on("error", () => {}); // It says itself why it stopped reading.
  child.stdin.end(bytes);
  const [plain, said, status] = await Promise.all([
    collect(child.stdout),
    collect(child.stderr),
    ended,
  ]);
  if (status === 0) return plain;
  throw new Error(`${program} ended with ${status}: ${said.toString().trim().slice(0, 200)}`);
}

async function collect(stream: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of stream) {
    bytes += chunk.length;
    if (bytes > PLAIN_BYTES_MAX) throw new Error("more bytes than any segment has");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
