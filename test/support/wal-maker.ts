import { createCipheriv, createHash } from "node:crypto";
import { closeSync, ftruncateSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";

/*
 * WAL files made without a PostgreSQL. Written from PostgreSQL's headers (xlog_internal.h,
 * xlogrecord.h) and on purpose without a line of src/wal/, so that both can be held against each
 * other.
 */

/** XLOG_PAGE_MAGIC of PostgreSQL 15 (xlog_internal.h). */
export const MAGIC_15 = 0xd110;
export const SYSTEM_IDENTIFIER = "7312345678901234567";
export const MIB = 1024 * 1024;

const PAGE_BYTES = 8192;
const LONG_HEADER_BYTES = 40;
const SHORT_HEADER_BYTES = 24;
/** xlp_info: long header, backup blocks removable. */
const FIRST_PAGE_INFO = 0x0006;
const LATER_PAGE_INFO = 0x0004;

export interface SegmentWish {
  /** Position: the how manieth segment since the beginning of WAL. */
  readonly number: number;
  readonly segmentSizeBytes?: number;
  /** Of the name. */
  readonly timeline?: number;
  /** Of the pages: the old timeline in the first segment after a promotion. */
  readonly pageTimeline?: number;
  readonly systemIdentifier?: string;
  readonly magic?: number;
  /** Equal seeds give equal bytes. */
  readonly seed?: string | number;
  /**
   * "dense" does not compress, "mixed" to about a quarter, "sparse" is zero after the first page.
   */
  readonly content?: "dense" | "mixed" | "sparse";
}

export interface MadeFile {
  readonly name: string;
  readonly bytes: Buffer;
}

/** One segment in memory. Its first record is a real one, so that pg_waldump can start reading. */
export function makeSegment(wish: SegmentWish): MadeFile {
  const size = wish.segmentSizeBytes ?? 16 * MIB;
  const bytes = Buffer.alloc(size);
  const used = wish.content === "sparse" ? PAGE_BYTES : size;
  if (used > PAGE_BYTES) fillPages(bytes, wish);
  writeFirstPage(bytes, { ...wish, segmentSizeBytes: size });
  return { name: segmentNameOf(wish), bytes };
}

/**
 * Writes one segment into `directory`; a sparse one never stands in memory whole. Returns its path.
 */
export function writeSegmentFile(directory: string, wish: SegmentWish): string {
  const path = join(directory, segmentNameOf(wish));
  const size = wish.segmentSizeBytes ?? 16 * MIB;
  const file = openSync(path, "wx", 0o644);
  try {
    if (wish.content !== "sparse") {
      const { bytes } = makeSegment(wish);
      for (let at = 0; at < size; ) at += writeSync(file, bytes, at, size - at, at);
      return path;
    }
    const page = Buffer.alloc(PAGE_BYTES);
    writeFirstPage(page, { ...wish, segmentSizeBytes: size });
    writeSync(file, page, 0, PAGE_BYTES, 0);
    ftruncateSync(file, size);
    return path;
  } finally {
    closeSync(file);
  }
}

/** `%08X%08X%08X` of timeline, log and segment within the log (XLogFileName). */
export function segmentNameOf(wish: SegmentWish): string {
  const perLog = 2 ** 32 / (wish.segmentSizeBytes ?? 16 * MIB);
  const log = Math.floor(wish.number / perLog);
  return hex8(wish.timeline ?? 1) + hex8(log) + hex8(wish.number % perLog);
}

/** A segment's `.partial`, left over by a promotion inside it. */
export function makePartial(wish: SegmentWish): MadeFile {
  const { name, bytes } = makeSegment(wish);
  return { name: `${name}.partial`, bytes };
}

/** A history file as timeline.c writes it: the switch points of all timelines before `timeline`. */
export function makeHistory(
  timeline: number,
  parents: readonly { timeline: number; switchLsn: string; reason?: string }[],
): MadeFile {
  const lines = parents.map(({ timeline, switchLsn, reason }) => {
    return `${timeline}\t${switchLsn}\t${reason ?? "no recovery target specified"}\n`;
  });
  return { name: `${hex8(timeline)}.history`, bytes: Buffer.from(lines.join("\n")) };
}

/** A backup history file as do_pg_backup_stop writes it, of a backup within one segment. */
export function makeBackupHistory(wish: SegmentWish & { label?: string }): MadeFile {
  const size = wish.segmentSizeBytes ?? 16 * MIB;
  const [name, timeline] = [segmentNameOf(wish), wish.timeline ?? 1];
  const start = BigInt(wish.number) * BigInt(size) + 0x28n;
  const text = `START WAL LOCATION: ${lsn(start)} (file ${name})
STOP WAL LOCATION: ${lsn(start + 0xd8n)} (file ${name})
CHECKPOINT LOCATION: ${lsn(start + 0x38n)}
BACKUP METHOD: streamed
BACKUP FROM: primary
START TIME: 2026-01-02 03:04:05 UTC
LABEL: ${wish.label ?? "pg_basebackup base backup"}
START TIMELINE: ${timeline}
STOP TIME: 2026-01-02 03:04:06 UTC
STOP TIMELINE: ${timeline}
`;
  return { name: `${name}.00000028.backup`, bytes: Buffer.from(text) };
}

/** SHA-256 in hex. */
export function sha256Of(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Byte offsets of the first page's fields, for those who falsify them. */
export const FIRST_PAGE = {
  magic: 0,
  info: 2,
  timeline: 4,
  pageAddress: 8,
  systemIdentifier: 24,
  segmentSizeBytes: 32,
  pageSizeBytes: 36,
} as const;

function writeFirstPage(bytes: Buffer, wish: SegmentWish & { segmentSizeBytes: number }): void {
  const address = BigInt(wish.number) * BigInt(wish.segmentSizeBytes);
  bytes.fill(0, 0, PAGE_BYTES);
  writePageHeader(bytes, 0, { ...wish, info: FIRST_PAGE_INFO, address });
  bytes.writeBigUInt64LE(BigInt(wish.systemIdentifier ?? SYSTEM_IDENTIFIER), 24);
  bytes.writeUInt32LE(wish.segmentSizeBytes, 32);
  bytes.writeUInt32LE(PAGE_BYTES, 36);
  writeNoop(bytes, LONG_HEADER_BYTES);
  // Tells equal positions with different seeds apart even when the rest is zero.
  seedBytes(wish).copy(bytes, PAGE_BYTES - 32);
}

function fillPages(bytes: Buffer, wish: SegmentWish): void {
  const address = BigInt(wish.number) * BigInt(bytes.length);
  const noise = createCipheriv("aes-128-ctr", seedBytes(wish).subarray(0, 16), Buffer.alloc(16));
  if (wish.content === "dense") {
    noise.update(bytes).copy(bytes);
  } else {
    const random = noise.update(Buffer.alloc(Math.ceil(bytes.length / 4)));
    for (let at = 0; at < bytes.length; at += PAGE_BYTES) {
      random.copy(bytes, at, at / 4, at / 4 + PAGE_BYTES / 4);
    }
  }
  for (let at = PAGE_BYTES; at < bytes.length; at += PAGE_BYTES) {
    bytes.fill(0, at, at + SHORT_HEADER_BYTES);
    writePageHeader(bytes, at, { ...wish, info: LATER_PAGE_INFO, address: address + BigInt(at) });
  }
}

function writePageHeader(
  bytes: Buffer,
  at: number,
  page: SegmentWish & { info: number; address: bigint },
): void {
  bytes.writeUInt16LE(page.magic ?? MAGIC_15, at);
  bytes.writeUInt16LE(page.info, at + 2);
  bytes.writeUInt32LE(page.pageTimeline ?? page.timeline ?? 1, at + 4);
  bytes.writeBigUInt64LE(page.address, at + 8);
}

/** An XLOG_NOOP record without data: a bare XLogRecord header with its CRC. */
function writeNoop(bytes: Buffer, at: number): void {
  const [xlogResourceManager, noop] = [0, 0x20];
  bytes.writeUInt32LE(24, at);
  bytes.writeUInt8(noop, at + 16);
  bytes.writeUInt8(xlogResourceManager, at + 17);
  bytes.writeUInt32LE(crc32c(bytes.subarray(at, at + 20)), at + 20);
}

/** CRC-32C (Castagnoli), which PostgreSQL takes for WAL records; zlib has only the other one. */
function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return (crc ^ 0xffffffff) >>> 0;
}

function seedBytes(wish: SegmentWish): Buffer {
  return createHash("sha256")
    .update(`seed ${wish.seed ?? wish.number}`)
    .digest();
}

function hex8(value: number): string {
  return value.toString(16).toUpperCase().padStart(8, "0");
}

function lsn(value: bigint): string {
  const low = (value & 0xffffffffn).toString(16);
  return `${(value >> 32n).toString(16)}/${low}`.toUpperCase();
}
