import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import type { S3Access } from "./s3-access.ts";
import {
  copiedAnswer,
  deletedAnswer,
  emptyAnswer,
  errorAnswer,
  keysToDelete,
  listAnswer,
  objectAnswer,
  PAGE,
  type S3Answer,
} from "./s3-answer.ts";
import { type Condition, MemoryBucket, type S3ErrorCode } from "./s3-bucket.ts";
import { changedBody, type S3Fault } from "./s3-fault.ts";
import {
  digestRefusal,
  keptHeaders,
  parseRequest,
  type S3Request,
  signatureOf,
  unframed,
} from "./s3-request.ts";

/** What servers in the field lack or do differently. */
export interface S3Manners {
  /**
   * Conditions of a PUT: honoured, ignored, honoured only among requests that do not overlap, or
   * refused as unknown.
   */
  readonly conditions?: "honoured" | "ignored" | "sequential" | "unknown";
  readonly multiDelete?: "served" | "refused";
  /** Checksum headers: verified and given back, taken no notice of, or refused. */
  readonly checksums?: "verified" | "ignored" | "refused";
}

/** A request that came, and what became of it. */
export interface S3LogLine {
  readonly operation: string;
  readonly key: string;
  /** 0 where no answer was given. */
  status: number;
  /** Of the body that was sent. */
  sentBytes: number;
}

/** How far a client's clock may be from the server's. */
const SKEW_MS_MAX = 15 * 60_000;

/** Requests that come within it overlap for a server that honours conditions in sequence only. */
const SEQUENCE_MS = 100;

/**
 * One bucket in memory behind the part of S3 that walarc speaks. It is correct until `script` or
 * `manners` say otherwise.
 */
export class S3Server implements AsyncDisposable {
  readonly bucket = new MemoryBucket();
  readonly bucketName = "archive";
  /** Every request so far. */
  readonly log: S3LogLine[] = [];
  /** The next requests meet these, one each. */
  script: (S3Fault | undefined)[] = [];
  manners: S3Manners;
  /** Not to answer at all until it is true again: the bucket is away. */
  isThere = true;
  readonly #server: Server;
  /** Access keys that are no longer good. */
  readonly #expired = new Set<string>();
  #clockAheadMs = 0;

  private constructor(manners: S3Manners) {
    this.manners = manners;
    this.#server = createServer((incoming, outgoing) => {
      // Kept, since a request whose client has gone has none any more.
      const { socket } = incoming;
      this.#serve(incoming, outgoing).catch(() => socket.destroy());
    });
    this.#server.keepAliveTimeout = 60_000;
  }

  static async start(manners: S3Manners = {}): Promise<S3Server> {
    const server = new S3Server(manners);
    server.#server.listen(0, "127.0.0.1");
    await once(server.#server, "listening");
    return server;
  }

  /** With credentials that are good until they expire; any other ones are as good. */
  get access(): S3Access {
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("it does not listen");
    return {
      endpoint: `http://127.0.0.1:${address.port}`,
      region: "us-east-1",
      accessKeyId: "AKID",
      secretAccessKey: "of-no-matter-here",
    };
  }

  /** Is told when credentials have expired, so that there can be fresh ones. */
  onExpired: () => void = () => undefined;

  /** How many requests of this kind came. */
  count(operation: string): number {
    return this.log.filter((line) => line.operation === operation).length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }

  async #serve(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const request = parseRequest(incoming);
    const line = { operation: request.operation, key: request.key, status: 0, sentBytes: 0 };
    this.log.push(line);
    if (!this.isThere) return;
    const fault = this.script.shift();
    if (fault?.kind === "cut-request") return cutRequest(incoming, fault.afterBytes);
    if (fault?.kind === "expire") this.#expire(request);
    if (fault?.kind === "skew") this.#clockAheadMs += fault.byMs;

    // What is there when the request comes: all that a careless server looks at.
    const seen = this.#conditionRefusal(request);
    const body = Buffer.concat(await Array.fromAsync(incoming as AsyncIterable<Buffer>));
    if (this.manners.conditions === "sequential") await delay(SEQUENCE_MS);
    if (fault?.kind === "silence" && fault.moment === "before") return;
    const answer = answerTo(fault, request) ?? this.#answer(request, { body, seen });
    if (fault?.kind === "silence") return;
    line.status = answer.status;
    if (request.operation !== "HeadObject") line.sentBytes = answer.body.length;
    this.#send(incomplete(answer, fault, request), { request, outgoing, fault });
  }

  #send(
    answer: S3Answer,
    options: { request: S3Request; outgoing: ServerResponse; fault: S3Fault | undefined },
  ): void {
    const { request, outgoing, fault } = options;
    const date = new Date(Date.now() + this.#clockAheadMs).toUTCString();
    const length = String(answer.body.length);
    const number = answer === PAGE ? {} : { "x-amz-request-id": "1" };
    const headers = { date, ...number, ...answer.headers, "content-length": length };
    const body = request.operation.startsWith("Head") ? Buffer.alloc(0) : answer.body;
    if (fault?.kind === "cut-answer") {
      const { socket } = outgoing;
      const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
      const head = `HTTP/1.1 ${answer.status} OK\r\n${lines.join("")}\r\n`;
      const bytes = Buffer.concat([Buffer.from(head), body]).subarray(0, fault.afterBytes);
      // Not a reset, which could overtake what was sent.
      socket?.end(bytes);
      return;
    }
    outgoing.writeHead(answer.status, headers);
    outgoing.end(body);
  }

  #answer(request: S3Request, { body, seen }: { body: Buffer; seen: Refusal }): S3Answer {
    const refusal = this.#signatureRefusal(request) ?? this.#checksumRefusal(request);
    if (refusal !== undefined) return errorAnswer(refusal);
    if (request.bucket !== this.bucketName) return errorAnswer("NoSuchBucket");
    switch (request.operation) {
      case "PutObject":
        return this.#put(request, { body, seen });
      case "CopyObject":
        return this.#copy(request, seen);
      case "GetObject":
      case "HeadObject":
        return this.#get(request);
      case "DeleteObject": {
        const refused = this.bucket.refusal(request.key, conditionOf(request));
        if (refused !== undefined) return errorAnswer(refused);
        this.bucket.remove(request.key);
        return emptyAnswer(204);
      }
      case "DeleteObjects": {
        if (this.manners.multiDelete === "refused") return errorAnswer("InvalidRequest");
        const keys = keysToDelete(body);
        for (const key of keys) this.bucket.remove(key);
        return deletedAnswer(keys, { quiet: body.includes("<Quiet>true</Quiet>") });
      }
      case "ListObjectsV2":
        return listAnswer(this.bucket, request.query);
      case "HeadBucket":
        return emptyAnswer(200);
      default:
        return errorAnswer("NotImplemented");
    }
  }

  #put(request: S3Request, { body, seen }: { body: Buffer; seen: Refusal }): S3Answer {
    const { content, trailer } = unframed(body, request.headers);
    const headers = { ...request.headers, ...trailer };
    const verifies = this.manners.checksums !== "ignored";
    const refused =
      (verifies ? digestRefusal(content, headers) : undefined) ?? this.#late(request, seen);
    if (refused !== undefined) return errorAnswer(refused);
    const kept = Object.entries(keptHeaders(headers));
    const told = kept.filter(([name]) => verifies || !name.startsWith("x-amz-checksum-"));
    const { etag } = this.bucket.put(request.key, content, Object.fromEntries(told));
    const checksums = told.filter(([name]) => name.startsWith("x-amz-checksum-"));
    return emptyAnswer(200, { etag, ...Object.fromEntries(checksums) });
  }

  #copy(request: S3Request, seen: Refusal): S3Answer {
    const source = decodeURIComponent(String(request.headers["x-amz-copy-source"]));
    const [bucket, ...rest] = source.replace(/^\//, "").split("/");
    const original = this.bucket.get(rest.join("/"));
    if (bucket !== this.bucketName || original === undefined) return errorAnswer("NoSuchKey");
    const wanted = request.headers["x-amz-copy-source-if-match"];
    if (wanted !== undefined && wanted !== original.etag) return errorAnswer("PreconditionFailed");
    const refused = this.#late(request, seen);
    if (refused !== undefined) return errorAnswer(refused);
    return copiedAnswer(this.bucket.put(request.key, original.body, original.headers));
  }

  #get(request: S3Request): S3Answer {
    const object = this.bucket.get(request.key);
    if (object === undefined) return errorAnswer("NoSuchKey");
    const refused = this.bucket.refusal(request.key, conditionOf(request));
    if (refused !== undefined) return errorAnswer(refused);
    const { range } = request.headers;
    const wantsChecksum = request.headers["x-amz-checksum-mode"] === "ENABLED";
    return objectAnswer(object, { range, wantsChecksum });
  }

  /** The conditions once more, now that the body is there; some servers forget to. */
  #late(request: S3Request, seen: Refusal): Refusal {
    return this.manners.conditions === "sequential" ? seen : this.#conditionRefusal(request);
  }

  #conditionRefusal(request: S3Request): Refusal {
    if (request.operation !== "PutObject" && request.operation !== "CopyObject") return undefined;
    const condition = conditionOf(request);
    const isAsked = condition.ifMatch !== undefined || condition.ifNoneMatch !== undefined;
    if (!isAsked || this.manners.conditions === "ignored") return undefined;
    if (this.manners.conditions === "unknown") return "NotImplemented";
    return this.bucket.refusal(request.key, condition);
  }

  #signatureRefusal(request: S3Request): Refusal {
    const { accessKeyId, signedAtMs } = signatureOf(request.headers);
    const nowMs = Date.now() + this.#clockAheadMs;
    // Written so that a date nobody can read is refused.
    if (!(Math.abs(nowMs - signedAtMs) < SKEW_MS_MAX)) return "RequestTimeTooSkewed";
    if (this.#expired.has(accessKeyId)) return "ExpiredToken";
    return accessKeyId === "" ? "AccessDenied" : undefined;
  }

  #expire({ headers }: S3Request): void {
    this.#expired.add(signatureOf(headers).accessKeyId);
    this.onExpired();
  }

  #checksumRefusal({ headers }: S3Request): Refusal {
    if (this.manners.checksums !== "refused") return undefined;
    const names = Object.keys(headers);
    const isAsked = names.some((name) => /^x-amz-(checksum-|sdk-checksum-|trailer)/.test(name));
    return isAsked ? "NotImplemented" : undefined;
  }
}

type Refusal = S3ErrorCode | undefined;

function conditionOf({ headers }: S3Request): Condition {
  return { ifMatch: headers["if-match"], ifNoneMatch: headers["if-none-match"] };
}

/** The answer of a fault that lets nothing be done. */
function answerTo(fault: S3Fault | undefined, request: S3Request): S3Answer | undefined {
  if (fault?.kind === "refuse") return errorAnswer(fault.code, fault.status);
  if (fault?.kind === "error-in-200") return errorAnswer(fault.code, 200);
  if (fault?.kind === "hollow") return emptyAnswer(200);
  if (fault?.kind === "page") return PAGE;
  const isRead = /^(Get|Head)Object$/.test(request.operation);
  return fault?.kind === "stale" && isRead ? errorAnswer("NoSuchKey") : undefined;
}

/** A read's answer with another body. */
function incomplete(answer: S3Answer, fault: S3Fault | undefined, request: S3Request): S3Answer {
  if (fault?.kind !== "body" || request.operation !== "GetObject") return answer;
  return { ...answer, body: changedBody(answer.body, fault.change) };
}

async function cutRequest(incoming: IncomingMessage, afterBytes: number): Promise<void> {
  const { socket } = incoming;
  let read = 0;
  for await (const chunk of incoming) {
    read += (chunk as Buffer).length;
    if (read >= afterBytes) break;
  }
  socket.resetAndDestroy();
}
