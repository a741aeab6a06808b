/** ControlFileData (pg_control.h) begins with u64 system_identifier and u32 pg_control_version. */
const VERSION_OFFSET = 8;

/**
 * The system identifier in the bytes of `global/pg_control`, decimal, as the servers' own tools
 * print it; `undefined` when it cannot be told. Reads little-endian, like `readFirstPage`.
 */
export function systemIdentifierOf(controlFile: Uint8Array): string | undefined {
  if (controlFile.length < VERSION_OFFSET) return undefined;
  const view = new DataView(controlFile.buffer, controlFile.byteOffset, controlFile.byteLength);
  if (view.byteLength >= VERSION_OFFSET + 4) {
    // A version with nothing in its low half is one in the other byte order (pg_controldata.c).
    const version = view.getUint32(VERSION_OFFSET, true);
    if (version !== 0 && version % 65_536 === 0) return undefined;
  }
  const identifier = view.getBigUint64(0, true);
  return identifier === 0n ? undefined : identifier.toString();
}
