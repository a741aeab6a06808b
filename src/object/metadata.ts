/**
 * The trailer of a stored object (docs/object-format.md):
 *
 *     zstd frame | skippable frame: magic, size | JSON | frame size, JSON size, CRC, "WALARC1\n"
 *                                                       └──────────── footer, 24 bytes ─────────┘
 *
 * `zstd -d` reads the first frame and skips the second (RFC 8878, section 3.1.2), so an object can
 * be restored without walarc; the footer makes the metadata findable from the end.
 */
import { crc32 } from "node:zlib";
import { WalarcError } from "../errors.ts";

/** What an object says about itself. */
export interface ObjectMetadata {
  /** Name of the WAL file. */
  readonly name: string;
  /** Hex digest of the plain bytes. */
  readonly sha256: string;
  /** Number of plain bytes. */
  readonly sizeBytes: number;
  /** Decimal; `null` for a file that came before anything told the cluster's identity. */
  readonly systemIdentifier: string | null;
  readonly timeline: number;
  /** Time of arrival, ISO 8601 in UTC. */
  readonly archivedAt: string;
}

const SKIPPABLE_MAGIC = 0x184d2a57;
const SKIPPABLE_HEADER_BYTES = 8;
const FOOTER_MAGIC = Buffer.from("WALARC1\n", "latin1");
const METADATA_BYTES_MAX = 4096;

export const FOOTER_BYTES = 24;
/** Reading so many bytes from the end always finds the metadata. */
export const TRAILER_BYTES_MAX = SKIPPABLE_HEADER_BYTES + METADATA_BYTES_MAX + FOOTER_BYTES;

/** What is known of the zstd frame. */
export interface FrameDigest {
  readonly frameBytes: number;
  /**
   * Hex digest of the compressed bytes, a tenth of the plain ones: what proves an object for every
   * fetch without decompressing it. Objects of version 0.1.0 may lack it.
   */
  readonly frameSha256: string | undefined;
}

export function trailerOf(metadata: ObjectMetadata, frame: FrameDigest): Buffer {
  const { frameSha256 } = frame;
  const json = Buffer.from(JSON.stringify({ ...metadata, frameSha256 }));
  if (json.length > METADATA_BYTES_MAX) throw new Error(`metadata of ${json.length} bytes`);
  const trailer = Buffer.alloc(SKIPPABLE_HEADER_BYTES + json.length + FOOTER_BYTES);
  trailer.writeUInt32LE(SKIPPABLE_MAGIC, 0);
  trailer.writeUInt32LE(json.length + FOOTER_BYTES, 4);
  json.copy(trailer, SKIPPABLE_HEADER_BYTES);
  const footer = trailer.subarray(trailer.length - FOOTER_BYTES);
  footer.writeBigUInt64LE(BigInt(frame.frameBytes), 0);
  footer.writeUInt32LE(json.length, 8);
  footer.writeUInt32LE(crc32(json), 12);
  FOOTER_MAGIC.copy(footer, 16);
  return trailer;
}

/**
 * The metadata and the size of the zstd frame, from the last bytes of an object (all of it, or at
 * least `TRAILER_BYTES_MAX`). Rejects with `corrupt` unless every part agrees with every other.
 */
export function parseTrailer(
  tail: Buffer,
  options: { storedBytes: number },
): { metadata: ObjectMetadata } & FrameDigest {
  if (tail.length < FOOTER_BYTES + SKIPPABLE_HEADER_BYTES) throw damaged("it is too short");
  const footer = tail.subarray(tail.length - FOOTER_BYTES);
  if (!footer.subarray(16).equals(FOOTER_MAGIC)) throw damaged("it does not end in a footer");
  const frameBytes = Number(footer.readBigUInt64LE(0));
  const jsonBytes = footer.readUInt32LE(8);
  const trailerBytes = SKIPPABLE_HEADER_BYTES + jsonBytes + FOOTER_BYTES;
  if (frameBytes + trailerBytes !== options.storedBytes || trailerBytes > tail.length) {
    throw damaged("its size and its footer disagree");
  }
  const trailer = tail.subarray(tail.length - trailerBytes);
  if (
    trailer.readUInt32LE(0) !== SKIPPABLE_MAGIC ||
    trailer.readUInt32LE(4) !== jsonBytes + FOOTER_BYTES
  ) {
    throw damaged("its metadata frame does not begin where the footer says");
  }
  const json = trailer.subarray(SKIPPABLE_HEADER_BYTES, SKIPPABLE_HEADER_BYTES + jsonBytes);
  if (crc32(json) !== footer.readUInt32LE(12)) throw damaged("its metadata fail their checksum");
  return { ...requireMetadata(json.toString()), frameBytes };
}

function requireMetadata(json: string): {
  metadata: ObjectMetadata;
  frameSha256: string | undefined;
} {
  const found = parseJson(json) as Partial<Record<string, unknown>> | null;
  const { frameSha256, ...value } = found ?? {};
  const identifier = value["systemIdentifier"];
  if (
    typeof value["name"] !== "string" ||
    !isDigest(value["sha256"]) ||
    !(frameSha256 === undefined || isDigest(frameSha256)) ||
    !Number.isSafeInteger(value["sizeBytes"]) ||
    !(identifier === null || typeof identifier === "string") ||
    !Number.isSafeInteger(value["timeline"]) ||
    typeof value["archivedAt"] !== "string"
  ) {
    throw damaged("its metadata are incomplete");
  }
  return { metadata: value as unknown as ObjectMetadata, frameSha256 };
}

function isDigest(value: unknown): value is string {
  return typeof value === "string" && /^[0-9a-f]{64}$/.test(value);
}

function parseJson(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return null; // Reported by the caller as incomplete metadata, which is what it is.
  }
}

export function damaged(why: string, cause?: unknown): WalarcError {
  return new WalarcError("corrupt", `the stored copy is damaged: ${why}`, {
    hint: "push the same WAL file again to repair it, or restore it from another copy",
    cause,
  });
}
