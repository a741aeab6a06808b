import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer, type Server as TlsServer, type TlsOptions } from "node:tls";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { FAILURES } from "../../src/errors.ts";
import { ClientScene, RUNTIMES } from "../support/client-scene.ts";
import { answer, fileAnswer, problem, says, sha256Of } from "../support/faults.ts";
import { FaultServer } from "../support/fault-server.ts";
import { makeSegment } from "../support/wal-maker.ts";

const SEGMENT = makeSegment({ number: 3 });
const ARCHIVED = answer(201, { "Walarc-Sha256": sha256Of(SEGMENT.bytes) });

let scene: ClientScene;
let segmentFile: string;
let certificates: string;

describe.each(RUNTIMES)("%s:", (runtime) => {
  beforeAll(async () => {
    scene = await ClientScene.create(runtime);
    segmentFile = await scene.workspace.writeFile(
      scene.workspace.path(SEGMENT.name),
      SEGMENT.bytes,
    );
    certificates = await scene.newDirectory();
    makeCertificate("server");
    makeCertificate("client");
    execFileSync("chmod", ["-R", "a+rX", certificates]);
  });
  afterAll(async () => await scene[Symbol.asyncDispose]());

  describe("over https", () => {
    test("a push and a fetch go through to a server that the given authority knows", async () => {
      await using server = await TestServer.listen({}, ARCHIVED);
      const trust = ["--server", server.url, "--ca-file", file("server.crt")];
      const pushed = await scene.run(["push", ...trust, segmentFile]);
      expect(pushed).toEqual({ status: 0, signal: null, stdout: "", stderr: "" });

      server.answer = fileAnswer(SEGMENT.bytes);
      const { path, destination } = await scene.makeDataDirectory("standby");
      const fetched = await scene.run(["fetch", ...trust, SEGMENT.name, destination], {
        cwd: path,
      });
      expect(fetched).toMatchObject({ status: 0, stderr: "" });
      expect((await readFile(join(path, destination))).equals(SEGMENT.bytes)).toBe(true);
    });

    test("nothing is sent to a server that nobody vouches for", async () => {
      await using server = await TestServer.listen({}, ARCHIVED);
      for (const env of [{}, { NODE_TLS_REJECT_UNAUTHORIZED: "0" }]) {
        const outcome = await scene.run(["push", "--server", server.url, segmentFile], { env });
        expect(outcome).toMatchObject({ status: FAILURES.unreachable.exit });
        expect(outcome.stderr).toContain("certificate");
        expect(server.bytesTaken).toBe(0);
      }
    });

    test("a client certificate opens a server that wants one", async () => {
      const wants = {
        requestCert: true,
        rejectUnauthorized: true,
        ca: readFileSync(file("client.crt")),
      };
      await using server = await TestServer.listen(wants, ARCHIVED);
      const trust = ["--server", server.url, "--ca-file", file("server.crt")];
      const own = ["--cert-file", file("client.crt"), "--key-file", file("client.key")];
      expect(await scene.run(["push", ...trust, ...own, segmentFile])).toMatchObject({ status: 0 });
      const without = await scene.run(["push", ...trust, segmentFile]);
      expect(without).toMatchObject({ status: FAILURES.unreachable.exit });
    });

    test("an early refusal is read", async () => {
      await using server = await TestServer.listen({}, problem(409, "conflict"), { early: true });
      const trust = ["--server", server.url, "--ca-file", file("server.crt")];
      for (let round = 0; round < 5; round += 1) {
        const outcome = await scene.run(["push", ...trust, segmentFile]);
        expect(outcome).toMatchObject({ status: FAILURES.conflict.exit });
      }
    });

    test("a server that speaks plain HTTP is unreachable", async () => {
      await using server = await FaultServer.listen(says(ARCHIVED));
      const url = server.url.replace("http:", "https:");
      const outcome = await scene.run(["push", "--server", url, "--timeout", "5", segmentFile]);
      expect(outcome).toMatchObject({ status: FAILURES.unreachable.exit });
    });

    test.each([
      ["cannot be read", () => ["--ca-file", "/nowhere"]],
      ["are no PEM", () => ["--ca-file", segmentFile]],
      ["do not belong together", () => pair("server.crt", "client.key")],
      ["are exchanged", () => pair("client.key", "client.crt")],
    ])("certificates that %s are a wrong configuration", async (_title, flags) => {
      const args = ["push", "--server", "https://127.0.0.1:1", ...flags(), segmentFile];
      const outcome = await scene.run(args);
      expect(outcome).toMatchObject({ status: FAILURES.usage.exit });
    });
  });
});

function pair(certificate: string, key: string): string[] {
  return ["--cert-file", file(certificate), "--key-file", file(key)];
}

function file(name: string): string {
  return join(certificates, name);
}

function makeCertificate(name: string): void {
  const request =
    `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -batch`.split(" ");
  const output = ["-keyout", file(`${name}.key`), "-out", file(`${name}.crt`)];
  const subject = ["-subj", `/CN=${name}`, "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"];
  execFileSync("openssl", [...request, ...output, ...subject], { stdio: "pipe" });
}

/** Takes a whole request, or only its beginning, and gives the same answer to each. */
class TestServer implements AsyncDisposable {
  readonly #server: TlsServer;
  bytesTaken = 0;
  answer: Buffer;

  private constructor(options: TlsOptions, answer: Buffer, early: boolean) {
    this.answer = answer;
    const own = { key: readFileSync(file("server.key")), cert: readFileSync(file("server.crt")) };
    this.#server = createServer({ ...own, ...options }, (socket) => {
      let wanted = Number.POSITIVE_INFINITY;
      let taken = 0;
      socket.on("error", () => {});
      socket.on("data", (bytes) => {
        if (taken === 0) wanted = requestBytes(bytes);
        taken += bytes.length;
        this.bytesTaken += bytes.length;
        if (early) {
          socket.removeAllListeners("data").pause();
          socket.write(this.answer, () => socket.destroy());
        } else if (taken >= wanted) socket.end(this.answer);
      });
    });
    this.#server.on("tlsClientError", () => {});
  }

  static async listen(options: TlsOptions, answer: Buffer, { early = false } = {}) {
    const server = new TestServer(options, answer, early);
    server.#server.listen(0, "127.0.0.1");
    await once(server.#server, "listening");
    return server;
  }

  get url(): string {
    return `https://127.0.0.1:${(this.#server.address() as { port: number }).port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    await once(this.#server, "close");
  }
}

/** How many bytes a request has in all, from its beginning. */
function requestBytes(beginning: Buffer): number {
  const text = beginning.toString("latin1");
  const body = Number(/^content-length: ([0-9]+)/im.exec(text)?.[1] ?? 0);
  return text.indexOf("\r\n\r\n") + 4 + body;
}
