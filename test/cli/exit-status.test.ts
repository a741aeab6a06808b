import { chmod, link } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { FAILURES, type FailureCode, STOP_STATUS } from "../../src/errors.ts";
import type { Outcome } from "../support/child.ts";
import {
  ClientScene,
  type DataDirectory,
  filesOf,
  type Setting,
  SETTINGS,
  RUNTIMES,
} from "../support/client-scene.ts";
import {
  answer,
  dribbles,
  fileAnswer,
  problem,
  RESET,
  says,
  sha256Of,
  SILENCE,
} from "../support/faults.ts";
import { type Fault, FaultServer } from "../support/fault-server.ts";
import { makeSegment, MIB } from "../support/wal-maker.ts";

/*
 * reliability A8: what each fault makes push and fetch end with. A fetch in recovery always ends
 * with 200, and only `absent` with 1, because PostgreSQL takes 1 to 125 for the end of the WAL
 * there.
 */

const SEGMENT = makeSegment({ number: 7, segmentSizeBytes: MIB });
const HTML = "<html><body><h1>Please log in</h1></body></html>";
const CUT = fileAnswer(SEGMENT.bytes);
const FLIPPED = Buffer.from(SEGMENT.bytes);
FLIPPED[MIB / 2] = (FLIPPED[MIB / 2] ?? 0) ^ 1;
const DIGEST = { "Walarc-Sha256": sha256Of(SEGMENT.bytes) };

interface Row {
  readonly fault: Fault;
  /** Left out where the answer is a good one to a push. */
  readonly push?: FailureCode;
  readonly fetch: FailureCode;
}

function both(fault: Fault, code: FailureCode): Row {
  return { fault, push: code, fetch: code };
}

const ROWS: Readonly<Record<string, Row>> = {
  "silence after accepting": both(SILENCE, "unreachable"),
  "silence after the request": both({ moment: "received", script: () => {} }, "unreachable"),
  "silence in the middle of the body": both({ moment: "asked", script: () => {} }, "unreachable"),
  "a reset": both(RESET, "unreachable"),
  "no answer at all": both(says(""), "unreachable"),
  "something that is not HTTP": both(says("SSH-2.0-OpenSSH_9.2\r\n\r\n"), "unreachable"),
  "a cut header": both(says(CUT.subarray(0, 40)), "unreachable"),
  "an endless header": both(says(`HTTP/1.1 200 OK\r\nX: ${"x".repeat(70_000)}`), "unreachable"),
  "one byte a second": both(dribbles(CUT, 200), "unreachable"),
  "an HTML page with 200": both(says(answer(200, {}, HTML)), "unreachable"),
  "a redirect": both(says(answer(302, { Location: "http://login/" })), "unreachable"),
  "204 without a word": both(says(answer(204)), "unreachable"),
  "400 usage": both(says(problem(400, "usage")), "usage"),
  "401 denied": both(says(problem(401, "denied")), "denied"),
  "403 denied": both(says(problem(403, "denied")), "denied"),
  "a bare 401": both(says(answer(401)), "unreachable"),
  "a bare 403": both(says(answer(403)), "unreachable"),
  "a bare 404": both(says(answer(404)), "unreachable"),
  "404 of a proxy": both(says(answer(404, { "Content-Type": "text/html" }, HTML)), "unreachable"),
  "absent, but not as a problem document": both(
    says(answer(404, { "Content-Type": "application/json" }, '{"code":"absent"}')),
    "unreachable",
  ),
  "absent, but cut off": both(says(problem(404, "absent").subarray(0, -3)), "unreachable"),
  "absent with another status": both(says(problem(500, "absent")), "unreachable"),
  "404 absent": { fault: says(problem(404, "absent")), push: "unreachable", fetch: "absent" },
  "404 unknown-cluster": both(says(problem(404, "unknown-cluster")), "unknown-cluster"),
  "409 conflict": both(says(problem(409, "conflict")), "conflict"),
  "410 gap": { fault: says(problem(410, "gap")), push: "unreachable", fetch: "gap" },
  "413 rejected": both(says(problem(413, "rejected")), "rejected"),
  "422 rejected": both(says(problem(422, "rejected")), "rejected"),
  "a bare 429": both(says(answer(429, { "Retry-After": 1 })), "unreachable"),
  "429 with a code": both(says(problem(429, "denied")), "unreachable"),
  "a bare 500": both(says(answer(500)), "unreachable"),
  "500 corrupt": both(says(problem(500, "corrupt")), "corrupt"),
  "500 bug": both(says(problem(500, "bug")), "bug"),
  "a code nobody knows": both(says(problem(500, "tired")), "unreachable"),
  "502 of a proxy": both(says(answer(502, {}, HTML)), "unreachable"),
  "a bare 503": both(says(answer(503)), "unreachable"),
  "503 store-failed": both(says(problem(503, "store-failed")), "store-failed"),
  "507 store-failed": both(says(problem(507, "store-failed")), "store-failed"),
  "a cut body": both(says(CUT.subarray(0, -1)), "unreachable"),
  "the wrong bytes": { fault: says(answer(200, DIGEST, FLIPPED)), fetch: "corrupt" },
  "the wrong digest": {
    fault: says(answer(200, { "Walarc-Sha256": sha256Of(FLIPPED) }, SEGMENT.bytes)),
    push: "conflict",
    fetch: "corrupt",
  },
  "no digest": both(says(answer(200, {}, SEGMENT.bytes)), "unreachable"),
  "something else for a digest": {
    fault: says(answer(200, { "Walarc-Sha256": "1234" }, SEGMENT.bytes)),
    push: "conflict",
    fetch: "unreachable",
  },
  "a longer body": {
    fault: says(answer(200, DIGEST, Buffer.concat([SEGMENT.bytes, Buffer.of(0)]))),
    fetch: "corrupt",
  },
  "a shorter body": {
    fault: says(answer(200, DIGEST, SEGMENT.bytes.subarray(0, -1))),
    fetch: "corrupt",
  },
};

let scene: ClientScene;
let segmentFile: string;
const directories = new Map<Setting, DataDirectory>();

describe.each(RUNTIMES)("%s:", (runtime) => {
  beforeAll(async () => {
    scene = await ClientScene.create(runtime);
    segmentFile = await scene.workspace.writeFile(
      scene.workspace.path(SEGMENT.name),
      SEGMENT.bytes,
    );
    for (const setting of SETTINGS)
      directories.set(setting, await scene.makeDataDirectory(setting));
  });
  afterAll(async () => await scene[Symbol.asyncDispose]());

  describe("a server that answers with", () => {
    test.each(Object.entries(ROWS))("%s", async (_title, { fault, push, fetch }) => {
      await using server = await scene.serve(fault);
      await Promise.all([
        push && expectPush(server.url, push),
        ...SETTINGS.map((setting) => expectFetch(server.url, setting, fetch)),
      ]);
    });

    test("the same over TCP", async () => {
      for (const title of ["silence after the request", "a reset", "404 absent", "500 corrupt"]) {
        const { fault, push, fetch } = ROWS[title] ?? both(SILENCE, "bug");
        await using server = await FaultServer.listen(fault);
        await Promise.all([
          push && expectPush(server.url, push),
          ...SETTINGS.map((setting) => expectFetch(server.url, setting, fetch)),
        ]);
      }
    });
  });

  describe("no server at all:", () => {
    test("a socket that is missing", async () => {
      await expectEverywhere(`unix:${scene.newPath()}.sock`, "unreachable");
    });

    test("a socket that nobody listens on", async () => {
      const path = `${scene.newPath()}.sock`;
      const server = await FaultServer.listen(SILENCE, path);
      await link(path, `${path}.left`); // Closing removes the name it knows.
      await server[Symbol.asyncDispose]();
      await expectEverywhere(`unix:${path}.left`, "unreachable");
    });

    test("a file that is no socket", async () => {
      await expectEverywhere(`unix:${segmentFile}`, "unreachable");
    });

    test("a socket that others own", async () => {
      await using server = await scene.serve(SILENCE);
      const mode = process.getuid?.() === 0 ? 0o600 : 0;
      await chmod(server.url.slice("unix:".length), mode);
      await expectEverywhere(server.url, "denied");
    });

    test("a port that refuses", async () => {
      const server = await FaultServer.listen(SILENCE);
      const { url } = server;
      await server[Symbol.asyncDispose]();
      await expectEverywhere(url, "unreachable");
    });

    test("a host name that does not exist", async () => {
      await expectEverywhere("http://nowhere.invalid:8417", "unreachable");
    });
  });
});

async function expectEverywhere(url: string, code: FailureCode): Promise<void> {
  await Promise.all([
    expectPush(url, code),
    ...SETTINGS.map((setting) => expectFetch(url, setting, code)),
  ]);
}

/** Long enough to start, short enough to wait for. */
const TIMEOUT = ["--timeout", "0.7"];

async function expectPush(url: string, code: FailureCode): Promise<void> {
  const outcome = await scene.run(["push", "--server", url, ...TIMEOUT, segmentFile]);
  expect(outcome).toMatchObject({ status: FAILURES[code].exit, signal: null, stdout: "" });
  expectOneLine(outcome, `push ${SEGMENT.name}`, code);
}

async function expectFetch(url: string, setting: Setting, code: FailureCode): Promise<void> {
  const directory = requireDirectory(setting);
  const { path, destination } = directory;
  const args = ["fetch", "--server", url, ...TIMEOUT, SEGMENT.name, destination];
  const outcome = await scene.run(args, { cwd: path });

  const stops = setting === "recovery" && code !== "absent";
  const status = stops ? STOP_STATUS : FAILURES[code].exit;
  expect({ setting, ...outcome }).toMatchObject({ setting, status, signal: null, stdout: "" });
  if (code === "absent") expect(outcome.stderr).toBe("");
  else expectOneLine(outcome, `fetch ${SEGMENT.name}`, code);
  expect(await filesOf(directory)).toEqual([]);
}

/** `walarc: WHAT: WHY`, WHY beginning with the status's name, and at most one hint. */
function expectOneLine({ stderr }: Outcome, what: string, code: FailureCode): void {
  const name = code === "unknown-cluster" ? "usage" : code;
  expect(stderr).toMatch(new RegExp(`^walarc: ${what}: ${name}: [^\\n]+\\n(hint: [^\\n]+\\n)?$`));
}

function requireDirectory(setting: Setting): DataDirectory {
  const directory = directories.get(setting);
  if (directory === undefined) throw new Error(`no data directory for ${setting}`);
  return directory;
}
