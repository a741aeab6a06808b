/** Stands in for `node:crypto`, which takes five times as long to load as an empty program runs. */
import type { BunApi, BunHasher } from "./bun.ts";

declare const Bun: BunApi;

export function createHash(algorithm: "sha256"): BunHasher {
  return new Bun.CryptoHasher(algorithm);
}

export function randomBytes(count: number): Buffer {
  return crypto.getRandomValues(Buffer.alloc(count));
}
