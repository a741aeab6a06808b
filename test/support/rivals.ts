import * as maker from "./wal-maker.ts";

const { MIB } = maker;

/** Of each kind of WAL file: what a server makes that calls itself `side`. */
const MAKERS = {
  segment: (number: number, side: string) => {
    return maker.makeSegment({ number, segmentSizeBytes: MIB, seed: side });
  },
  partial: (number: number, side: string) => {
    return maker.makePartial({ number, segmentSizeBytes: MIB, seed: side });
  },
  history: (number: number, side: string) => {
    return maker.makeHistory(number + 1, [{ timeline: 1, switchLsn: "0/300000", reason: side }]);
  },
  backup: (number: number, side: string) => {
    return maker.makeBackupHistory({ number, segmentSizeBytes: MIB, label: side });
  },
};

export type RivalKind = keyof typeof MAKERS;
export const RIVAL_KINDS: readonly RivalKind[] = ["segment", "partial", "history", "backup"];

/** Two contents under one name, as two servers that both think they are the primary make them. */
export function rivals(kind: RivalKind, number: number): [maker.MadeFile, maker.MadeFile] {
  return [MAKERS[kind](number, "left"), MAKERS[kind](number, "right")];
}

/** What the losers of a race are told: of a partial segment both contents are kept. */
export function loserStatusOf(kind: RivalKind): number {
  return kind === "partial" ? 0 : 4;
}
