import { execFileSync } from "node:child_process";
import {
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Container } from "../support/container.ts";
import { copied, execForm, readDockerfile, type Stage } from "../support/dockerfile.ts";

/**
 * Where no engine and no registry of images is: the Dockerfile's own commands in a clean Debian.
 * Takes minutes and the network, so only on demand (vitest.config.ts): with "1", or with the path
 * of a root that debootstrap has made already.
 */
const WANTED = process.env["WALARC_TEST_IMAGE"] ?? "1";
const PROJECT = fileURLToPath(new URL("../..", import.meta.url));
const stages = readDockerfile(join(PROJECT, "Dockerfile"));
const CONFIG = '[server]\nlisten = ""\n\n[store]\npath = "/var/lib/walarc"\n';
const PATIENCE = { timeout: 900_000 };

describe.skipIf(WANTED === undefined)(
  "the image, built from its Dockerfile in a clean root",
  () => {
    let directory: string;
    const rootOf = (stage: string) => join(directory, stage);

    beforeAll(() => {
      directory = mkdtempSync(join(tmpdir(), "walarc-"));
      const debian = WANTED === "1" ? join(directory, "debian") : WANTED;
      if (WANTED === "1") {
        const args = ["--variant=minbase", "--include=ca-certificates", "bookworm", debian];
        execFileSync("debootstrap", args, { stdio: "ignore" });
      }
      for (const { name } of stages) {
        execFileSync("cp", ["--archive", debian, rootOf(name)]);
        // As the official images: Node and npm below /usr/local. A database's has neither.
        if (name !== "postgres") addNode(rootOf(name));
      }
    }, PATIENCE.timeout);

    afterAll(() => rmSync(directory, { recursive: true, force: true }));

    test.each(stages.map((stage) => [stage.name, stage] as const))(
      "stage %s",
      PATIENCE,
      (_name, stage) => {
        build(stage, rootOf);
        const client = join(rootOf(stage.name), "opt/walarc/dist/walarc-client");
        if (stage.name === "postgres") expect(existsSync(client)).toBe(true);
      },
    );

    test("what comes out of it serves as PID 1, with nothing but itself", async () => {
      const { instructions } = stages.at(-1)!;
      const last = (word: string) => instructions.findLast((one) => one.word === word)!;
      const path = (part: string) => join(directory, part);
      for (const part of ["base", "added/etc/walarc", "volume"]) {
        mkdirSync(path(part), { recursive: true });
      }
      // Not the image's own: other tests may have the port.
      writeFileSync(path("added/etc/walarc/walarc.toml"), CONFIG);
      const user = last("USER").text;
      chownSync(path("volume"), Number(user.split(":")[0]), Number(user.split(":")[1]));
      await using container = new Container({
        base: path("base"),
        root: rootOf("walarc"),
        added: path("added"),
        volume: path("volume"),
        user,
        command: [...execForm(last("ENTRYPOINT")), ...execForm(last("CMD"))],
        logFile: path("log"),
      });
      await container.healthy(execForm(last("HEALTHCHECK")));
      expect((await container.run(["walarc", "status"])).status).toBe(0);
      const { output } = await container.run(["id", "-un"]);
      expect(output).toBe("walarc\n");
      container.signal("SIGTERM");
      expect(await container.ended).toBe(0);
    });
  },
);

/** This Node and its npm, where the official images have theirs. */
function addNode(root: string): void {
  const npm = realpathSync(
    execFileSync("sh", ["-c", "command -v npm"], { encoding: "utf8" }).trim(),
  );
  cpSync(process.execPath, join(root, "usr/local/bin/node"));
  const target = join(root, "usr/local/lib/node_modules/npm");
  cpSync(dirname(dirname(npm)), target, { recursive: true, dereference: true });
  symlinkSync("../lib/node_modules/npm/bin/npm-cli.js", join(root, "usr/local/bin/npm"));
  // The way to the registry is this machine's.
  for (const file of ["etc/resolv.conf", "etc/ssl/certs/ca-certificates.crt"]) {
    if (existsSync(`/${file}`)) writeFileSync(join(root, file), readFileSync(`/${file}`));
  }
}

function build({ name, instructions }: Stage, rootOf: (stage: string) => string): void {
  const root = rootOf(name);
  let workDirectory = "/";
  for (const { word, text } of instructions) {
    if (word === "WORKDIR") {
      workDirectory = text;
      mkdirSync(join(root, text), { recursive: true });
    } else if (word === "COPY") {
      copy(root, workDirectory, { word, text }, rootOf);
    } else if (word === "RUN") {
      // The engine gives /proc and /dev.
      const script = `mount --rbind /dev "$0/dev" && mount -t proc proc "$0/proc" &&
        exec chroot "$0" /usr/bin/env -i HOME=/root \\
          PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \\
          NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt \\
          /bin/sh -c 'cd "$0" && eval "$1"' "$1" "$2"`;
      const args = ["--mount", "--propagation=private", "/bin/sh", "-c", script];
      execFileSync("unshare", [...args, root, workDirectory, text], { stdio: "pipe" });
    }
  }
}

/** As an engine does it: what is in a directory, under the target's name. */
function copy(
  root: string,
  workDirectory: string,
  instruction: { word: string; text: string },
  rootOf: (stage: string) => string,
): void {
  const { from, sources, target } = copied(instruction);
  for (const source of sources) {
    const path = from === undefined ? join(PROJECT, source) : join(rootOf(from), source);
    const to = join(root, target.startsWith("/") ? "" : workDirectory, target);
    const isInto = target.endsWith("/");
    mkdirSync(dirname(isInto ? join(to, "x") : to), { recursive: true });
    cpSync(path, isInto ? join(to, source) : to, { recursive: true });
  }
}
