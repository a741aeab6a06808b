/**
 * The grammars of single values: one row says what is accepted and how a refusal reads. The schema
 * names them; nothing here knows where a value stands.
 */
import { parseListenAddress } from "./listen.ts";
import { parseServerAddress } from "./server-address.ts";
import {
  isClaimantName,
  isClusterName,
  parseDurationMs,
  parseFileMode,
  parseSizeBytes,
} from "./units.ts";

interface FormRow {
  accepts(value: unknown): boolean;
  /** "… is not WHAT". */
  readonly what: string;
  /** "; HINT". */
  readonly hint: string;
  /** A number on the scale of the form's bounds. */
  measure?(value: unknown): number | undefined;
}

const NAME_HINT = "a name is 1 to 63 of a-z, 0-9, _ and -, and begins with a letter or digit";

const FORMS = {
  duration: {
    accepts: (value) => measureDurationMs(value) !== undefined,
    what: "a duration",
    hint: "write 30s, 5m, 12h or 7d",
    measure: measureDurationMs,
  },
  // The one duration that is also given as a flag, in seconds.
  timeout: {
    accepts: (value) => measureTimeoutMs(value) !== undefined,
    what: "a number of seconds or a duration",
    hint: 'write 30 or "2m"',
    measure: measureTimeoutMs,
  },
  size: {
    accepts: (value) => measureSizeBytes(value) !== undefined,
    what: "a size",
    hint: "write 512MB, 500GB or 2TB",
    measure: measureSizeBytes,
  },
  "file-mode": {
    accepts: isText((text) => parseFileMode(text) !== undefined),
    what: "a file mode",
    hint: 'write three octal digits in quotes: "0660"',
  },
  path: {
    accepts: isText((text) => /^\/[^\p{Cc}]*$/u.test(text)),
    what: "an absolute path",
    hint: "write it from the root: /var/lib/walarc",
  },
  "socket-path": {
    accepts: isText((text) => /^\/[^\p{Cc}]*$/u.test(text) && isSocketPath(text)),
    what: "an absolute path of at most 107 bytes",
    hint: "write it from the root: /run/walarc/walarc.sock",
  },
  listen: {
    accepts: isText((text) => parseListenAddress(text) !== undefined),
    what: "an address and port",
    hint: 'write 127.0.0.1:8417, [::1]:8417, or 0.0.0.0:8417 for every address; "" for none',
  },
  "server-url": {
    accepts: isText((text) => typeof parseServerAddress(text) !== "string"),
    what: "a server URL",
    hint: "write unix:/path, http://HOST:PORT or https://HOST:PORT",
  },
  endpoint: {
    accepts: isText((text) => /^https?:\/\/[^\s@?#]+$/.test(text) && URL.canParse(text)),
    what: "an endpoint",
    hint: "write http://HOST:PORT or https://HOST, without credentials",
  },
  bucket: {
    accepts: isText((text) => /^[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]$/i.test(text)),
    what: "the name of a bucket",
    hint: "3 to 63 letters, digits, dots and dashes",
  },
  "object-prefix": {
    accepts: isText((text) => /^(?!\/)[^\p{Cc}]{1,512}$/u.test(text)),
    what: "a prefix of object keys",
    hint: "it must not begin with /",
  },
  "kms-key": {
    accepts: isText((text) => /^[\w+=,.@:/-]{1,2048}$/.test(text)),
    what: "the id, alias or ARN of a KMS key",
    hint: "write it as the key service shows it",
  },
  "storage-class": {
    accepts: isText((text) => /^[A-Za-z0-9_-]{1,64}$/.test(text)),
    what: "a storage class",
    hint: "write STANDARD, STANDARD_IA, INTELLIGENT_TIERING or what your server calls it",
  },
  "cluster-name": { accepts: isText(isClusterName), what: "a cluster name", hint: NAME_HINT },
  "standby-name": {
    accepts: isText(isClaimantName),
    what: "a standby's name",
    hint: "a name is 1 to 100 of a-z, 0-9, dot, _ and -, and begins with a letter or digit",
  },
  "token-name": {
    accepts: isText((text) => /^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/.test(text)),
    what: "a token's name",
    hint: "1 to 63 letters, digits, dots, dashes and underscores",
  },
  "certificate-name": {
    // Every certificate of an authority at once cannot be meant by the name of one.
    accepts: isText((text) => /^(?! )[^\p{Cc}*]{1,253}(?<! )$/u.test(text)),
    what: "a certificate's name",
    hint: "write its CN, or one of its DNS names, as it stands in the certificate",
  },
  sha256: {
    accepts: isText((text) => /^[0-9a-fA-F]{64}$/.test(text)),
    what: "a SHA-256",
    hint: "it has 64 hexadecimal digits; walarc token prints one",
  },
  "system-identifier": {
    accepts: (value) => parseSystemIdentifier(value) !== undefined,
    what: "a system identifier",
    hint: "pg_controldata prints it: a whole number of up to 20 digits",
  },
} as const satisfies Record<string, FormRow>;

export type FormName = keyof typeof FORMS;

/** A form as it stands in the schema. */
export interface Form {
  readonly name: FormName;
  /** `"*"` means "all". */
  readonly orStar?: true;
  /** `""` means "none". */
  readonly mayBeEmpty?: true;
  /** Bounds of a duration or a size, both allowed, written as the form itself. */
  readonly least?: string;
  readonly most?: string;
}

/** Why a value does not have the form, to be read after the quoted value; `undefined` if it has. */
export function formProblem(form: Form, value: unknown): string | undefined {
  if (form.mayBeEmpty && value === "") return undefined;
  if (form.orStar && value === "*") return undefined;
  const row: FormRow = FORMS[form.name];
  if (!row.accepts(value)) return `is not ${row.what}; ${row.hint}`;
  const measured = row.measure?.(value) ?? Number.NaN;
  if (measured < (row.measure?.(form.least) ?? Number.NaN)) return `is less than ${form.least}`;
  if (measured > (row.measure?.(form.most) ?? Number.NaN)) return `is more than ${form.most}`;
  return undefined;
}

/** The decimal text of a system identifier, an unsigned 64-bit number that is never 0. */
export function parseSystemIdentifier(value: unknown): string | undefined {
  const isNumber = typeof value === "bigint" || Number.isSafeInteger(value);
  const text = isNumber ? String(value) : value;
  if (typeof text !== "string" || !/^[1-9][0-9]{0,19}$/.test(text)) return undefined;
  return BigInt(text) < 2n ** 64n ? text : undefined;
}

/** A size is a text with a unit, or a plain number of bytes. */
export function measureSizeBytes(value: unknown): number | undefined {
  if (typeof value === "string") return parseSizeBytes(value);
  return Number.isSafeInteger(value) && Number(value) >= 0 ? Number(value) : undefined;
}

function measureDurationMs(value: unknown): number | undefined {
  return typeof value === "string" ? parseDurationMs(value) : undefined;
}

function measureTimeoutMs(value: unknown): number | undefined {
  if (typeof value === "number") return value > 0 ? value * 1000 : undefined;
  return measureDurationMs(value);
}

/** What `sun_path` holds on Linux, without its closing zero byte (unix(7)). */
function isSocketPath(text: string): boolean {
  return Buffer.byteLength(text) <= 107;
}

function isText(accepts: (text: string) => boolean): (value: unknown) => boolean {
  return (value) => typeof value === "string" && accepts(value);
}
