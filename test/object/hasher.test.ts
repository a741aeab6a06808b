import { createHash, randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import { Hasher } from "../../src/object/hasher.ts";

const MIB = 1024 * 1024;

function shared(sizeBytes: number): Buffer {
  const bytes = Buffer.from(new SharedArrayBuffer(sizeBytes));
  randomBytes(sizeBytes).copy(bytes);
  return bytes;
}

function digestOf(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}

test("memory of a thread's own and memory that is shared have the same digest", async () => {
  const hasher = new Hasher();
  for (const sizeBytes of [1, MIB - 1, MIB, 3 * MIB + 1]) {
    const bytes = shared(sizeBytes);
    expect(await hasher.sha256(bytes)).toBe(digestOf(bytes));
    expect(await hasher.sha256(Buffer.from(bytes))).toBe(digestOf(bytes));
  }
});

test("digests asked for at the same time are each other's neither", async () => {
  const hasher = new Hasher();
  const all = Array.from({ length: 8 }, (_, index) => shared((index + 1) * MIB));
  const found = await Promise.all(all.map((bytes) => hasher.sha256(bytes)));
  expect(found).toEqual(all.map(digestOf));
});

test.each([
  ["cannot be started", "this is no JavaScript"],
  ["is killed in the middle of a file", answering("process.exit(1)")],
  ["fails", answering("throw new Error('out of memory')")],
  ["ends without an answer", answering("parentPort.close()")],
  ["hangs", answering("for (;;);")],
  ["says nothing", answering("")],
  ["talks nonsense", answering("parentPort.postMessage({ number, sha256: 'ab' })")],
  ["answers what nobody asked", answering("parentPort.postMessage({ number: number + 7 })")],
])("a thread that %s costs time, and no digest", async (_what, code) => {
  const hasher = new Hasher({ code, deadlineMs: 300 });
  const all = [shared(2 * MIB), shared(MIB)];
  for (let round = 0; round < 2; round += 1) {
    const found = await Promise.all(all.map((bytes) => hasher.sha256(bytes)));
    expect(found).toEqual(all.map(digestOf));
  }
});

/** A thread that does this for every file. */
function answering(statement: string): string {
  return `
    const { parentPort } = require("node:worker_threads");
    parentPort.on("message", ({ number }) => { ${statement} });
  `;
}
