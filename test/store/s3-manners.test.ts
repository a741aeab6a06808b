import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { S3Store } from "../../src/store/s3.ts";
import { settingsOf } from "../support/s3-archive.ts";
import { environmentOf } from "../support/s3-access.ts";
import { S3_FAULTS, type S3FaultName } from "../support/s3-fault.ts";
import { type S3Manners, S3Server } from "../support/s3-server.ts";
import { storePromises } from "./contract.ts";
import { put } from "./objects.ts";

const signal = new AbortController().signal;
const PAUSE_MS = 2;
/** The requests with which the probe begins, after a look at what is there. */
const PUTS_OF_PROBE = [2, 3, 4];
/** What could hide that something was overwritten. */
const HIDING: readonly S3FaultName[] = [
  "409",
  "412 for nothing",
  "200 of a proxy",
  "reset before the answer",
  "timeout before storing",
];

let expirations = 0;
beforeAll(() => renewCredentials());
afterAll(() => vi.unstubAllEnvs());

function renewCredentials(): void {
  const accessKeyId = `AKID${(expirations += 1)}`;
  const access = { endpoint: "", region: "", accessKeyId, secretAccessKey: "of-no-matter" };
  for (const [name, value] of Object.entries(environmentOf(access))) vi.stubEnv(name, value);
}

async function serverWith(manners: S3Manners): Promise<S3Server> {
  const server = await S3Server.start(manners);
  server.onExpired = renewCredentials;
  return server;
}

function open(server: S3Server): Promise<S3Store> {
  return S3Store.open(settingsOf(server), { pauseMs: PAUSE_MS });
}

storePromises("a bucket of the server that fails as it is told", async (stack) => {
  return open(stack.use(await serverWith({})));
});
storePromises("a bucket of a server of former years", async (stack) => {
  return open(stack.use(await serverWith({ checksums: "refused", multiDelete: "refused" })));
});

test("who wants the end of an object gets it without the rest", async () => {
  await using server = await serverWith({});
  await using store = await open(server);
  const key = "clusters/main/wal/00000001/00000000/000000010000000000000001";
  await put(store, key, `${"x".repeat(1_000_000)}the end`);
  const before = server.log.length;

  await using object = await store.open(key, { signal, extent: "end" });
  expect(object?.storedBytes).toBe(1_000_007);
  expect(String(await object?.read(1_000_000, 7))).toBe("the end");
  const sent = server.log.slice(before).map(({ sentBytes }) => sentBytes);
  expect(sent.reduce((sum, bytes) => sum + bytes, 0)).toBe(7);
  expect(await store.open(`${key}.partial`, { signal, extent: "end" })).toBeUndefined();
});

describe("a server that does not keep creations apart", () => {
  const UNSUITABLE = [
    { conditions: "ignored", says: /overwrites all the same/ },
    { conditions: "sequential", says: /at once/ },
    { conditions: "unknown", says: /refuses it/ },
  ] as const;

  test.each(UNSUITABLE)("is refused at the start: conditions $conditions", async (row) => {
    await using server = await serverWith({ conditions: row.conditions });
    await expect(open(server)).rejects.toMatchObject({
      code: "usage",
      message: expect.stringMatching(row.says),
      hint: expect.stringContaining("overwrite each other in silence"),
    });
    expect(server.bucket.keys()).toEqual([]);
  });

  test.each(UNSUITABLE)("is not let in by any fault: conditions $conditions", async (row) => {
    for (const fault of HIDING.map((name) => S3_FAULTS[name])) {
      for (const at of PUTS_OF_PROBE) {
        await using server = await serverWith({ conditions: row.conditions });
        server.script = [...untroubled(at), fault];
        const isLetIn = await open(server).then(
          async (store) => {
            await using opened = store;
            return await opened.probe({ signal }).then(
              () => true,
              () => false,
            );
          },
          () => false,
        );
        expect({ fault, at, isLetIn }).toEqual({ fault, at, isLetIn: false });
      }
    }
  });
});

describe("a server that is suitable", () => {
  const NAMES = Object.keys(S3_FAULTS) as S3FaultName[];

  test.each(NAMES)("is not refused for what passes: %s", async (name) => {
    for (const start of ["empty", "marked"] as const) {
      await using server = await serverWith({});
      if (start === "marked") await (await open(server))[Symbol.asyncDispose]();
      for (let at = 0; at < 4; at += 1) {
        server.script = [...untroubled(at), S3_FAULTS[name], S3_FAULTS[name]];
        await using store = await open(server);
        server.script = [];
        await store.probe({ signal });
        if (start === "empty") server.bucket.clear();
      }
    }
  });
});

function untroubled(requests: number): undefined[] {
  return Array.from({ length: requests });
}
