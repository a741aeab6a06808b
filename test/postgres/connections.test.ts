import { createHash, randomBytes } from "node:crypto";
import { join } from "node:path";
import { expect, test } from "vitest";
import { expectArchived } from "../support/archived.ts";
import { ARCHIVER_DIED, archiverCounts, fillSegments } from "../support/archiver.ts";
import { describeScene } from "../support/scene.ts";

describeScene("a primary and its standbys reach the archive", (scene) => {
  test("with several clusters in one daemon, none of which takes another's place", async () => {
    await using daemon = await scene().daemon({ name: "shared" });
    const server = daemon.url;
    await using first = await scene().primary({ name: "first", server, cluster: "first" });
    await using second = await scene().primary({ name: "second", server, cluster: "second" });
    for (const primary of [first, second]) {
      await fillSegments(primary, 5);
      await primary.archiverCaughtUp();
    }
    await using stranger = await scene().primary({ name: "stranger", server, cluster: "first" });
    await fillSegments(stranger, 1);
    const refusal = /^walarc: push .*: rejected: /m;
    await stranger.eventually("it is refused", () => refusal.test(stranger.log()));

    expect((await archiverCounts(stranger)).archived).toBe(0);
    expect(stranger.waitingForArchiver()).not.toEqual([]);
    expect(stranger.log()).not.toMatch(ARCHIVER_DIED);
    await expectArchived(await scene().archivedBy(first), daemon, "first");
    await expectArchived(await scene().archivedBy(second), daemon, "second");
  });

  test("over TCP, each with a token for what it does and nothing else", async () => {
    const [pushing, fetching] = [makeToken("primary", "push"), makeToken("standby", "fetch")];
    await using daemon = await scene().daemon({
      name: "remote",
      listen: "127.0.0.1:0",
      moreConfig: pushing.config + fetching.config,
    });
    const file = (name: string, secret: string) =>
      scene().workspace.writeFile(scene().workspace.path(name), `${secret}\n`, 0o600);
    const server = daemon.tcpUrl;
    await using primary = await scene().primary({
      name: "primary",
      server,
      env: { WALARC_TOKEN_FILE: await file("push-token", pushing.secret) },
    });
    await using standby = await scene().standby(
      await primary.baseBackup(scene().workspace.path("backup"), "none"),
      { name: "standby", server, env: { WALARC_TOKEN_FILE: await file("token", fetching.secret) } },
    );
    await fillSegments(primary, 5);
    await standby.replayed(await primary.archiveEverything());
    expect(await standby.value("select count(*) from t")).toBe("500");
    expect((await archiverCounts(primary)).failed).toBe(0);

    await primary.configure({ archive_command: "WALARC_TOKEN_FILE=../../token walarc push %p" });
    await primary.query("select pg_reload_conf()");
    await fillSegments(primary, 1);
    const refusal = /^walarc: push .*: denied: /m;
    await primary.eventually("it is denied", () => refusal.test(primary.log()));
    expect(primary.log() + standby.log() + daemon.log()).not.toContain(pushing.secret);
  });

  test("by a daemon on the database host, which reads pg_wal itself", async () => {
    const dataDirectory = join(scene().workspace.path("local-primary"), "data");
    await using daemon = await scene().daemon({
      name: "local",
      moreConfig: `[clusters.main]\ndata_directory = "${dataDirectory}"\n`,
    });
    await using primary = await scene().primary({ name: "local-primary", server: daemon.url });
    await fillSegments(primary, 5);
    await primary.archiverCaughtUp();

    await expectArchived(await scene().archivedBy(primary), daemon);
    expect((await archiverCounts(primary)).failed).toBe(0);
    const metrics = String((await daemon.get("/metrics")).body);
    expect(metrics).toMatch(/^walarc_push_total\{cluster="main",outcome="archived"\} [1-9]/m);
    expect(metrics).not.toMatch(/^walarc_received_bytes_total\{cluster="main"\} [1-9]/m);
  });

  test("with curl as archive_command", async () => {
    await using daemon = await scene().daemon({ name: "for-curl" });
    const kept = scene().workspace.path("curl-primary.archived");
    const curl = `curl -sS --fail --unix-socket ${daemon.socketPath}`;
    const url = "http://walarc/v1/clusters/main/wal/%f";
    await using primary = await scene().primary({
      name: "curl-primary",
      server: "unused",
      settings: { archive_command: `cp %p ${kept}/%f && ${curl} -T %p ${url}` },
    });
    await fillSegments(primary, 5);
    await primary.archiverCaughtUp();

    const files = await scene().archivedBy(primary);
    expect(files.size).toBeGreaterThanOrEqual(5);
    await expectArchived(files, daemon);
    expect((await archiverCounts(primary)).failed).toBe(0);
  });
});

/** A token for cluster main, and its table in the configuration. */
function makeToken(name: string, scope: string): { secret: string; config: string } {
  const secret = randomBytes(24).toString("base64url");
  const sha256 = createHash("sha256").update(secret).digest("hex");
  const table = { name, sha256, clusters: ["main"], scopes: [scope] };
  const lines = Object.entries(table).map(([key, value]) => `${key} = ${JSON.stringify(value)}\n`);
  return { secret, config: `[[tokens]]\n${lines.join("")}\n` };
}
