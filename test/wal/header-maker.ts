import { WalarcError } from "../../src/errors.ts";
import {
  type Binding,
  checkFirstPage,
  FIRST_PAGE_BYTES,
  readFirstPage,
} from "../../src/wal/first-page.ts";
import { requireWalName } from "../../src/wal/name.ts";

export const MIB = 1024 * 1024;
export const NAME = "000000010000000000000005";

interface HeaderFields {
  magic?: number;
  info?: number;
  timeline?: number;
  pageAddress?: bigint;
  systemIdentifier?: bigint;
  segmentSizeBytes?: number;
  pageSizeBytes?: number;
}

/** Of the 16 MB segment NAME, PostgreSQL 15, where nothing else is said. */
export function header(fields: HeaderFields): Uint8Array {
  const view = new DataView(new ArrayBuffer(FIRST_PAGE_BYTES));
  view.setUint16(0, fields.magic ?? 0xd110, true);
  view.setUint16(2, fields.info ?? 0x0006, true);
  view.setUint32(4, fields.timeline ?? 1, true);
  view.setBigUint64(8, fields.pageAddress ?? 0x500_0000n, true);
  view.setBigUint64(24, fields.systemIdentifier ?? 7312345678901234567n, true);
  view.setUint32(32, fields.segmentSizeBytes ?? 16 * MIB, true);
  view.setUint32(36, fields.pageSizeBytes ?? 8192, true);
  return new Uint8Array(view.buffer);
}

/** Why the file is rejected, or `undefined` when it is not. */
export function reason(
  name: string,
  options: { bytes: Uint8Array; binding?: Binding; sizeBytes?: number | undefined },
): string | undefined {
  try {
    const page = readFirstPage(options.bytes);
    const { binding = {}, sizeBytes } = options;
    checkFirstPage(requireWalName(name), page, { binding, sizeBytes });
    return undefined;
  } catch (error) {
    if (!(error instanceof WalarcError) || error.code !== "rejected") throw error;
    return error.message;
  }
}
