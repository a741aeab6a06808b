import { execFileSync } from "node:child_process";
import { appendFileSync, utimesSync } from "node:fs";
import { chmod, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { FAILURES } from "../../src/errors.ts";
import { ClientScene, RUNTIMES } from "../support/client-scene.ts";
import { answer, problem, says, sha256Of, SILENCE } from "../support/faults.ts";
import { type Fault, FaultServer } from "../support/fault-server.ts";
import { makeSegment, MIB, SYSTEM_IDENTIFIER } from "../support/wal-maker.ts";

const SEGMENT = makeSegment({ number: 3 });
const ARCHIVED = says(answer(201, { "Walarc-Sha256": sha256Of(SEGMENT.bytes) }, "{}"));

let scene: ClientScene;
let segmentFile: string;

describe.each(RUNTIMES)("%s:", (runtime) => {
  beforeAll(async () => {
    scene = await ClientScene.create(runtime);
    segmentFile = await scene.workspace.writeFile(
      scene.workspace.path(SEGMENT.name),
      SEGMENT.bytes,
    );
  });
  afterAll(async () => await scene[Symbol.asyncDispose]());

  describe("walarc push", () => {
    test("sends the file under its own name, whatever the directory, and is silent", async () => {
      await using server = await scene.serve(ARCHIVED);
      const cwd = await scene.newDirectory();
      await mkdir(join(cwd, "a b"));
      await scene.workspace.writeFile(join(cwd, "a b", SEGMENT.name), SEGMENT.bytes);

      const outcome = await scene.run(["push", "--server", server.url, `a b/${SEGMENT.name}`], {
        cwd,
      });
      expect(outcome).toEqual({ status: 0, signal: null, stdout: "", stderr: "" });
      expect(server.requests).toHaveLength(1);
      expect(server.requests[0]?.bodyBytes).toBe(SEGMENT.bytes.length);
      const lines = server.requests[0]?.head.split("\r\n");
      expect(lines?.[0]).toBe(`PUT /v1/clusters/main/wal/${SEGMENT.name} HTTP/1.1`);
      expect(lines).toContain(`Content-Length: ${SEGMENT.bytes.length}`);
      expect(lines?.filter((line) => /^Walarc|^Authorization/i.test(line))).toEqual([]);
    });

    test("names the database cluster, the archive's cluster and the token it knows", async () => {
      await using server = await FaultServer.listen(ARCHIVED);
      const cwd = await scene.newDirectory();
      await mkdir(join(cwd, "global"));
      const control = Buffer.alloc(8192);
      control.writeBigUInt64LE(BigInt(SYSTEM_IDENTIFIER));
      control.writeUInt32LE(1300, 8);
      await scene.workspace.writeFile(join(cwd, "global/pg_control"), control);
      const token = await scene.workspace.writeFile(join(cwd, "token"), "not-so-secret\n");

      const env = { WALARC_SERVER: server.url, WALARC_CLUSTER: "blue", WALARC_TOKEN_FILE: token };
      expect(await scene.run(["push", segmentFile], { cwd, env })).toMatchObject({ status: 0 });
      const lines = server.requests[0]?.head.split("\r\n");
      expect(lines).toContain(`PUT /v1/clusters/blue/wal/${SEGMENT.name} HTTP/1.1`);
      expect(lines).toContain(`Walarc-System-Identifier: ${SYSTEM_IDENTIFIER}`);
      expect(lines).toContain("Authorization: Bearer not-so-secret");
    });

    test.each([
      ["200, because the archive has the same bytes", says(archived(200))],
      ["201 after an interim answer", says(Buffer.concat([answer(100), archived(201)]))],
      ["201 in chunks", says(chunkedArchived())],
      ["201 that ends with the connection", says(archivedUntilClose())],
    ])("succeeds with %s", async (_title, fault) => {
      await using server = await scene.serve(fault);
      const outcome = await scene.run(["push", "--server", server.url, segmentFile]);
      expect(outcome).toEqual({ status: 0, signal: null, stdout: "", stderr: "" });
    });

    const places = [
      ["unix", 0],
      ["unix", 1_000_000],
      ["tcp", 0],
      ["tcp", 1_000_000],
    ] as const;

    test.each(places)(
      "stops for the refusal of a %s server after %i bytes",
      async (kind, bytes) => {
        const fault = refusesAfter(bytes, { afterwards: "lingers" });
        await using server = await (kind === "unix"
          ? scene.serve(fault)
          : FaultServer.listen(fault));
        for (let round = 0; round < 10; round += 1) {
          const outcome = await scene.run(["push", "--server", server.url, segmentFile]);
          expect(outcome).toMatchObject({ status: FAILURES.conflict.exit });
          expect(outcome.stderr).toContain("conflict: because of the test");
        }
      },
    );

    test.each(places)(
      "even if the %s server closes at once after %i bytes",
      async (kind, bytes) => {
        const fault = refusesAfter(bytes, { afterwards: "closes" });
        await using server = await (kind === "unix"
          ? scene.serve(fault)
          : FaultServer.listen(fault));
        for (let round = 0; round < 10; round += 1) {
          const outcome = await scene.run(["push", "--server", server.url, segmentFile]);
          expect(outcome).toMatchObject({ status: FAILURES.conflict.exit });
        }
      },
    );

    test.each(["unix", "tcp"])("knows at once that a %s server broke off", async (kind) => {
      const fault: Fault = { moment: "asked", script: (socket) => void socket.destroy() };
      await using server = await (kind === "unix" ? scene.serve(fault) : FaultServer.listen(fault));
      const outcome = await scene.run(["push", "--server", server.url, segmentFile]);
      expect(outcome).toMatchObject({ status: FAILURES.unreachable.exit });
      expect(outcome.stderr).toMatch(/: the connection (was reset|ended without an answer)\n/);
    });

    test("believes no success that comes before the whole file was sent", async () => {
      const early: Fault = {
        moment: "asked",
        script: (socket) => void socket.write(archived(201)),
      };
      await using server = await scene.serve(early);
      const outcome = await scene.run(["push", "--server", server.url, segmentFile]);
      expect(outcome).toMatchObject({ status: FAILURES.unreachable.exit });
    });

    test("does not retry: PostgreSQL does", async () => {
      await using server = await scene.serve(says(problem(507, "store-failed")));
      const outcome = await scene.run(["push", "--server", server.url, segmentFile]);
      expect(outcome).toMatchObject({ status: FAILURES["store-failed"].exit });
      expect(server.requests).toHaveLength(1);
    });
  });

  describe("a file that cannot be pushed:", () => {
    test.each([
      ["is not there", async () => join(await scene.newDirectory(), SEGMENT.name)],
      ["is a directory", async () => await newNamed((path) => mkdir(path))],
      ["is a named pipe", async () => await newNamed((path) => execFileSync("mkfifo", [path]))],
      [
        "may not be read",
        async () =>
          await newNamed(async (path) => {
            await scene.workspace.writeFile(path, "secret", 0o600);
            await chmod(path, 0);
          }),
      ],
    ])("it %s", async (_title, make) => {
      await using server = await scene.serve(ARCHIVED);
      const outcome = await scene.run(["push", "--server", server.url, await make()]);
      expect(outcome).toMatchObject({ status: FAILURES.local.exit, signal: null });
      expect(outcome.stderr).toMatch(new RegExp(`^walarc: push ${SEGMENT.name}: local: [^\n]+\n$`));
      expect(server.requests).toEqual([]);
    });

    test("it has no WAL file's name", async () => {
      const path = await scene.workspace.writeFile(scene.newPath(), "hello");
      const outcome = await scene.run(["push", "--server", "unix:/nowhere", path]);
      expect(outcome).toMatchObject({ status: FAILURES.rejected.exit });
    });

    test.each([
      ["grows", (path: string) => appendFileSync(path, "more")],
      ["is written to", (path: string) => utimesSync(path, 1, 1)],
    ])(
      "it %s while it is read, and the archive never gets the end of it",
      async (_title, change) => {
        const path = await newNamed((path) => scene.workspace.writeFile(path, SEGMENT.bytes));
        let bytesTaken = 0;
        await using server = await scene.serve({
          moment: "asked",
          script: (socket, { bodyBytes }) => {
            bytesTaken = bodyBytes;
            change(path);
            socket.resume().on("data", (bytes) => {
              bytesTaken += bytes.length;
            });
          },
        });
        const outcome = await scene.run(["push", "--server", server.url, path]);
        expect(outcome).toMatchObject({ status: FAILURES.local.exit });
        expect(outcome.stderr).toContain("changed while it was read");
        expect(bytesTaken).toBeGreaterThan(MIB);
        expect(bytesTaken).toBeLessThan(SEGMENT.bytes.length);
      },
    );
  });

  describe("PostgreSQL's archiver", () => {
    test.each([
      [[]],
      [["--unknown", "x"]],
      [["a", "b"]],
      [["--spool", "/tmp", SEGMENT.name]],
      [["--help", SEGMENT.name]],
      [["--timeout", "soon", SEGMENT.name]],
      [["--server", "ftp://x", SEGMENT.name]],
      [["--config", "/nowhere", SEGMENT.name]],
    ])("gets status 2 for wrong arguments: %j", async (args) => {
      const outcome = await scene.run(["push", ...args]);
      expect(outcome).toMatchObject({ status: FAILURES.usage.exit, signal: null });
      expect(outcome.stderr).toMatch(/^walarc: push[^:]*: usage: /);
    });

    test("is never kept waiting beyond the deadline, and never below it", async () => {
      await using server = await scene.serve(SILENCE);
      const started = performance.now();
      const args = ["push", "--server", server.url, "--timeout", "1.5", segmentFile];
      expect(await scene.run(args)).toMatchObject({ status: FAILURES.unreachable.exit });
      expect(performance.now() - started).toBeGreaterThan(1500);
      expect(performance.now() - started).toBeLessThan(6500);
    });
  });
});

function archived(status: number): Buffer {
  return answer(status, { "Walarc-Sha256": sha256Of(SEGMENT.bytes).toUpperCase() }, "{}");
}

function chunkedArchived(): string {
  const head = `HTTP/1.1 201 Created\r\nwalarc-sha256:${sha256Of(SEGMENT.bytes)}\r\n`;
  return `${head}Transfer-Encoding: chunked\r\n\r\n1;x=y\r\n{\r\n1\r\n}\r\n0\r\nTrailer: x\r\n\r\n`;
}

function archivedUntilClose(): string {
  return `HTTP/1.0 201 Created\r\nWalarc-Sha256:\t${sha256Of(SEGMENT.bytes)} \r\n\r\n{}`;
}

/** Reads some of the body and refuses, with the rest of the body unread. */
function refusesAfter(bytes: number, { afterwards }: { afterwards: "lingers" | "closes" }): Fault {
  return {
    moment: "asked",
    script: async (socket, { bodyBytes }) => {
      let taken = bodyBytes;
      if (taken < bytes) {
        for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
          taken += (chunk as Buffer).length;
          if (taken >= bytes) break;
        }
      }
      if (afterwards === "lingers") socket.end(problem(409, "conflict"));
      else socket.write(problem(409, "conflict"), () => socket.destroy());
    },
  };
}

async function newNamed(make: (path: string) => unknown): Promise<string> {
  const path = join(await scene.newDirectory(), SEGMENT.name);
  await make(path);
  return path;
}
