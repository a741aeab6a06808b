import { chmodSync, chownSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { WalarcDaemon } from "../support/daemon.ts";
import { eventually } from "../support/eventually.ts";
import { FaultScene, reportLogsOf } from "../support/fault-scene.ts";
import { makeSegment, MIB } from "../support/wal-maker.ts";

let scene: FaultScene;
reportLogsOf(() => scene);
beforeAll(async () => {
  scene = await FaultScene.open();
});
afterAll(() => scene?.[Symbol.asyncDispose]());

let spools = 0;

function newSpool(mode = 0o700): { spool: string; moreConfig: string } {
  const spool = scene.workspace.path(`spool${(spools += 1)}`);
  mkdirSync(spool);
  give(spool);
  chmodSync(spool, mode);
  const patience = 'settle = "50ms"\nincomplete_after = "500ms"\n';
  return { spool, moreConfig: `[[spool]]\npath = "${spool}"\ncluster = "main"\n${patience}` };
}

function give(path: string): void {
  const { uid, gid } = scene.workspace.account;
  if (process.getuid?.() === 0) chownSync(path, uid, gid);
}

function put(spool: string, number: number, mode = 0o600): void {
  const { name, bytes } = makeSegment({ number, segmentSizeBytes: MIB });
  writeFileSync(join(spool, name), bytes);
  give(join(spool, name));
  chmodSync(join(spool, name), mode);
}

async function metricsOf(daemon: WalarcDaemon): Promise<string> {
  return (await daemon.get("/metrics")).body.toString();
}

test("metrics and status tell what is in a spool, before anything was archived and after", async () => {
  const { spool, moreConfig } = newSpool();
  const daemon = await scene.daemon({ moreConfig });
  writeFileSync(join(spool, "notes.txt"), "x");
  give(join(spool, "notes.txt"));
  await eventually("it is set aside", () => readdirSync(spool).join() === "rejected");
  // Here and below: it leaves the directory a moment before the spool has counted it.
  const text = await eventually("it is told", async () => {
    const told = await scene.walarc(["status"], { server: daemon.url });
    return told.stdout.includes("1 in rejected/: LOOK AT THEM") && told;
  });
  expect(text).toMatchObject({ status: 0 });
  expect(text.stdout).toContain("rejected notes.txt (foreign_name)");

  put(spool, 3);
  put(spool, 4, 0o000);
  await eventually("both are dealt with", () => readdirSync(spool).join() === "rejected");
  const metrics = await eventually("no file is counted any more", async () => {
    const page = await metricsOf(daemon);
    return page.includes('walarc_spool_files{cluster="main"} 0') && page;
  });
  expect(metrics).toContain('walarc_spool_oldest_age_seconds{cluster="main"} 0');
  expect(metrics).toContain('walarc_spool_rejected_total{cluster="main",reason="foreign_name"} 1');
  expect(metrics).toContain('walarc_spool_rejected_total{cluster="main",reason="unreadable"} 1');
  expect(metrics).toContain('walarc_push_total{cluster="main",outcome="archived"} 1');
  expect(await daemon.get(`/v1/clusters/main/wal/${segmentName(3)}`)).toMatchObject({
    status: 200,
  });
  expect((await daemon.get("/readyz")).status).toBe(200);
});

test("a file that waits in a spool is a gap, and never absent", async () => {
  const { spool, moreConfig } = newSpool();
  const daemon = await scene.daemon({ moreConfig: moreConfig.replace("50ms", "20s") });
  put(spool, 3);
  await eventually("it is archived", () => readdirSync(spool).join() === "rejected");
  const history = "1\t0/500000\tno recovery target specified\n";
  writeFileSync(join(spool, "00000002.history"), history);
  give(join(spool, "00000002.history"));
  expect(await daemon.get("/v1/clusters/main/wal/00000002.history")).toMatchObject({ status: 410 });
  expect(await daemon.get("/v1/clusters/main/wal/00000003.history")).toMatchObject({ status: 404 });
});

test("walarc serve refuses a spool that everybody may write to", async () => {
  const { spool, moreConfig } = newSpool(0o777);
  const daemon = await scene.prepareDaemon({ moreConfig });
  await expect(daemon.start()).rejects.toThrow(/it ended with 2/);
  expect(daemon.logTail()).toContain(`the spool "${spool}" is writable by everybody`);
});

test("and waits for one that is not there, red until it is", async () => {
  const { spool, moreConfig } = newSpool();
  const missing = `${spool}-missing`;
  const daemon = await scene.prepareDaemon({ moreConfig: moreConfig.replace(spool, missing) });
  await daemon.start({ readiness: 503 });
  mkdirSync(missing, { mode: 0o700 });
  give(missing);
  put(missing, 3);
  await eventually("it is drained", () => readdirSync(missing).join() === "rejected");
  await eventually("it is ready", async () => (await daemon.get("/readyz")).status === 200);
});

test("or for one that it may not read yet, which is no mistake of the configuration", async () => {
  const { spool, moreConfig } = newSpool(0o000);
  const daemon = await scene.prepareDaemon({ moreConfig });
  await daemon.start({ readiness: 503 });
  expect((await daemon.get("/readyz")).body.toString()).toContain(spool);
  chmodSync(spool, 0o700);
  await eventually("it is ready", async () => (await daemon.get("/readyz")).status === 200);
});

test("of two daemons with one spool one drains it, and the other takes over when that ends", async () => {
  const { spool, moreConfig } = newSpool();
  const first = await scene.daemon({ moreConfig });
  const second = await scene.prepareDaemon({ name: "second", moreConfig });
  await second.start({ readiness: 503 });
  await eventually("it says why", async () =>
    (await second.get("/readyz")).body.toString().includes("is not ours alone"),
  );
  put(spool, 3);
  await eventually("it is drained", () => readdirSync(spool).join() === "rejected");
  expect((await first.get(`/v1/clusters/main/wal/${segmentName(3)}`)).status).toBe(200);
  await first.kill();
  await eventually("it is ready", async () => (await second.get("/readyz")).status === 200);
  put(spool, 4);
  const path = `/v1/clusters/main/wal/${segmentName(4)}`;
  await eventually("the other drains it", async () => (await second.get(path)).status === 200);
});

function segmentName(number: number): string {
  return makeSegment({ number, segmentSizeBytes: MIB }).name;
}
