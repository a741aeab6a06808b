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

test("memory that moves to the thread comes back as it was, with its digest", async () => {
  const hasher = new Hasher();
  for (const sizeBytes of [1, MIB - 1, MIB, 3 * MIB + 1]) {
    const memory = Buffer.from(randomBytes(sizeBytes + 40).buffer.slice(0), 7, sizeBytes);
    const bytes = Buffer.from(memory);
    const hashed = await hasher.sha256OfMoved(memory);
    expect(hashed?.sha256).toBe(digestOf(bytes));
    expect(hashed?.plain.equals(bytes)).toBe(true);
  }
});

test("memory that moves to a thread which ends is lost, and the next is hashed here", async () => {
  const hasher = new Hasher({ code: answering("process.exit(1)"), deadlineMs: 300 });
  expect(await hasher.sha256OfMoved(Buffer.alloc(2 * MIB))).toBeUndefined();
  const hashed = await hasher.sha256OfMoved(Buffer.alloc(2 * MIB));
  expect(hashed?.sha256).toBe(digestOf(Buffer.alloc(2 * MIB)));
});

test.each([
  ["another digest", "parentPort.postMessage({ number, sha256: 'ab', bytes }, [bytes.buffer])"],
  ["nothing back", "parentPort.postMessage({ number, sha256: '0'.repeat(64) })"],
  [
    "less back",
    "parentPort.postMessage({ number, sha256: '0'.repeat(64), bytes: bytes.slice(1) })",
  ],
])("a thread that gives %s is not believed", async (_what, statement) => {
  const hasher = new Hasher({ code: answering(statement), deadlineMs: 300 });
  expect(await hasher.sha256OfMoved(Buffer.alloc(2 * MIB))).toBeUndefined();
});

/** A thread that does this for every file. */
function answering(statement: string): string {
  return `
    const { parentPort } = require("node:worker_threads");
    parentPort.on("message", ({ number, bytes }) => { ${statement} });
  `;
}
