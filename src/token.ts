/** Tokens: who may do what over TCP. The configuration holds only their digests. */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";

/** Lets people and secret scanners recognise one that was pasted into the wrong place. */
const PREFIX = "walarc_";
const SECRET_BYTES = 32;

/** A new token: 256 random bits, which is why a fast digest is enough to keep it by. */
export function makeToken(): string {
  return PREFIX + randomBytes(SECRET_BYTES).toString("base64url");
}

/** SHA-256 of a token's text. */
export function tokenDigest(token: string): Buffer {
  return createHash("sha256").update(token, "utf8").digest();
}

/** Compares two digests of the same length in a time that tells nothing about them. */
export function isSameDigest(left: Buffer, right: Buffer): boolean {
  return left.length === right.length && timingSafeEqual(left, right);
}
