import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { parseConfig } from "../../src/config/parser.ts";
import { copied, execForm, readDockerfile } from "../support/dockerfile.ts";

const PROJECT = fileURLToPath(new URL("../..", import.meta.url));
const COMPOSE = join(PROJECT, "config/compose");
const stages = readDockerfile(join(PROJECT, "Dockerfile"));
const daemon = stages.at(-1)!;
const all = stages.flatMap(({ instructions }) => instructions);
/** A version to its last part, or a digest. */
const PINNED = /^[\w./-]+(:v?\d+\.\d+(\.\d+)?(-\w+)*|@sha256:[0-9a-f]{64})$/;

function last(word: string): string {
  return daemon.instructions.findLast((one) => one.word === word)?.text ?? "";
}

describe("the Dockerfile", () => {
  test("builds on bases of one version each, in stages of which the daemon's is the last", () => {
    expect(stages.map(({ name }) => name)).toEqual(["build", "postgres", "walarc"]);
    for (const { base } of stages) expect(base).toMatch(PINNED);
  });

  test("copies what is there, and what .dockerignore lets through", () => {
    const ignored = readFileSync(join(PROJECT, ".dockerignore"), "utf8").split("\n");
    expect(ignored).toContain("*");
    const needed: string[] = [];
    for (const { word, text } of all) {
      if (word !== "COPY") continue;
      const { from, sources } = copied({ word, text });
      for (const source of sources) {
        const path = from === undefined ? source : source.replace(/^\/build\//, "");
        expect({ path, isThere: existsSync(join(PROJECT, path)) }).toEqual({ path, isThere: true });
        if (from === undefined) needed.push(path);
      }
    }
    const admitted = ignored.filter((line) => line.startsWith("!")).map((line) => line.slice(1));
    for (const path of needed) {
      const isLetIn = admitted.some((entry) => path === entry || path.startsWith(`${entry}/`));
      expect({ path, isLetIn }).toEqual({ path, isLetIn: true });
    }
  });

  test("runs commands that shellcheck finds right", () => {
    for (const { word, text } of all) {
      if (word !== "RUN") continue;
      const input = `#!/bin/sh\nset -e\n${text}\n`;
      const { status, stdout } = spawnSync("shellcheck", ["-"], { input, encoding: "utf8" });
      expect({ text, status, stdout }).toEqual({ text, status: 0, stdout: "" });
    }
  });

  test("ends as a user without rights, which is told by number", () => {
    expect(last("USER")).toMatch(/^[1-9]\d*:[1-9]\d*$/);
    const made = daemon.instructions.find(({ text }) => text.includes("useradd"))?.text ?? "";
    expect(made).toContain(`--uid ${last("USER").split(":")[0]} `);
  });

  test("starts walarc as PID 1, without a shell that would keep signals from it", () => {
    const command = [
      ...execForm({ word: "", text: last("ENTRYPOINT") }),
      ...execForm({ word: "", text: last("CMD") }),
    ];
    expect(command).toEqual(["walarc", "serve", "--config", "/etc/walarc/walarc.toml"]);
    expect(last("STOPSIGNAL")).toBe("SIGTERM");
  });

  test("brings a configuration that is right, and open to nobody it does not know", () => {
    const config = parseConfig(readFileSync(join(PROJECT, "config/container.toml"), "utf8"));
    expect(config.server.auth).toBe("token");
    expect(config.store).toMatchObject({ kind: "disk", path: last("VOLUME") });
    expect(last("HEALTHCHECK")).toContain(config.server.socket?.path);
    expect(config.server.listen?.port).toBe(Number(last("EXPOSE")));
  });
});

interface Service {
  readonly image?: string;
  readonly build?: { readonly context: string; readonly target: string };
  readonly volumes?: readonly string[];
  readonly ports?: readonly string[];
  readonly depends_on?: Readonly<Record<string, unknown>>;
  readonly [key: string]: unknown;
}

describe("the compose file", () => {
  const compose = readYaml("compose.yaml") as {
    services: Readonly<Record<string, Service>>;
    volumes: Readonly<Record<string, unknown>>;
  };
  const { services, volumes } = compose;

  test("has primary, standby, archive and what watches it", () => {
    const names = ["grafana", "primary", "prometheus", "standby", "walarc"];
    expect(Object.keys(services).sort()).toEqual(names);
  });

  test.each(Object.keys(services))("%s takes what is there", (name) => {
    const { image, build, volumes: mounts = [], depends_on = {}, ports = [] } = services[name]!;
    if (build === undefined) expect(image).toMatch(PINNED);
    else {
      expect(join(COMPOSE, build.context)).toBe(join(PROJECT, "."));
      expect(stages.map((stage) => stage.name)).toContain(build.target);
    }
    for (const mount of mounts) {
      const [source = ""] = mount.split(":");
      const isThere = source.startsWith(".")
        ? existsSync(join(COMPOSE, source))
        : Object.hasOwn(volumes, source);
      expect({ mount, isThere }).toEqual({ mount, isThere: true });
    }
    for (const needed of Object.keys(depends_on)) expect(Object.keys(services)).toContain(needed);
    // For trying out: to nobody but this host.
    for (const port of ports) expect(port).toMatch(/^127\.0\.0\.1:/);
  });

  test("gives the daemon no more than it needs", () => {
    const [uid, gid] = last("USER").split(":");
    expect(services["walarc"]).toMatchObject({
      read_only: true,
      cap_drop: ["ALL"],
      security_opt: ["no-new-privileges:true"],
      tmpfs: [`/run/walarc:uid=${uid},gid=${gid},mode=0750`],
    });
  });

  test("leaves the daemon the time that its configuration gives to requests", () => {
    const config = parseConfig(readFileSync(join(COMPOSE, "walarc.toml"), "utf8"));
    const graceMs = Number.parseInt(String(services["walarc"]?.["stop_grace_period"]), 10) * 1000;
    expect(graceMs).toBeGreaterThanOrEqual(config.server.shutdownGraceMs + 5000);
    const primary = JSON.stringify(services["primary"]);
    expect(primary).toContain(`http://walarc:${config.server.listen?.port}`);
  });

  test("every other file beside it is right as well", () => {
    for (const name of readdirSync(COMPOSE)) {
      if (/\.ya?ml$/.test(name)) expect(readYaml(name)).toBeTypeOf("object");
      if (!name.endsWith(".sh")) continue;
      const { status, stdout } = spawnSync("shellcheck", [join(COMPOSE, name)], {
        encoding: "utf8",
      });
      expect({ name, status, stdout }).toEqual({ name, status: 0, stdout: "" });
    }
    const scraped = readYaml("prometheus.yml") as { rule_files: string[] };
    expect(scraped.rule_files).toEqual(["walarc.rules.yml"]);
  });
});

/** Strictly: a key that comes twice is a mistake. */
function readYaml(name: string): unknown {
  const script = `
import json, sys, yaml
class Strict(yaml.SafeLoader):
    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key) for key, _ in node.value if key.value != "<<"]
        assert len(keys) == len(set(keys)), f"a key comes twice: {keys}"
        return super().construct_mapping(node, deep)
json.dump(yaml.load(open(sys.argv[1]), Strict), sys.stdout)`;
  const { status, stdout, stderr } = spawnSync(
    "/usr/bin/python3",
    ["-c", script, join(COMPOSE, name)],
    { encoding: "utf8" },
  );
  expect({ name, status, stderr }).toEqual({ name, status: 0, stderr: "" });
  return JSON.parse(stdout);
}
