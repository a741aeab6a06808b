/**
 * The first page of a segment tells what the segment is. Its long header (XLogLongPageHeaderData in
 * xlog_internal.h), as 64-bit little-endian servers write it:
 *
 *     offset  0  u16  magic, one per PostgreSQL major
 *             2  u16  info bits
 *             4  u32  timeline of the first record on the page
 *             8  u64  page address: the LSN of this page
 *            16  u32  bytes of a continued record still to come, then 4 bytes of padding
 *            24  u64  system identifier
 *            32  u32  segment size in bytes
 *            36  u32  page size in bytes (XLOG_BLCKSZ)
 */
import { WalarcError } from "../errors.ts";
import type { WalName } from "./name.ts";
import { formatLsn, isSegmentSize, segmentNumber, startLsn } from "./segment.ts";

/** As much of a segment as `readFirstPage` needs. */
export const FIRST_PAGE_BYTES = 40;

/** XLOG_PAGE_MAGIC of the majors walarc takes. */
const MAJORS: ReadonlyMap<number, number> = new Map([
  [0xd101, 12],
  [0xd106, 13],
  [0xd10d, 14],
  [0xd110, 15],
  [0xd113, 16],
  [0xd116, 17],
  [0xd118, 18],
]);

/** Magics that deserve a better answer than "unknown". */
const OTHER_MAJORS: ReadonlyMap<number, string> = new Map([
  [0xd075, "9.3"],
  [0xd07e, "9.4"],
  [0xd087, "9.5"],
  [0xd093, "9.6"],
  [0xd097, "10"],
  [0xd098, "11"],
]);

const LONG_HEADER = 0x0002;
/** Continued record, long header, backup blocks removable, broken record overwritten. */
const KNOWN_INFO = 0x000f;

export interface FirstPage {
  readonly magic: number;
  readonly postgresMajor: number;
  /** Of the first record: right after a promotion still the parent's. */
  readonly timeline: number;
  readonly pageAddress: bigint;
  /** Decimal. */
  readonly systemIdentifier: string;
  readonly segmentSizeBytes: number;
}

/** What a cluster is bound to so far. */
export interface Binding {
  /** Decimal. */
  readonly systemIdentifier?: string | undefined;
  readonly segmentSizeBytes?: number | undefined;
  readonly postgresMajor?: number | undefined;
}

/** Reads the header at the beginning of a segment; throws `rejected` when it is none. */
export function readFirstPage(bytes: Uint8Array): FirstPage {
  if (bytes.length < FIRST_PAGE_BYTES) {
    const found = bytes.length === 0 ? "the file is empty" : `only ${bytes.length} bytes`;
    throw rejected(`${found}: a segment begins with a header of ${FIRST_PAGE_BYTES} bytes`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, FIRST_PAGE_BYTES);

  const magic = view.getUint16(0, true);
  const postgresMajor = MAJORS.get(magic);
  if (postgresMajor === undefined) throw unknownMagic(magic);
  requireKnownInfo(view.getUint16(2, true));

  const page = {
    magic,
    postgresMajor,
    timeline: view.getUint32(4, true),
    pageAddress: view.getBigUint64(8, true),
    systemIdentifier: view.getBigUint64(24, true).toString(),
    segmentSizeBytes: view.getUint32(32, true),
  };
  if (page.timeline === 0) throw rejected("the page header carries timeline 0");
  if (page.systemIdentifier === "0") throw rejected("the system identifier in the header is zero");
  if (!isSegmentSize(page.segmentSizeBytes)) {
    const wanted = "a power of two from 1 MiB to 1 GiB";
    throw rejected(`segment size ${page.segmentSizeBytes} in the header is not ${wanted}`);
  }
  if (!isPageSize(view.getUint32(36, true))) {
    const wanted = "a power of two from 1 to 64 KiB";
    throw rejected(`page size ${view.getUint32(36, true)} in the header is not ${wanted}`);
  }
  return page;
}

/**
 * Does this segment or partial segment belong under its name, in this cluster? Throws `rejected`.
 * `sizeBytes` is the length of the whole file, `undefined` while it is not known.
 */
export function checkFirstPage(
  name: WalName,
  page: FirstPage,
  options: { readonly binding: Binding; readonly sizeBytes: number | undefined },
): void {
  if (name.kind === "history" || name.kind === "backup") {
    throw new TypeError(`${name.text} has no first page`);
  }
  checkCluster(page, options.binding);

  const size = page.segmentSizeBytes;
  if (options.sizeBytes !== undefined && options.sizeBytes !== size) {
    throw rejected(`the file has ${options.sizeBytes} bytes, its header says ${size}`, {
      hint: "was it cut short, or pushed while it was still being written?",
    });
  }

  const number = segmentNumber(name, size);
  if (number === undefined) {
    throw rejected(`there is no segment ${name.position} with a segment size of ${size} bytes`);
  }
  if (page.pageAddress !== startLsn(number, size)) {
    const [found, wanted] = [formatLsn(page.pageAddress), formatLsn(startLsn(number, size))];
    throw rejected(
      `page address ${found} does not belong to this name, which starts at ${wanted}`,
      {
        hint: "is it a recycled file that PostgreSQL has not written yet, or was it renamed?",
      },
    );
  }

  // Equality would be wrong: a promotion copies the parent's pages, headers and all, into the first
  // segment of the new timeline (XLogFileCopy).
  if (page.timeline > name.timeline) {
    throw rejected(`the header's timeline ${page.timeline} is above the name's ${name.timeline}`);
  }
}

function checkCluster(page: FirstPage, binding: Binding): void {
  const { systemIdentifier, segmentSizeBytes, postgresMajor } = binding;
  if (systemIdentifier !== undefined && systemIdentifier !== page.systemIdentifier) {
    throw rejected(
      `system identifier ${page.systemIdentifier} is not the cluster's ${systemIdentifier}`,
      { hint: "another database cluster needs its own cluster name; so does one after pg_upgrade" },
    );
  }
  if (postgresMajor !== undefined && postgresMajor !== page.postgresMajor) {
    const found = `a segment of PostgreSQL ${page.postgresMajor}`;
    throw rejected(`${found} does not belong to a cluster of PostgreSQL ${postgresMajor}`);
  }
  if (segmentSizeBytes !== undefined && segmentSizeBytes !== page.segmentSizeBytes) {
    const found = `segment size ${page.segmentSizeBytes} in the header`;
    throw rejected(`${found} is not the cluster's ${segmentSizeBytes}`, {
      hint: "after pg_resetwal --wal-segsize names repeat: archive under another cluster name",
    });
  }
}

function requireKnownInfo(info: number): void {
  if ((info & ~KNOWN_INFO) !== 0) throw rejected(`unknown info bits ${hex4(info)} in the header`);
  if ((info & LONG_HEADER) === 0) {
    throw rejected("no long page header: this is not the beginning of a segment");
  }
}

function unknownMagic(magic: number): WalarcError {
  const swapped = ((magic & 0xff) << 8) | (magic >> 8);
  if (MAJORS.has(swapped) || OTHER_MAJORS.has(swapped)) {
    return rejected("the segment was written by a big-endian server, which walarc does not read");
  }
  const other = OTHER_MAJORS.get(magic);
  if (other !== undefined) {
    return rejected(`the segment is of PostgreSQL ${other}; walarc takes 12 to 18`);
  }
  if (magic === 0) return rejected("the first page is empty: PostgreSQL has not written it yet");
  return rejected(`${hex4(magic)} is not the page magic of a known PostgreSQL major`);
}

/** Sizes `configure --with-wal-blocksize` allows. */
function isPageSize(bytes: number): boolean {
  return bytes >= 1024 && bytes <= 65_536 && Number.isInteger(Math.log2(bytes));
}

function hex4(value: number): string {
  return value.toString(16).toUpperCase().padStart(4, "0");
}

function rejected(message: string, options: { hint?: string } = {}): WalarcError {
  return new WalarcError("rejected", message, options);
}
