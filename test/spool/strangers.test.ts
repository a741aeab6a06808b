import { execFileSync } from "node:child_process";
import {
  chmodSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { segment, SpoolScene } from "../support/spool-scene.ts";
import { MIB } from "../support/wal-maker.ts";

let scene: SpoolScene;
beforeEach(async () => {
  scene = await SpoolScene.open();
});
afterEach(async () => {
  await scene[Symbol.asyncDispose]();
});

const NAME = segment(3).name;
const outside = () => scene.elsewhere("precious");

describe("a stranger is moved aside, told of once and never deleted:", () => {
  test.each<[string, string, () => void]>([
    ["a foreign name", "foreign_name", () => writeFileSync(scene.path("notes.txt"), "x")],
    ["a compressed segment", "foreign_name", () => writeFileSync(scene.path(`${NAME}.gz`), "x")],
    [
      "a name with control characters",
      "foreign_name",
      () => writeFileSync(scene.path("a\n\u001b[31mb"), "x"),
    ],
    [
      "a name in lower case",
      "foreign_name",
      () => writeFileSync(scene.path(`00000001000000000000000a`), "x"),
    ],
    ["a link under a segment's name", "not_a_file", () => symlinkSync(outside(), scene.path(NAME))],
    ["a link that leads nowhere", "not_a_file", () => symlinkSync("/nowhere", scene.path("link"))],
    ["a directory under a segment's name", "not_a_file", () => mkdirSync(scene.path(NAME))],
    ["a pipe", "not_a_file", () => void execFileSync("mkfifo", [scene.path(NAME)])],
    [
      "a text under a segment's name",
      "rejected",
      () => writeFileSync(scene.path(NAME), "x".repeat(MIB)),
    ],
    [
      "a segment under another's name",
      "rejected",
      () => writeFileSync(scene.path(NAME), segment(4).bytes),
    ],
    [
      "a segment that is too long",
      "rejected",
      () => writeFileSync(scene.path(NAME), Buffer.concat([segment(3).bytes, Buffer.alloc(1)])),
    ],
    [
      "another cluster's segment",
      "rejected",
      () =>
        writeFileSync(
          scene.path(NAME),
          segment(3, { systemIdentifier: "7000000000000000001" }).bytes,
        ),
    ],
  ])("%s", async (_title, reason, make) => {
    writeFileSync(outside(), "precious");
    await scene.start();
    scene.put(segment(2));
    await scene.drained();
    make();
    const [name = ""] = scene.names();
    const { ino } = lstatSync(scene.path(name));
    await scene.drained();

    expect(scene.rejected()).toEqual([name]);
    expect(lstatSync(scene.path("rejected", name)).ino).toBe(ino);
    expect(readFileSync(outside(), "utf8")).toBe("precious");
    expect(scene.counted.filter((counted) => counted === reason).length).toBeGreaterThan(0);
    expect(scene.lines.filter(({ message }) => message === "set aside")).toMatchObject([
      { reason },
    ]);
    expect(scene.status).toMatchObject({ rejected: 1, lastRejected: [{ name, reason, as: name }] });
    expect(await scene.archived(NAME)).toBeUndefined();
  });

  test("another content than the archive holds, and both are there to look at", async () => {
    await scene.start();
    scene.put(segment(3));
    await scene.drained();
    const other = segment(3, { seed: "other" });
    scene.put(other);
    await scene.drained();
    expect(readFileSync(scene.path("rejected", NAME)).equals(other.bytes)).toBe(true);
    expect((await scene.archived(NAME))?.equals(segment(3).bytes)).toBe(true);
    expect(scene.counted).toEqual(["archived", "conflict", "conflict"]);
  });

  test("many under one name, each under a name of its own", async () => {
    await scene.start({ settleMs: 50 });
    for (const content of ["one", "two", "three"]) {
      writeFileSync(scene.path("notes.txt"), content);
      await scene.drained();
    }
    const contents = scene
      .rejected()
      .map((name) => readFileSync(scene.path("rejected", name), "utf8"));
    expect(contents.sort()).toEqual(["one", "three", "two"]);
  });

  test("a history file that says nothing, when nobody completes it", async () => {
    await scene.start({ settleMs: 50, incompleteAfterMs: 400 });
    writeFileSync(scene.path("00000002.history"), "no history at all\n");
    await scene.until("it is told", () => scene.status.incomplete.length === 1);
    await scene.drained();
    expect(scene.status.lastRejected).toMatchObject([{ reason: "rejected" }]);
  });

  test("a file that may not be read, in the end", async () => {
    using _rights = scene.withoutRights();
    await scene.start({ settleMs: 50, incompleteAfterMs: 400 });
    chmodSync(scene.put(segment(3)), 0);
    await scene.drained();
    expect(scene.status.lastRejected).toMatchObject([{ reason: "unreadable" }]);
  });
});

describe("what somebody is still working on is left alone:", () => {
  test.each([
    `.${NAME}.Xq3v9Z`,
    `.~tmp~`,
    `${NAME}.tmp`,
    `${NAME}.part`,
    `${NAME}.filepart`,
    `${NAME}.12345`,
    `${NAME}~`,
    "archive_status.tmp",
    ".nfs000000000012",
  ])("%s", async (name) => {
    await scene.start({ settleMs: 50, incompleteAfterMs: 300 });
    writeFileSync(scene.path(name), segment(3).bytes);
    await scene.until("it shows as abandoned", () => scene.status.abandoned.length === 1);
    expect(scene.status.abandoned).toEqual([name]);
    await delay(300);
    expect(scene.names()).toEqual([name]);
    renameSync(scene.path(name), scene.path(NAME));
    await scene.drained();
    expect((await scene.archived(NAME))?.equals(segment(3).bytes)).toBe(true);
  });
});

describe("what changes under our hands:", () => {
  test("a file swapped for a link, again and again: nothing outside is read or removed", async () => {
    writeFileSync(outside(), segment(9).bytes);
    const secret = scene.elsewhere("secret");
    writeFileSync(secret, segment(3, { seed: "secret" }).bytes);
    await scene.start({ settleMs: 10 });
    const until = performance.now() + 4000;
    let swaps = 0;
    while (performance.now() < until) {
      // In turn: a good segment, a link to WAL that is none of the spool's business.
      writeFileSync(scene.elsewhere("good"), segment(3).bytes);
      renameSync(scene.elsewhere("good"), scene.path(NAME));
      if (swaps % 3 !== 0) await delay(Math.random() * 30);
      symlinkSync(secret, scene.elsewhere("link"));
      renameSync(scene.elsewhere("link"), scene.path(NAME));
      if (swaps % 3 !== 1) await delay(Math.random() * 30);
      swaps += 1;
    }
    writeFileSync(scene.elsewhere("good"), segment(3).bytes);
    renameSync(scene.elsewhere("good"), scene.path(NAME));
    await scene.drained();
    // What had to wait for its name got it back.
    await scene.until(
      "nothing is hidden",
      () => !scene.rejected().some((name) => name.startsWith(".")),
    );
    await scene.drained();
    expect(swaps).toBeGreaterThan(50);
    expect((await scene.archived(NAME))?.equals(segment(3).bytes)).toBe(true);
    expect(readFileSync(secret).equals(segment(3, { seed: "secret" }).bytes)).toBe(true);
    for (const name of scene.rejected()) {
      expect(lstatSync(scene.path("rejected", name)).isSymbolicLink()).toBe(true);
    }
    expect(scene.counted.filter((counted) => counted === "conflict")).toEqual([]);
  });

  test("a file that takes the place of one that was just archived is not removed for it", async () => {
    const other = segment(3, { seed: "other" });
    scene.put(segment(3));
    await scene.start({
      push: async (name, body, options) => {
        const result = await scene.push(name, body, options);
        if (scene.counted.length === 0) {
          writeFileSync(scene.elsewhere("other"), other.bytes);
          renameSync(scene.elsewhere("other"), scene.path(NAME));
        }
        return result;
      },
    });
    await scene.drained();
    expect(readFileSync(scene.path("rejected", NAME)).equals(other.bytes)).toBe(true);
    expect((await scene.archived(NAME))?.equals(segment(3).bytes)).toBe(true);
  });

  test("a file that is written to while it is read is never archived half old, half new", async () => {
    const { bytes } = segment(3);
    scene.put(segment(3, { seed: "old" }));
    let pushes = 0;
    await scene.start({
      push: async (name, body, options) => {
        pushes += 1;
        if (pushes === 1) setTimeout(() => writeFileSync(scene.path(NAME), bytes), 20);
        async function* slowly() {
          for await (const chunk of body) {
            await delay(pushes === 1 ? 100 : 0);
            yield chunk;
          }
        }
        return scene.push(name, pushes === 1 ? delayed(slowly()) : body, options);
      },
    });
    await scene.drained();
    const stored = await scene.archived(NAME);
    const isWhole = stored?.equals(bytes) || stored?.equals(segment(3, { seed: "old" }).bytes);
    expect(isWhole).toBe(true);
  });

  test("a link to a file elsewhere that is a WAL file by rights is the writer's business", async () => {
    writeFileSync(outside(), segment(3).bytes);
    await scene.start();
    linkSync(outside(), scene.path(NAME));
    await scene.drained();
    expect(readFileSync(outside()).equals(segment(3).bytes)).toBe(true);
  });

  test("a socket is no file either", async () => {
    const server = createServer().listen(scene.path("socket"));
    try {
      await scene.start();
      await eventually("it is moved aside", () => scene.names().length === 0);
      // It is gone a moment before the spool has noted why.
      const { lastRejected } = await eventually("it is noted", () => {
        return scene.status.lastRejected.length > 0 && scene.status;
      });
      expect(lastRejected).toMatchObject([{ reason: "not_a_file" }]);
    } finally {
      server.close();
    }
  });
});

/** The second half of the only chunk comes late. */
async function* delayed(body: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void, void> {
  for await (const chunk of body) {
    yield chunk.subarray(0, chunk.length / 2);
    await delay(50);
    yield chunk.subarray(chunk.length / 2);
  }
}
