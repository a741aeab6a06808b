import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { FAILURES } from "../../src/errors.ts";
import { CannedDaemon, type Reply } from "../support/canned-daemon.ts";
import type { Outcome } from "../support/child.ts";
import { ClientScene } from "../support/client-scene.ts";

let scene: ClientScene;
beforeAll(async () => {
  scene = await ClientScene.create();
});
afterAll(() => scene[Symbol.asyncDispose]());

async function walarc(...args: string[]): Promise<Outcome> {
  return await scene.run(args);
}

async function daemonAnswering(replies: Readonly<Record<string, Reply>>): Promise<CannedDaemon> {
  return await CannedDaemon.answering(`${scene.newPath()}.sock`, replies);
}

const SEGMENT = "0000000100000000000000";

const STATUS = {
  cluster: "main",
  systemIdentifier: "7312345678901234567",
  segmentSizeBytes: 16_777_216,
  latest: { name: `${SEGMENT}09`, archivedAt: new Date(Date.now() - 90_000).toISOString() },
  stored: { files: 7, bytes: 5_427, plainBytes: 117_440_512 },
  timelines: [
    {
      timeline: 1,
      parent: null,
      switchLsn: null,
      ranges: [
        { first: `${SEGMENT}01`, last: `${SEGMENT}05`, segments: 5 },
        { first: `${SEGMENT}08`, last: `${SEGMENT}08`, segments: 1 },
        { first: `${SEGMENT}0A`, last: `${SEGMENT}0B`, segments: 2 },
      ],
      gaps: [
        { after: `${SEGMENT}05`, before: `${SEGMENT}08`, segments: 2 },
        { after: `${SEGMENT}08`, before: `${SEGMENT}0A`, segments: 1 },
      ],
    },
    { timeline: 2, parent: 1, switchLsn: "0/9000100", ranges: [], gaps: [] },
  ],
  damaged: [],
  conflicts: 0,
  claims: [],
  horizon: null,
  heldBy: [],
};

describe("walarc status", () => {
  test("shows people what is there, how old it is, and above all what is missing", async () => {
    await using daemon = await daemonAnswering({
      "/v1/clusters": { body: { clusters: [STATUS] } },
    });
    const { status, stdout, stderr } = await walarc("status", "--server", daemon.url);
    expect(stderr).toBe("");
    expect(status).toBe(0);
    expect(stdout).toMatch(/^cluster {12}main\nsystem identifier {2}7312345678901234567\n/);
    expect(stdout).toMatch(/^segment size {7}16MB$/m);
    expect(stdout).toMatch(/^latest segment .*09, archived \d+s ago \(\d{4}-.*Z\)$/m);
    expect(stdout).toMatch(/^stored {13}7 files, 5\.3kB \(112MB plain\)$/m);
    expect(stdout).toContain(`
timeline 1         ${SEGMENT}01 to ${SEGMENT}05, 5 segments
                   GAP of 2 segments between ${SEGMENT}05 and ${SEGMENT}08
                   ${SEGMENT}08, 1 segment
                   GAP of 1 segment between ${SEGMENT}08 and ${SEGMENT}0A
                   ${SEGMENT}0A to ${SEGMENT}0B, 2 segments
timeline 2         left timeline 1 at 0/9000100
gaps               3 segments MISSING in 2 gaps: a recovery across one stops there
`);
  });

  test("shows claims, the horizon and who holds it, damage and refused content", async () => {
    const reportedAt = new Date(Date.now() - 3 * 86_400_000).toISOString();
    const claims = [
      { kind: "standby", name: "s1", from: `${SEGMENT}03`, reportedAt, stale: true },
      { kind: "hold", name: "audit", from: `${SEGMENT}04` },
    ];
    const more = { claims, horizon: `${SEGMENT}03`, heldBy: [{ kind: "standby", name: "s1" }] };
    const damage = { damaged: [`${SEGMENT}04`], conflicts: 2 };
    await using daemon = await daemonAnswering({
      "/v1/clusters/main": { body: { ...STATUS, ...more, ...damage } },
    });
    const args = ["status", "--cluster", "main", "--server", daemon.url];
    const { stdout } = await walarc(...args);
    expect(stdout).toContain(`
damaged            ${SEGMENT}04 DAMAGED; push it again if you have it
conflicts          2 files REFUSED since the start
claims             standby s1 from ${SEGMENT}03, reported 3d ago, STALE
                   hold audit from ${SEGMENT}04
horizon            ${SEGMENT}03, held by standby s1
`);
  });

  test("shows every cluster unless one is named", async () => {
    const other = { ...STATUS, cluster: "other" };
    await using daemon = await daemonAnswering({
      "/v1/clusters": { body: { clusters: [STATUS, other] } },
      "/v1/clusters/other": { body: other },
    });
    const all = await walarc("status", "--server", daemon.url);
    expect(all.stdout.match(/^cluster .*$/gm)).toEqual([
      "cluster            main",
      "cluster            other",
    ]);
    const env = { WALARC_SERVER: daemon.url, WALARC_CLUSTER: "other" };
    const one = await scene.run(["status"], { env });
    expect(one.stdout.match(/^cluster .*$/gm)).toEqual(["cluster            other"]);
  });

  test("a cluster in trouble hides no other, and is no success", async () => {
    const problem = { code: "store-failed", detail: "the status took too long" };
    await using daemon = await daemonAnswering({
      "/v1/clusters": { body: { clusters: [{ cluster: "bad", problem }, STATUS] } },
    });
    const { status, stdout, stderr } = await walarc("status", "--server", daemon.url);
    expect(stdout).toMatch(
      /^cluster {2}bad\nTROUBLE {2}store-failed: the status took too long\n\n/,
    );
    expect(stdout).toMatch(/^cluster {12}main$/m);
    expect(stderr).toBe("walarc: status: store-failed: the status took too long\n");
    expect(status).toBe(FAILURES["store-failed"].exit);
  });

  test("lets no answer drive the terminal", async () => {
    const status = { ...STATUS, damaged: ["\u001b[2Jall is well"] };
    await using daemon = await daemonAnswering({
      "/v1/clusters": { body: { clusters: [status] } },
    });
    const { stdout } = await walarc("status", "--server", daemon.url);
    expect(stdout).toContain("\\x1b[2Jall is well DAMAGED");
  });

  test("says so when there is no cluster yet", async () => {
    await using daemon = await daemonAnswering({ "/v1/clusters": { body: { clusters: [] } } });
    const { status, stdout } = await walarc("status", "--server", daemon.url);
    expect([status, stdout]).toEqual([0, "no cluster yet: one is made at its first valid push\n"]);
  });

  test("--json prints one cluster's object, of main unless another is named", async () => {
    await using daemon = await daemonAnswering({
      "/v1/clusters/main": { body: STATUS },
      "/v1/clusters/b": { body: { ...STATUS, cluster: "b" } },
    });
    const main = await walarc("status", "--json", "--server", daemon.url);
    expect(JSON.parse(main.stdout)).toEqual(STATUS);
    const named = await walarc("status", "--json", "--cluster", "b", "--server", daemon.url);
    expect(JSON.parse(named.stdout)).toEqual({ ...STATUS, cluster: "b" });
  });

  test("brings the token along", async () => {
    await using daemon = await daemonAnswering({ "/v1/clusters": { body: { clusters: [] } } });
    const tokenFile = await scene.workspace.writeFile(scene.newPath(), "walarc_secret\n");
    await walarc("status", "--server", daemon.url, "--token-file", tokenFile);
    expect(daemon.requests[0]?.headers.authorization).toBe("Bearer walarc_secret");
  });
});

describe("walarc ls", () => {
  const FILE = {
    name: `${SEGMENT}01`,
    kind: "segment",
    sizeBytes: 16_777_216,
    storedBytes: 20_480,
    sha256: "ab".repeat(32),
    archivedAt: "2026-11-21T12:00:00.000Z",
  };
  const NAMES = ["01", "02", "03"].map((end) => SEGMENT + end);
  /** Three pages of one file each. */
  const PAGES = Object.fromEntries(
    NAMES.map((name, index) => [
      `/v1/clusters/main/wal?limit=1000${index === 0 ? "" : `&after=${NAMES[index - 1]}`}`,
      { body: { files: [{ ...FILE, name }], next: NAMES[index + 1] === undefined ? null : name } },
    ]),
  );

  test("prints a line for each file of every page", async () => {
    await using daemon = await daemonAnswering(PAGES);
    const { status, stdout } = await walarc("ls", "--server", daemon.url);
    expect(status).toBe(0);
    expect(stdout.split("\n").map((line) => line.split(/ +/))).toEqual([
      ["NAME", "KIND", "SIZE", "STORED", "ARCHIVED", "AT"],
      ...NAMES.map((name) => [name, "segment", "16MB", "20kB", "2026-11-21T12:00:00.000Z"]),
      [""],
    ]);
  });

  test("--json prints one document of all pages, in the shape of a page", async () => {
    await using daemon = await daemonAnswering(PAGES);
    const { stdout } = await walarc("ls", "--json", "--server", daemon.url);
    const files = NAMES.map((name) => ({ ...FILE, name }));
    expect(JSON.parse(stdout)).toEqual({ files, next: null });
  });

  test("of an empty archive is a heading, and an empty document", async () => {
    await using daemon = await daemonAnswering({
      "/v1/clusters/main/wal?limit=1000": { body: { files: [], next: null } },
    });
    const table = await walarc("ls", "--server", daemon.url);
    expect(table.stdout).toMatch(/^NAME .*AT\n$/);
    const document = await walarc("ls", "--json", "--server", daemon.url);
    expect(JSON.parse(document.stdout)).toEqual({ files: [], next: null });
  });

  test("marks a damaged file, of which nothing is known but its place", async () => {
    const damaged = { ...FILE, sizeBytes: null, sha256: null, archivedAt: null };
    await using daemon = await daemonAnswering({
      "/v1/clusters/main/wal?limit=1000": { body: { files: [damaged], next: null } },
    });
    const { stdout } = await walarc("ls", "--server", daemon.url);
    expect(stdout).toMatch(/01 +segment +- +20kB +DAMAGED\n$/);
  });

  test("is not led in circles", async () => {
    const first = { files: [FILE], next: FILE.name };
    await using daemon = await daemonAnswering({
      "/v1/clusters/main/wal?limit=1000": { body: first },
      [`/v1/clusters/main/wal?limit=1000&after=${FILE.name}`]: { body: first },
    });
    const { status, stderr } = await walarc("ls", "--server", daemon.url);
    expect(status).toBe(FAILURES.unreachable.exit);
    expect(stderr).toMatch(/^walarc: ls: unreachable: the page after \S+01 leads back to \S+01\n$/);
  });
});

describe("status and ls", () => {
  const PROBLEM = "application/problem+json";
  const detail = 'no cluster "main"';

  test.each([
    [{ status: 404, type: PROBLEM, body: { code: "unknown-cluster", detail } }, "usage", 2],
    [{ status: 403, type: PROBLEM, body: { code: "denied", detail } }, "denied", 6],
    [{ status: 404, type: "text/html", body: "<html>" }, "unreachable", 3],
    [{ status: 200, type: "text/html", body: "<html>" }, "unreachable", 3],
    [{ status: 200, body: { hello: "world" } }, "unreachable", 3],
    [{ status: 200, body: null }, "unreachable", 3],
    [{ status: 200, body: "" }, "unreachable", 3],
  ])("end as the answer says: %j", async (reply, name, exit) => {
    await using daemon = await daemonAnswering({
      "/v1/clusters/main": reply,
      "/v1/clusters/main/wal?limit=1000": reply,
    });
    for (const command of ["status", "ls"]) {
      const args = [command, "--json", "--cluster", "main", "--server", daemon.url];
      const { status, stdout, stderr } = await walarc(...args);
      expect([status, stdout]).toEqual([exit, ""]);
      expect(stderr.startsWith(`walarc: ${command}: ${name}: `)).toBe(true);
    }
  });

  test("end with 3 when nobody answers", async () => {
    const { status, stderr } = await walarc("status", "--server", `unix:${scene.newPath()}`);
    expect(status).toBe(3);
    expect(stderr).toMatch(
      /^walarc: status: unreachable: unix:\S+: there is no such socket\nhint: /,
    );
  });
});
