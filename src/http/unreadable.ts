/** What is not HTTP, or came too slowly to be called so, or never got through its handshake. */
import type { ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Logger } from "pino";
import { WalarcError } from "../errors.ts";
import { HEAD_BYTES_MAX } from "./node-server.ts";
import { PROBLEM_TYPE, problemBody } from "./problem.ts";
import { printable } from "./url.ts";

const UNREADABLE: Record<string, { status: number; detail: string }> = {
  HPE_HEADER_OVERFLOW: { status: 431, detail: `the head is over ${HEAD_BYTES_MAX} bytes` },
  HPE_CHUNK_EXTENSIONS_OVERFLOW: { status: 413, detail: "too many chunk extensions" },
  ERR_HTTP_REQUEST_TIMEOUT: { status: 408, detail: "the request came too slowly" },
};

type ClientError = Error & { readonly code?: string; readonly reason?: string };

/** Answers where an answer can be read, ends the connection, and says so in one line of the log. */
export function endUnreadable(error: ClientError, socket: Socket, log: Logger): void {
  const { code = "" } = error;
  const remote = remoteOf(socket);
  if (/^ERR_(SSL|TLS)_/.test(code)) {
    // OpenSSL's whole message has addresses and lines of its source in it.
    const detail = printable(error.reason ?? error.message, 200);
    log.warn({ remote, code, detail }, "TLS handshake failed");
    const beneath = (socket as Beneath)._parent;
    if (code !== "ERR_SSL_HTTP_REQUEST" || beneath === undefined) socket.destroy();
    else say(beneath, 400, "this port speaks TLS: write https:// instead of http://");
    return;
  }
  const response = (socket as Socket & { _httpMessage?: ServerResponse })._httpMessage;
  if (!socket.writable || code === "ECONNRESET" || response?.headersSent === true) {
    socket.destroy();
    return;
  }
  const { status, detail } = UNREADABLE[code] ?? {
    status: 400,
    detail: "the request is not valid HTTP",
  };
  // Who connects and says nothing looks whether somebody is there.
  const level = socket.bytesRead === 0 ? "debug" : "warn";
  log[level]({ remote, code: "usage", status, detail }, "request refused");
  say(socket, status, detail);
}

function say(socket: Socket, status: number, detail: string): void {
  socket.end(answer(status, detail));
  // A moment for the answer to arrive before unread bytes turn the close into a reset.
  setTimeout(() => socket.destroy(), 500).unref();
}

/** What TLS is spoken on, which Node keeps to itself. */
type Beneath = Socket & { readonly _parent?: Socket };

/** Of a peer that is gone by now only the socket beneath may still know it. */
function remoteOf(socket: Beneath): string | undefined {
  return socket.remoteAddress ?? socket._parent?.remoteAddress;
}

function answer(status: number, detail: string): string {
  const body = problemBody(new WalarcError("usage", detail, { status }));
  const head = [
    `HTTP/1.1 ${status} Refused`,
    `content-type: ${PROBLEM_TYPE}`,
    `content-length: ${Buffer.byteLength(body)}`,
    "connection: close",
  ];
  return `${head.join("\r\n")}\r\n\r\n${body}`;
}
