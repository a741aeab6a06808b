import { stat } from "node:fs/promises";
import { type IncomingMessage, request, type RequestOptions } from "node:http";
import { basename } from "node:path";
import { requireDocumented } from "./api-check.ts";
import type { MadeFile } from "./wal-maker.ts";

/** How the daemon answered a push or a fetch. */
export interface WalAnswer {
  readonly status: number;
  /** The failure's name, of a problem document. */
  readonly code: string | undefined;
  readonly sha256: string | undefined;
  readonly body: Buffer;
}

export interface WalRequestOptions {
  readonly socketPath: string;
  readonly cluster?: string;
  readonly headers?: Readonly<Record<string, string | number>>;
  /** Longest silence of the daemon. */
  readonly timeoutMs?: number;
}

/** PUT of a WAL file; rejects when no whole answer comes. */
export function pushWal(file: MadeFile, options: WalRequestOptions): Promise<WalAnswer> {
  return send("PUT", file.name, { ...options, body: file.bytes });
}

/** GET of a WAL file in plain bytes; rejects when no whole answer comes. */
export function fetchWal(name: string, options: WalRequestOptions): Promise<WalAnswer> {
  return send("GET", name, options);
}

/**
 * POST of a WAL file in the daemon's data directory, as the client on its host sends it; rejects
 * when no whole answer comes.
 */
export async function callWal(path: string, options: WalRequestOptions): Promise<WalAnswer> {
  const { dev, ino, size, mtimeNs } = await stat(path, { bigint: true });
  const headers = { "Walarc-File": `${dev}:${ino}:${size}:${mtimeNs}`, ...options.headers };
  return send("POST", basename(path), { ...options, headers, body: Buffer.alloc(0) });
}

function send(
  method: "PUT" | "POST" | "GET",
  name: string,
  options: WalRequestOptions & { body?: Buffer },
): Promise<WalAnswer> {
  const { socketPath, cluster = "main", headers = {}, timeoutMs = 30_000, body } = options;
  const path = `/v1/clusters/${cluster}/wal/${name}`;
  const length = body === undefined ? {} : { "Content-Length": body.length };
  const wanted: RequestOptions = {
    socketPath,
    method,
    path,
    agent: false,
    timeout: timeoutMs,
    headers: { ...length, ...headers },
  };
  return new Promise((resolve, reject) => {
    const asked = request(wanted, (response) => {
      readAnswer(response, { method, path }).then(resolve, reject);
    });
    asked.once("timeout", () => asked.destroy(new Error(`no answer to ${method} ${path}`)));
    asked.once("error", reject);
    asked.end(body);
  });
}

async function readAnswer(
  response: IncomingMessage,
  asked: { method: string; path: string },
): Promise<WalAnswer> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  const body = Buffer.concat(chunks);
  const { statusCode: status = 0, headers } = response;
  await requireDocumented({ ...asked, status, headers, body });
  const isProblem = response.headers["content-type"]?.startsWith("application/problem+json");
  const problem = isProblem ? (JSON.parse(body.toString()) as { code?: string }) : undefined;
  return {
    status: response.statusCode ?? 0,
    code: problem?.code,
    sha256: response.headers["walarc-sha256"] as string | undefined,
    body,
  };
}
