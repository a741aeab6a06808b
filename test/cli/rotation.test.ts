import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { request } from "node:https";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Authority, LOCAL_NAMES } from "../support/certificates.ts";
import { ClientScene } from "../support/client-scene.ts";
import { WalarcDaemon } from "../support/daemon.ts";
import { eventually } from "../support/eventually.ts";
import { makeSegment, MIB } from "../support/wal-maker.ts";

let scene: ClientScene;
let authority: Authority;
let daemon: WalarcDaemon;
beforeAll(async () => {
  scene = await ClientScene.create();
  authority = new Authority();
  const files = [
    `cert_file = "${await write("server.crt", authority.issue({ names: LOCAL_NAMES }).cert)}"`,
    `key_file = "${scene.workspace.path("server.key")}"`,
    `client_ca_file = "${await write("clients.crt", authority.cert)}"`,
  ];
  const first = authority.issue({ names: LOCAL_NAMES });
  await write("server.crt", first.cert);
  await write("server.key", first.key, 0o600);
  const rights = '[[certificates]]\nname = "db1"\nclusters = ["*"]\nscopes = ["push"]\n';
  const { workspace, installation } = scene;
  daemon = await WalarcDaemon.prepare({
    workspace,
    installation,
    listen: "127.0.0.1:0",
    moreConfig: `[server.tls]\n${files.join("\n")}\n${rights}`,
  });
  await daemon.start();
});
afterAll(async () => {
  await daemon[Symbol.asyncDispose]();
  authority[Symbol.dispose]();
  await scene[Symbol.asyncDispose]();
});

function write(name: string, content: string, mode = 0o644): Promise<string> {
  return scene.workspace.writeFile(scene.workspace.path(name), content, mode);
}

test("a certificate is replaced under load, key last, without one failed push", async () => {
  const port = Number(new URL(daemon.tcpUrl).port);
  const own = authority.issue({ commonName: "db1" });
  const stop = new AbortController();
  const results: (number | string)[] = [];
  const serials = new Set<string>();
  let number = 0;
  const push = async (): Promise<number> => {
    const { name, bytes } = makeSegment({ number: (number += 1), segmentSizeBytes: MIB });
    const headers = { "content-length": bytes.length };
    const path = `/v1/clusters/main/wal/${name}`;
    const tls = { ca: authority.cert, ...own, agent: false };
    const asked = request({ host: "127.0.0.1", port, method: "PUT", path, headers, ...tls });
    asked.end(bytes);
    const [response] = (await once(asked, "response")) as [IncomingMessage];
    serials.add(
      (response.socket as import("node:tls").TLSSocket).getPeerCertificate().serialNumber,
    );
    response.resume();
    await once(response, "end");
    return response.statusCode ?? 0;
  };
  const pusher = async () => {
    while (!stop.signal.aborted) {
      results.push(await push().catch((error: Error) => error.message));
    }
  };
  const pushers = [pusher(), pusher(), pusher()];
  const pushed = (more: number) => {
    const least = results.length + more;
    return eventually("pushes go on", () => results.length >= least);
  };
  await pushed(3);
  const next = authority.issue({ names: LOCAL_NAMES });
  await write("server.crt", next.cert);
  await eventually("the daemon has seen it", async () => {
    const page = (await daemon.get("/metrics")).body.toString();
    return page.includes('walarc_tls_certificate_current{certificate="server"} 0');
  });
  await pushed(3);
  await write("server.key", next.key, 0o600);
  await eventually("it is replaced", () => daemon.log().includes("TLS certificate replaced"));
  await pushed(3);
  stop.abort();
  await Promise.all(pushers);
  expect(new Set(results)).toEqual(new Set([201]));
  expect(serials.size).toBe(2);
  expect(daemon.logLines().filter(({ level }) => level === "error")).toEqual([]);
});
