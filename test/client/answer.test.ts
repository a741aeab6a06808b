import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type AnswerHead, AnswerReader, MalformedAnswer } from "../../src/client/answer.ts";

interface ReadAnswer {
  readonly head: AnswerHead | undefined;
  readonly body: string;
  readonly isDone: boolean;
}

/** Reads the pieces, and the end of the connection unless the answer is complete before it. */
function read(pieces: readonly (string | Buffer)[], { headOnly = false } = {}): ReadAnswer {
  let head: AnswerHead | undefined;
  let body = "";
  const events = {
    head: (it: AnswerHead) => {
      expect(head, "a second head").toBeUndefined();
      head = it;
    },
    body: (bytes: Buffer) => {
      body += bytes.toString("latin1");
    },
  };
  const reader = new AnswerReader(events, { headOnly });
  for (const piece of pieces) reader.push(Buffer.from(piece));
  if (!reader.isDone) reader.end();
  return { head, body, isDone: reader.isDone };
}

const COUNTED = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-a:  b \r\nx-A: c\r\n\r\nhello";
const CHUNKS = "2;ext=1\r\nhe\r\n3\r\nllo\r\n0\r\nT: x\r\n\r\n";
const CHUNKED = `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${CHUNKS}`;
const UNTIL_CLOSE = "HTTP/1.0 200\r\n\r\nhello";
const HINTS = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
const INTERIM = `HTTP/1.1 100 Continue\r\n\r\n${HINTS}${COUNTED}`;

describe("an answer is read alike however it is cut into pieces:", () => {
  test.each([
    ["a counted body", COUNTED],
    ["chunks with extensions and trailers", CHUNKED],
    ["a body until the connection ends", UNTIL_CLOSE],
    ["interim answers before it", INTERIM],
  ])("%s", (_title, text) => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: text.length })), (cuts) => {
        const at = [0, ...new Set(cuts), text.length].sort((a, b) => a - b);
        const pieces = at.slice(1).map((end, index) => text.slice(at[index], end));
        const { head, body, isDone } = read(pieces);
        expect(body).toBe("hello");
        expect(head?.status).toBe(200);
        expect(isDone).toBe(true);
      }),
    );
  });

  test("any chunks", () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ minLength: 1, maxLength: 300 })),
        fc.integer({ min: 1, max: 50 }),
        (chunks, step) => {
          const parts = chunks.map((chunk) => [
            Buffer.from(`${chunk.length.toString(16)}\r\n`),
            Buffer.from(chunk),
            Buffer.from("\r\n"),
          ]);
          const head = Buffer.from("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
          const all = Buffer.concat([head, ...parts.flat(), Buffer.from("0\r\n\r\n")]);
          const pieces: Buffer[] = [];
          for (let at = 0; at < all.length; at += step) pieces.push(all.subarray(at, at + step));
          expect(read(pieces).body).toBe(Buffer.concat(chunks).toString("latin1"));
        },
      ),
    );
  });
});

test("names of headers are lower case, and a repeated header is joined", () => {
  const { head } = read([COUNTED]);
  expect(head?.headers.get("content-length")).toBe("5");
  expect(head?.headers.get("x-a")).toBe("b, c");
});

test("the answer to HEAD, 204 and 304 have no body, whatever they announce", () => {
  const announced = "Content-Length: 99\r\n\r\n";
  expect(read([`HTTP/1.1 200 OK\r\n${announced}`], { headOnly: true })).toMatchObject({ body: "" });
  expect(read([`HTTP/1.1 204 No\r\n${announced}`])).toMatchObject({ body: "", isDone: true });
  expect(read([`HTTP/1.1 304 No\r\n${announced}`])).toMatchObject({ body: "", isDone: true });
});

test("what follows a complete answer is not part of it", () => {
  expect(read([`${COUNTED}HTTP/1.1 500 Another\r\n\r\n`]).body).toBe("hello");
});

describe("refused is", () => {
  const head = "HTTP/1.1 200 OK\r\n";
  const chunked = `${head}Transfer-Encoding: chunked\r\n\r\n`;
  test.each([
    ["nothing", ""],
    ["half a head", "HTTP/1.1 200 OK\r\nContent-"],
    ["half a counted body", COUNTED.slice(0, -1)],
    ["half a chunk", CHUNKED.slice(0, CHUNKED.indexOf("llo") + 1)],
    ["chunks without the last one", CHUNKED.slice(0, CHUNKED.indexOf("0\r\nT"))],
    ["trailers without an end", CHUNKED.slice(0, -2)],
    ["another protocol", "SSH-2.0-OpenSSH\r\n\r\n"],
    ["HTTP/2", "HTTP/2 200\r\n\r\n"],
    ["a status of two digits", "HTTP/1.1 20 OK\r\n\r\n"],
    ["a status above 599", "HTTP/1.1 600 OK\r\n\r\n"],
    ["a switch of protocols", "HTTP/1.1 101 Switching\r\n\r\n"],
    ["a header without a colon", `${head}nonsense\r\n\r\n`],
    ["a header with a space in its name", `${head}Content-Length : 5\r\n\r\nhello`],
    ["a folded header", `${head}X: a\r\n b\r\n\r\n`],
    ["a line that ends without a carriage return", `${head}X: a\nContent-Length: 5\r\n\r\nhello`],
    ["a negative length", `${head}Content-Length: -5\r\n\r\n`],
    ["two lengths", `${head}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello`],
    ["the same length twice", `${head}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello`],
    ["a length in hex", `${head}Content-Length: 0x5\r\n\r\nhello`],
    ["a length beyond reason", `${head}Content-Length: 9999999999999\r\n\r\n`],
    [
      "a length and chunks",
      `${head}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    ],
    ["an unknown encoding", `${head}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`],
    ["a chunk size that is none", `${chunked}-1\r\n`],
    ["a chunk longer than announced", `${chunked}1\r\nab\r\n`],
    ["a head beyond 16 KiB", `${head}X: ${"x".repeat(16_384)}\r\n\r\n`],
    ["a head without an end", `${head}X: ${"x".repeat(100_000)}`],
    ["a chunk line without an end", `${chunked}1;${"x".repeat(300)}`],
    [
      "trailers without an end of them",
      `${chunked}0\r\n${"T: xxxxxxxxxxxxxxxxxxxxxxxx\r\n".repeat(900)}`,
    ],
  ])("%s", (_title, text) => {
    expect(() => read([text])).toThrow(MalformedAnswer);
    expect(() => read(Array.from(text))).toThrow(MalformedAnswer);
  });
});
