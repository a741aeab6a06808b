/** Values with units as people write them. Light: the push and fetch commands load this too. */

const DURATION_UNITS_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/**
 * PostgreSQL's reading of memory units (guc.c): kB, MB, GB and TB are powers of 1024. The spellings
 * with an `i` mean the same and leave no doubt.
 */
const SIZE_UNITS_BYTES: Readonly<Record<string, number>> = {
  B: 1,
  kB: 1024,
  KiB: 1024,
  MB: 1024 ** 2,
  MiB: 1024 ** 2,
  GB: 1024 ** 3,
  GiB: 1024 ** 3,
  TB: 1024 ** 4,
  TiB: 1024 ** 4,
};

/** Milliseconds of `500ms`, `30s`, `5m`, `12h` or `7d`; a unit is required. */
export function parseDurationMs(text: string): number | undefined {
  return parseQuantity(text, DURATION_UNITS_MS);
}

/** Bytes of `512kB`, `16MB`, `500GB` or `1TB`, 1024-based as in PostgreSQL; a unit is required. */
export function parseSizeBytes(text: string): number | undefined {
  return parseQuantity(text, SIZE_UNITS_BYTES);
}

/** Permission bits of `0660`: three octal digits, a leading zero or not. */
export function parseFileMode(text: string): number | undefined {
  return /^0?[0-7]{3}$/.test(text) ? Number.parseInt(text, 8) : undefined;
}

const CLUSTER_NAME = /^[a-z0-9][a-z0-9_-]{0,62}$/;

export function isClusterName(text: string): boolean {
  return CLUSTER_NAME.test(text);
}

const CLAIMANT_NAME = /^[a-z0-9][a-z0-9._-]{0,99}$/;

/** Whether the text can name a standby or a hold: also a host's whole name and a port. */
export function isClaimantName(text: string): boolean {
  return CLAIMANT_NAME.test(text);
}

function parseQuantity(text: string, units: Readonly<Record<string, number>>): number | undefined {
  const [, digits, unit] = /^([0-9]{1,15}) ?([A-Za-z]{1,3})$/.exec(text) ?? [];
  if (digits === undefined || unit === undefined || !Object.hasOwn(units, unit)) return undefined;
  const value = Number(digits) * (units[unit] ?? Number.NaN);
  return Number.isSafeInteger(value) ? value : undefined;
}
