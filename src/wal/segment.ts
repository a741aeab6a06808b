/**
 * Where segments lie in the WAL. Three ways to say it:
 *
 *     LSN       0/A16B2E0, a byte position, 64 bits: a bigint
 *     number    LSN / segment size, below 2^44: a number
 *     name      timeline, number / P, number % P with P = 2^32 / segment size, each `%08X`
 *
 * (XLogFileName and XLByteToSeg in xlog_internal.h.)
 */
import type { PlacedName } from "./name.ts";

const MIB = 1024 * 1024;
const LSN = /^([0-9A-F]{1,8})\/([0-9A-F]{1,8})$/i;
const LOG_BYTES = 2 ** 32;

/** Sizes initdb can give a cluster, in bytes: the powers of two from 1 MiB to 1 GiB. */
export const SEGMENT_SIZES: readonly number[] = Array.from({ length: 11 }, (_, n) => MIB * 2 ** n);

export function isSegmentSize(bytes: number): boolean {
  return SEGMENT_SIZES.includes(bytes);
}

/**
 * The number of a named segment, or `undefined` when no segment of this size has such a name: with
 * 16 MiB the last eight digits end at `000000FF`.
 */
export function segmentNumber(
  name: Pick<PlacedName, "log" | "segment">,
  segmentSizeBytes: number,
): number | undefined {
  const perLog = LOG_BYTES / segmentSizeBytes;
  return name.segment < perLog ? name.log * perLog + name.segment : undefined;
}

export function segmentName(timeline: number, number: number, segmentSizeBytes: number): string {
  const perLog = LOG_BYTES / segmentSizeBytes;
  return hex8(timeline) + hex8(Math.floor(number / perLog)) + hex8(number % perLog);
}

/** The LSN of a segment's first byte. */
export function startLsn(number: number, segmentSizeBytes: number): bigint {
  return BigInt(number) * BigInt(segmentSizeBytes);
}

/** The number of the segment that holds the byte at `lsn`. */
export function segmentNumberOf(lsn: bigint, segmentSizeBytes: number): number {
  return Number(lsn / BigInt(segmentSizeBytes));
}

/** Reads `%X/%X`, padded (as PostgreSQL 19 is expected to write it) or not. */
export function parseLsn(text: string): bigint | undefined {
  const [, high, low] = LSN.exec(text) ?? [];
  if (high === undefined || low === undefined) return undefined;
  return (BigInt(`0x${high}`) << 32n) | BigInt(`0x${low}`);
}

/** Writes `%X/%X`, as PostgreSQL 12 to 18 do. */
export function formatLsn(lsn: bigint): string {
  return `${hex(lsn >> 32n)}/${hex(lsn & 0xffff_ffffn)}`;
}

function hex8(value: number): string {
  return hex(value).padStart(8, "0");
}

function hex(value: number | bigint): string {
  return value.toString(16).toUpperCase();
}
