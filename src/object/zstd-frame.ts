/** Where a zstd frame ends. */

const MAGIC = 0xfd2fb528;

/**
 * Follows a frame from block to block (RFC 8878, section 3.1.1) without decompressing it. Node's
 * decoder cannot be asked where a frame ended: it ignores a second one, or garbage, that comes with
 * the end of the first.
 */
export class FrameWalk {
  /** The field being read, until it has as many bytes as it needs. */
  #field = Buffer.alloc(0);
  #neededBytes = 5;
  #next: (field: Buffer) => void = (field) => this.#readDescriptor(field);
  #skipBytes = 0;
  #hasChecksum = false;
  #contentBytes: number | undefined;
  #windowBytes = Number.POSITIVE_INFINITY;
  #isFrame = true;
  isComplete = false;

  /** A checksum of the plain bytes follows the last block; false until the frame has begun. */
  get hasChecksum(): boolean {
    return this.#hasChecksum;
  }

  /** The size of the plain bytes stands in the header; false until that was read. */
  get hasSize(): boolean {
    return this.#contentBytes !== undefined;
  }

  /** That size, where it stands there; `undefined` until the header was read. */
  get contentBytes(): number | undefined {
    return this.#contentBytes;
  }

  /** How far back matches may lie; infinite until the header was read. */
  get windowBytes(): number {
    return this.#windowBytes;
  }

  /** How many of the bytes belong to the frame; `undefined` when they do not begin like one. */
  take(chunk: Buffer): number | undefined {
    let rest = chunk;
    while (rest.length > 0 && this.#isFrame && !this.isComplete) {
      const skipped = Math.min(this.#skipBytes, rest.length);
      this.#skipBytes -= skipped;
      rest = rest.subarray(skipped);
      if (this.#skipBytes > 0) break;
      rest = this.#takeField(rest);
    }
    return this.#isFrame ? chunk.length - rest.length : undefined;
  }

  #takeField(bytes: Buffer): Buffer {
    const taken = Math.min(this.#neededBytes - this.#field.length, bytes.length);
    this.#field = Buffer.concat([this.#field, bytes.subarray(0, taken)]);
    if (this.#field.length === this.#neededBytes) {
      const field = this.#field;
      this.#field = Buffer.alloc(0);
      this.#next(field);
    }
    return bytes.subarray(taken);
  }

  #await(neededBytes: number, next: (field: Buffer) => void): void {
    if (neededBytes === 0) {
      next(Buffer.alloc(0));
      return;
    }
    this.#neededBytes = neededBytes;
    this.#next = next;
  }

  #readDescriptor(field: Buffer): void {
    this.#isFrame = field.readUInt32LE(0) === MAGIC;
    const descriptor = field.readUInt8(4);
    const isSingleSegment = (descriptor & 0x20) !== 0;
    this.#hasChecksum = (descriptor & 0x04) !== 0;
    const dictionaryBytes = [0, 1, 2, 4][descriptor & 0x03] ?? 0;
    const sizeBytes = [isSingleSegment ? 1 : 0, 2, 4, 8][descriptor >> 6] ?? 0;
    const windowBytes = isSingleSegment ? 0 : 1;
    const headerBytes = windowBytes + dictionaryBytes + sizeBytes;
    this.#await(headerBytes, (header) => {
      this.#contentBytes = contentBytesOf(header.subarray(windowBytes + dictionaryBytes));
      this.#windowBytes = isSingleSegment
        ? (this.#contentBytes ?? Number.POSITIVE_INFINITY)
        : windowBytesOf(header.readUInt8(0));
      this.#awaitBlock();
    });
  }

  #awaitBlock(): void {
    this.#await(3, (field) => this.#readBlock(field.readUIntLE(0, 3)));
  }

  #readBlock(header: number): void {
    const isLast = (header & 1) !== 0;
    const isRunLength = ((header >> 1) & 3) === 1;
    this.#skipBytes = isRunLength ? 1 : header >> 3;
    if (!isLast) this.#awaitBlock();
    else if (this.#hasChecksum) this.#await(4, () => this.#end());
    else if (this.#skipBytes === 0) this.#end();
    else this.#endAfterSkip();
  }

  /** The last byte to skip is read as a field, because a field's end is where the frame can end. */
  #endAfterSkip(): void {
    this.#skipBytes -= 1;
    this.#await(1, () => this.#end());
  }

  #end(): void {
    this.isComplete = true;
  }
}

/** Frame_Content_Size (section 3.1.1.1.4): of two bytes the value has an offset. */
function contentBytesOf(field: Buffer): number | undefined {
  if (field.length === 0) return undefined;
  if (field.length === 8) return Number(field.readBigUInt64LE());
  return field.readUIntLE(0, field.length) + (field.length === 2 ? 256 : 0);
}

/** Window_Descriptor (section 3.1.1.1.2): five bits of exponent, three of mantissa. */
function windowBytesOf(descriptor: number): number {
  const base = 2 ** (10 + (descriptor >> 3));
  return base + (base / 8) * (descriptor & 7);
}
