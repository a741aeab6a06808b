/*
 * What real servers wrote (PostgreSQL 15.20, 16.14, 17.10, 18.4): the first 40 bytes of segments,
 * the text of history and backup history files, the first 16 bytes of pg_control.
 *
 * The PostgreSQL 15 cluster has segments of 1 MiB. It was restored to a point in time, which fell
 * exactly between two segments, and so went to timeline 2; that one was promoted to timeline 3.
 */

export interface WrittenSegment {
  readonly name: string;
  readonly header: string;
  readonly major: number;
  readonly segmentSizeBytes: number;
  readonly systemIdentifier: string;
  /** In the header. */
  readonly timeline: number;
}

const MIB = 1024 * 1024;
const OF_15 = { major: 15, segmentSizeBytes: MIB, systemIdentifier: "7710625425031748043" };

export const SEGMENTS: readonly WrittenSegment[] = [
  {
    ...OF_15,
    name: "000000010000000000000006",
    header: "10d10700010000000000600000000000101b000000000000cbd91caff8a4016b0000100000200000",
    timeline: 1,
  },
  {
    ...OF_15, // written during a base backup
    name: "000000010000000000000008",
    header: "10d102000100000000008000000000000000000000000000cbd91caff8a4016b0000100000200000",
    timeline: 1,
  },
  {
    ...OF_15, // the switch point is its first byte, so nothing was copied from timeline 1
    name: "000000020000000000000016",
    header: "10d106000200000000006001000000000000000000000000cbd91caff8a4016b0000100000200000",
    timeline: 2,
  },
  {
    ...OF_15,
    name: "000000020000000000000019.partial",
    header: "10d106000200000000009001000000000000000000000000cbd91caff8a4016b0000100000200000",
    timeline: 2,
  },
  {
    ...OF_15, // first of timeline 3, its beginning copied from timeline 2
    name: "000000030000000000000019",
    header: "10d106000200000000009001000000000000000000000000cbd91caff8a4016b0000100000200000",
    timeline: 2,
  },
  {
    name: "000000010000000000000001",
    header: "13d1020001000000000000040000000000000000000000004c5c0a7430a5016b0000000400200000",
    major: 16,
    segmentSizeBytes: 64 * MIB,
    systemIdentifier: "7710625664558849100",
    timeline: 1,
  },
  {
    name: "000000010000000000000001",
    header: "16d102000100000000000001000000000000000000000000706cb70d32a5016b0000000100200000",
    major: 17,
    segmentSizeBytes: 16 * MIB,
    systemIdentifier: "7710625671432072304",
    timeline: 1,
  },
  {
    name: "000000010000000000000008",
    header: "18d10700010000000000800000000000f107000000000000948c966733a5016b0000100000200000",
    major: 18,
    segmentSizeBytes: MIB,
    systemIdentifier: "7710625677234834580",
    timeline: 1,
  },
];

/** As it lay in pg_wal: renamed for its next use, its content still that of segment 5. */
export const RECYCLED = {
  name: "000000010000000000000009",
  header: "18d107000100000000005000000000000800000000000000948c966733a5016b0000100000200000",
};

/** The blank line ends a reason that itself ends in a newline. */
export const HISTORY_2 = {
  name: "00000002.history",
  text: "1\t0/1600000\tbefore 2026-11-21 14:05:27.054741+00\n\n",
};

export const HISTORY_3 = {
  name: "00000003.history",
  text: `${HISTORY_2.text}\n2\t0/19000A0\tno recovery target specified\n`,
};

/**
 * Of a recovery to a restore point whose name has a newline. The server that wrote it did not start
 * again: "syntax error in history file".
 */
export const UNREADABLE_HISTORY = {
  name: "00000002.history",
  text: '1\t0/AD7A80\tat restore point "nasty\nname"\n',
};

/** `pg_basebackup -l` with a newline in the label. */
export const BACKUP = {
  name: "000000010000000000000008.00000028.backup",
  text: `START WAL LOCATION: 0/800028 (file 000000010000000000000008)
STOP WAL LOCATION: 0/800100 (file 000000010000000000000008)
CHECKPOINT LOCATION: 0/800060
BACKUP METHOD: streamed
BACKUP FROM: primary
START TIME: 2026-11-21 14:04:41 UTC
LABEL: two
lines
START TIMELINE: 1
STOP TIME: 2026-11-21 14:04:42 UTC
STOP TIMELINE: 1
`,
};

export const CONTROL_FILES = [
  { major: 15, head: "cbd91caff8a4016b1405000025770d0c", systemIdentifier: "7710625425031748043" },
  { major: 16, head: "4c5c0a7430a5016b14050000fff50e0c", systemIdentifier: "7710625664558849100" },
  { major: 17, head: "706cb70d32a5016ba40600008979100c", systemIdentifier: "7710625671432072304" },
  { major: 18, head: "948c966733a5016b080700003300120c", systemIdentifier: "7710625677234834580" },
];

export function bytesOf(hex: string): Uint8Array {
  return Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}
