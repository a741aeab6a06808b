/**
 * Whether a segment that stands somewhere was written to its end. Its size does not tell: a copy
 * may have been given its full size before its content. Its pages do (xlog_internal.h,
 * xlogrecord.h): each begins with a header that carries its own address, and what follows a forced
 * switch is zero, headers included, behind an XLOG_SWITCH record (CopyXLogRecordToWAL in xlog.c).
 */

/** What the pages of a segment of full size say about it. */
export type Wholeness =
  /** The last page is written, or a switch ends the segment before. */
  | "whole"
  /** Zeros stand where a written page or the rest of a record must be: the copy is not through. */
  | "unfinished"
  /** Neither: WAL that ends without a switch, or pages that are not this segment's. */
  | "unproven";

interface Geometry {
  readonly magic: number;
  readonly pageBytes: number;
  /** Of the first page. */
  readonly address: { readonly high: number; readonly low: number };
}

const PAGE_BYTES_OFFSET = 36;
const PAGE_BYTES_MIN = 1024;
const PAGE_BYTES_MAX = 65_536;
const SHORT_HEADER_BYTES = 24;
const LONG_HEADER_BYTES = 40;
const CONTINUED = 0x0001;
const LONG_HEADER = 0x0002;
const RECORD_HEADER_BYTES = 24;
/** None is longer: it would have to be allocated in one piece (MaxAllocSize). */
const RECORD_BYTES_MAX = 2 ** 30;
const TWO_POW_32 = 2 ** 32;

/** Takes a segment's bytes in order, in pieces of whole pages where that is possible. */
export class SegmentPages {
  readonly #sizeBytes: number;
  #geometry: Geometry | undefined;
  #seenBytes = 0;
  #carry: Uint8Array = new Uint8Array(0);
  /** The written page that was seen last, and the one before it when they are neighbours. */
  #last: Page | undefined;
  #beforeLast: Page | undefined;
  #zeroPages = 0;
  #hasForeignPage = false;
  #hasHole = false;

  constructor(options: { readonly sizeBytes: number }) {
    this.#sizeBytes = options.sizeBytes;
  }

  /** The bytes are looked at before it returns, and copied as far as they are needed later. */
  take(bytes: Uint8Array): void {
    let rest = bytes;
    if (this.#carry.length > 0) {
      rest = new Uint8Array(this.#carry.length + bytes.length);
      rest.set(this.#carry);
      rest.set(bytes, this.#carry.length);
    }
    this.#geometry ??= geometryOf(rest);
    const pageBytes = this.#geometry?.pageBytes ?? rest.length + 1;
    const view = new DataView(rest.buffer, rest.byteOffset, rest.byteLength);
    let at = 0;
    let window: [Page | undefined, Page | undefined] = [this.#beforeLast, this.#last];
    for (; at + pageBytes <= rest.length; at += pageBytes) {
      window = this.#takePage(view, at, window);
    }
    [this.#beforeLast, this.#last] = window.map((page) => page && keep(page));
    this.#carry = new Uint8Array(rest.subarray(at));
  }

  /** To be asked when all bytes were taken. */
  wholeness(): Wholeness {
    const { pageBytes } = this.#geometry ?? {};
    if (pageBytes === undefined || this.#carry.length > 0 || this.#seenBytes !== this.#sizeBytes) {
      return "unproven";
    }
    if (this.#hasHole) return "unfinished";
    const last = this.#last;
    if (last === undefined || this.#hasForeignPage) return "unproven";
    if (last.position + pageBytes === this.#sizeBytes) return "whole";
    return endOf(last, this.#beforeLast);
  }

  #takePage(
    view: DataView,
    at: number,
    [beforeLast, last]: [Page | undefined, Page | undefined],
  ): [Page | undefined, Page | undefined] {
    const geometry = this.#geometry as Geometry;
    const position = this.#seenBytes;
    this.#seenBytes += geometry.pageBytes;
    if (isWritten(view, at, { ...geometry, position })) {
      if (this.#zeroPages > 0) this.#hasHole = true;
      const bytes = new DataView(view.buffer, view.byteOffset + at, geometry.pageBytes);
      const isNeighbour = last?.position === position - geometry.pageBytes;
      return [isNeighbour ? last : undefined, { position, bytes }];
    }
    if (isZero(view, at, geometry.pageBytes)) this.#zeroPages += 1;
    else this.#hasForeignPage = true;
    return [beforeLast, last];
  }
}

interface Page {
  /** Of its first byte in the segment. */
  readonly position: number;
  readonly bytes: DataView;
}

function keep({ position, bytes }: Page): Page {
  const copy = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength).slice();
  return { position, bytes: new DataView(copy.buffer) };
}

function geometryOf(bytes: Uint8Array): Geometry | undefined {
  if (bytes.length < LONG_HEADER_BYTES) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, LONG_HEADER_BYTES);
  const pageBytes = view.getUint32(PAGE_BYTES_OFFSET, true);
  const isPossible = pageBytes >= PAGE_BYTES_MIN && pageBytes <= PAGE_BYTES_MAX;
  if (!isPossible || !Number.isInteger(Math.log2(pageBytes))) return undefined;
  return {
    magic: view.getUint16(0, true),
    pageBytes,
    address: { low: view.getUint32(8, true), high: view.getUint32(12, true) },
  };
}

/** Magic and address are those of the page that belongs here. Without BigInt: it is asked often. */
function isWritten(view: DataView, at: number, page: Geometry & { position: number }): boolean {
  const low = page.address.low + page.position;
  return (
    view.getUint16(at, true) === page.magic &&
    view.getUint32(at + 8, true) === low % TWO_POW_32 &&
    view.getUint32(at + 12, true) === page.address.high + Math.floor(low / TWO_POW_32)
  );
}

function isZero(view: DataView, at: number, length: number): boolean {
  for (let offset = 0; offset < length; offset += 4) {
    if (view.getUint32(at + offset, true) !== 0) return false;
  }
  return true;
}

/** How the WAL ends on the last written page, after which all is zero. */
function endOf(last: Page, before: Page | undefined): Wholeness {
  const { bytes } = last;
  const first = headerBytes(last);
  const leftBytes = isContinued(last) ? bytes.getUint32(16, true) : 0;
  if (first + leftBytes > bytes.byteLength) return "unfinished";
  const walk = walkRecords(bytes, align(first + leftBytes));
  if (walk.end !== "clean") return walk.end;
  if (walk.last !== undefined) return isSwitch(recordAt(bytes, walk.last)) ? "whole" : "unproven";
  // Nothing begins on this page: the switch may have begun on the one before.
  if (leftBytes === 0 || leftBytes >= RECORD_HEADER_BYTES || before === undefined)
    return "unproven";
  return isSwitch(splitRecord(before, { bytes, first, leftBytes })) ? "whole" : "unproven";
}

/** The header of a record that began on `before` and has `leftBytes` on the page after it. */
function splitRecord(
  before: Page,
  { bytes, first, leftBytes }: { bytes: DataView; first: number; leftBytes: number },
): DataView | undefined {
  const firstBefore = headerBytes(before);
  const continued = isContinued(before) ? before.bytes.getUint32(16, true) : 0;
  const walk = walkRecords(before.bytes, align(firstBefore + continued));
  if (walk.end !== "unfinished" || walk.last === undefined) return undefined;
  const begun = before.bytes.byteLength - walk.last;
  if (begun + leftBytes !== RECORD_HEADER_BYTES) return undefined;
  const header = new DataView(new ArrayBuffer(RECORD_HEADER_BYTES));
  for (let at = 0; at < begun; at += 1) {
    header.setUint8(at, before.bytes.getUint8(walk.last + at));
  }
  for (let at = 0; at < leftBytes; at += 1) {
    header.setUint8(begun + at, bytes.getUint8(first + at));
  }
  return header;
}

/**
 * Where the last record of the page begins, and whether it goes on behind the page ("unfinished"),
 * ends on it ("clean"), or makes no sense ("unproven").
 */
function walkRecords(
  bytes: DataView,
  from: number,
): { end: "clean" | "unfinished" | "unproven"; last: number | undefined } {
  let last: number | undefined;
  for (let at = from; at < bytes.byteLength; ) {
    const lengthBytes = bytes.getUint32(at, true);
    if (lengthBytes === 0) break;
    const isOnFirstPage = (bytes.getUint16(2, true) & LONG_HEADER) !== 0;
    if (lengthBytes < RECORD_HEADER_BYTES) return { end: "unproven", last };
    if (isOnFirstPage && !isPossibleRecord(bytes, at)) return { end: "unproven", last };
    last = at;
    at = align(at + lengthBytes);
    if (last + lengthBytes > bytes.byteLength) return { end: "unfinished", last };
  }
  return { end: "clean", last };
}

/**
 * Whether a record can begin there, as far as its header is on the page. A first page that holds
 * none says nothing about where the WAL ends; on a later one, doubt speaks for a cut copy.
 */
function isPossibleRecord(bytes: DataView, at: number): boolean {
  const lengthBytes = bytes.getUint32(at, true);
  if (lengthBytes > RECORD_BYTES_MAX) return false;
  // Points back to the record before it.
  const hasPrevious = at + 16 <= bytes.byteLength;
  if (hasPrevious && addressAt(bytes, at + 8) >= addressAt(bytes, 8) + at) return false;
  // Padding.
  return at + 20 > bytes.byteLength || bytes.getUint16(at + 18, true) === 0;
}

/** Exact up to 2 ** 53, and in order beyond. */
function addressAt(bytes: DataView, at: number): number {
  return bytes.getUint32(at + 4, true) * TWO_POW_32 + bytes.getUint32(at, true);
}

function recordAt(bytes: DataView, at: number): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset + at, RECORD_HEADER_BYTES);
}

/** Length 24, resource manager 0 (XLOG), info 0x40 (XLOG_SWITCH). */
function isSwitch(record: DataView | undefined): boolean {
  return (
    record !== undefined &&
    record.getUint32(0, true) === RECORD_HEADER_BYTES &&
    (record.getUint8(16) & 0xf0) === 0x40 &&
    record.getUint8(17) === 0
  );
}

function headerBytes({ position }: Page): number {
  return position === 0 ? LONG_HEADER_BYTES : SHORT_HEADER_BYTES;
}

function isContinued({ bytes }: Page): boolean {
  return (bytes.getUint16(2, true) & CONTINUED) !== 0;
}

/** MAXALIGN. */
function align(at: number): number {
  return Math.ceil(at / 8) * 8;
}
