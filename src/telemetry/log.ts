/** How walarc logs: one JSON line per event, and never a secret in one. */
import { type LoggerOptions, stdTimeFunctions } from "pino";

/** `walarc token` makes them so, and whoever sends one may send it in the wrong place. */
const TOKENS = /walarc_[A-Za-z0-9_-]{8,}/g;
/** Credentials of an Authorization header, whatever text they are quoted in. */
const CREDENTIALS = /\b(Bearer|Basic)\s+[A-Za-z0-9+/._~=-]{6,}/gi;
const REDACTED = "[redacted]";

const SECRET_FIELDS = [
  "authorization",
  "token",
  "password",
  "secret",
  "headers.authorization",
  "headers.cookie",
  "req.headers.authorization",
  "req.headers.cookie",
  "*.token",
  "*.password",
];

/** The text without tokens and credentials. */
export function scrub(text: string): string {
  return text.replace(TOKENS, REDACTED).replace(CREDENTIALS, `$1 ${REDACTED}`);
}

/**
 * Options for pino. Secrets are kept out twice: by the fields that are known to hold them, and by
 * their look in the finished line, wherever they came from.
 */
export function logOptions(options: { level: string }): LoggerOptions {
  return {
    level: options.level,
    base: null,
    timestamp: stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
    redact: { paths: SECRET_FIELDS, censor: REDACTED },
    hooks: { streamWrite: scrub },
  };
}
