import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ArchivingServer } from "../support/archiving-server.ts";
import { ClientScene, RUNTIMES } from "../support/client-scene.ts";
import { WalarcDaemon } from "../support/daemon.ts";
import { sha256Of } from "../support/faults.ts";
import { RecoveringServer, segment } from "../support/recovering-server.ts";
import { type MadeFile, MIB } from "../support/wal-maker.ts";

const ALL = Array.from({ length: 5 }, (_, index) => segment(5 + index));
const [FIRST, ...OTHERS] = ALL as [MadeFile, ...MadeFile[]];
const TOKEN = "walarc_of_the_servers";
const TOKENS = `[[tokens]]
name = "servers"
sha256 = "${sha256Of(Buffer.from(TOKEN))}"
clusters = ["*"]
scopes = ["push", "fetch"]
`;
const OK = { status: 0, signal: null, stdout: "", stderr: "" };

describe.each(RUNTIMES)("%s: what is moved ahead over TCP", (runtime) => {
  let scene: ClientScene;
  let daemon: WalarcDaemon;
  let more: { env: Record<string, string> };

  beforeAll(async () => {
    scene = await ClientScene.create(runtime);
    const { workspace, installation } = scene;
    daemon = await WalarcDaemon.prepare({
      workspace,
      installation,
      listen: "127.0.0.1:0",
      moreConfig: TOKENS,
    });
    await daemon.start();
    const path = await workspace.writeFile(workspace.path("token"), TOKEN, 0o600);
    more = { env: { WALARC_TOKEN_FILE: path } };
  });
  afterAll(async () => {
    await daemon[Symbol.asyncDispose]();
    await scene[Symbol.asyncDispose]();
  });

  test("goes as zstd frames both ways, and is the same in the end", async () => {
    await using primary = await ArchivingServer.start(scene, ALL);
    expect(await primary.push(FIRST, daemon.tcpUrl, more)).toEqual(OK);
    for (const next of OTHERS) {
      await primary.confirmed(next);
      expect(await primary.push(next, daemon.tcpUrl, more)).toEqual(OK);
    }
    const { body } = await daemon.get("/metrics");
    const [, received] = /^walarc_received_bytes_total\{.*\} (\S+)$/m.exec(String(body)) ?? [];
    expect(Number(received)).toBeGreaterThan(MIB);
    expect(Number(received)).toBeLessThan(3 * MIB);

    await using standby = await RecoveringServer.start(scene);
    expect(await standby.fetch(FIRST, daemon.tcpUrl, more)).toEqual(OK);
    for (const next of OTHERS) {
      await standby.stocked(next);
      expect((await readFile(standby.stockPath(next.name))).equals(next.bytes)).toBe(true);
      expect(await standby.fetch(next, daemon.tcpUrl, more)).toEqual(OK);
      expect((await standby.delivered()).equals(next.bytes)).toBe(true);
    }
  });
});
