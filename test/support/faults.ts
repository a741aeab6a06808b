import { createHash } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import type { Fault } from "./fault-server.ts";

/** An answer as it goes over the wire. */
export function answer(
  status: number,
  headers: Readonly<Record<string, string | number>> = {},
  body: string | Buffer = "",
): Buffer {
  const lines = Object.entries({ "Content-Length": Buffer.byteLength(body), ...headers });
  const head = [
    `HTTP/1.1 ${status} Whatever`,
    ...lines.map(([name, value]) => `${name}: ${value}`),
  ];
  return Buffer.concat([Buffer.from(`${head.join("\r\n")}\r\n\r\n`), Buffer.from(body)]);
}

/** The file itself, with its digest. */
export function fileAnswer(file: Buffer): Buffer {
  return answer(200, { "Walarc-Sha256": sha256Of(file) }, file);
}

export function sha256Of(file: Buffer): string {
  return createHash("sha256").update(file).digest("hex");
}

/** walarc's own way to say no. */
export function problem(status: number, code: string, detail = "because of the test"): Buffer {
  const body = JSON.stringify({ code, detail, hint: "look at the test" });
  return answer(status, { "Content-Type": "application/problem+json" }, body);
}

/** Sends these bytes when the whole request is there, and ends the connection. */
export function says(bytes: Buffer | string): Fault {
  return { moment: "received", script: (socket) => void socket.end(bytes) };
}

/** Sends these bytes slowly, one at a time, for as long as it takes. */
export function dribbles(bytes: Buffer, intervalMs: number): Fault {
  return {
    moment: "received",
    script: async (socket) => {
      for (const byte of bytes) {
        if (!socket.writable) return;
        socket.write(Buffer.of(byte));
        await delay(intervalMs);
      }
    },
  };
}

/** Takes the connection and never says a word. */
export const SILENCE: Fault = { moment: "connected", script: () => {} };

/** Breaks the connection off in the middle of the request. */
export const RESET: Fault = { moment: "asked", script: (socket) => void socket.destroy() };
