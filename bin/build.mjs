/**
 * Builds dist/: walarc.cjs and client.cjs, which PostgreSQL starts for every WAL file and which are
 * small for that reason, commands.cjs with everything else but the AWS SDK, which is bucket.cjs,
 * walarc-client, which needs no Node, and walarc-call, which asks whether a client is needed.
 * All are CommonJS: an ES module that imports Node's own modules by name starts 30 ms later.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { builtinModules } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));

/** The runtime's own variables, which the standalone client shall not listen to. */
const SEALED_VARIABLES = [
  "BUN_BE_BUN",
  "BUN_OPTIONS",
  "BUN_INSPECT",
  "BUN_INSPECT_CONNECT_TO",
  "BUN_INSPECT_PRELOAD",
];
const USAGE_STATUS = 2;
const BUN_ARCHITECTURES = { x64: "x64", arm64: "aarch64" };

const common = {
  absWorkingDir: root,
  bundle: true,
  platform: "node",
  format: "cjs",
  define: { WALARC_VERSION: JSON.stringify(version) },
  // Loaded by their packages when they are there, which they are not.
  external: ["pg-native", ...builtinModules],
  legalComments: "none",
  logLevel: "warning",
  write: false,
};

/** In the standalone client there is nothing to load: a stub says so. */
const noCommands = {
  name: "no-commands",
  setup({ onResolve }) {
    const path = join(root, "src/standalone.ts");
    onResolve({ filter: /^\.\/commands\.ts$/ }, () => ({ path }));
  },
};

/** What costs the standalone client its time are Node's modules: src/standalone/ has leaner ones. */
const LEAN_MODULES = {
  "node:child_process": "child-process.ts",
  "node:crypto": "crypto.ts",
  "node:net": "net.ts",
  "node:os": "os.ts",
  "node:path": "path.ts",
  "node:timers/promises": "timers-promises.ts",
  "node:util": "arguments.ts",
};

const leanModules = {
  name: "lean-modules",
  setup({ onResolve }) {
    onResolve({ filter: /^node:/ }, ({ path }) => {
      if (!Object.hasOwn(LEAN_MODULES, path)) return undefined;
      return { path: join(root, "src/standalone", LEAN_MODULES[path]) };
    });
  },
};

/** What main.ts loads only when it is asked for stays a file of its own. */
const commandsApart = {
  name: "commands-apart",
  setup({ onResolve }) {
    onResolve({ filter: /^\.\/commands\.ts$/ }, () => ({ path: "./commands.cjs", external: true }));
  },
};

/** The AWS SDK, which a daemon with a disk store never loads, stays a file of its own. */
const bucketApart = {
  name: "bucket-apart",
  setup({ onResolve }) {
    onResolve({ filter: /^\.\/s3\/bucket\.ts$/ }, () => ({ path: "./bucket.cjs", external: true }));
  },
};

const client = await build({
  ...common,
  entryPoints: ["src/main.ts"],
  outfile: "dist/client.cjs",
  target: "node20",
  plugins: [commandsApart],
});
const commands = await build({
  ...common,
  entryPoints: ["src/commands.ts"],
  outfile: "dist/commands.cjs",
  target: "node24",
  // Node has it; esbuild's own rendering rethrows in a loop what an earlier turn has thrown.
  supported: { using: true },
  plugins: [bucketApart],
});
const bucket = await build({
  ...common,
  entryPoints: ["src/store/s3/bucket.ts"],
  outfile: "dist/bucket.cjs",
  target: "node24",
  minifySyntax: true,
  minifyWhitespace: true,
});
const standalone = await build({
  ...common,
  entryPoints: ["src/main.ts"],
  outfile: "dist/standalone.cjs",
  target: "node20",
  plugins: [noCommands, leanModules],
});
const entry = {
  path: join(root, "dist/walarc.cjs"),
  contents: readFileSync(join(root, "bin/entry.cjs")),
};

// A rename each, the entry last: a command that starts during a build finds old files or new ones.
mkdirSync(join(root, "dist"), { recursive: true });
const outputFiles = [client, bucket, commands].flatMap((built) => built.outputFiles);
for (const { path, contents } of [...outputFiles, entry]) {
  const temporary = `${path}.${process.pid}`;
  writeFileSync(temporary, contents);
  renameSync(temporary, path);
}

buildStandalone(standalone.outputFiles[0].contents);
buildCall();

/**
 * dist/walarc-client: the client and a runtime in one file, which starts in a fraction of Node's
 * time. The runtime comes as an optional package with a binary for most processors; where there is
 * none, or it does not run, bin/walarc uses Node for every command.
 */
function buildStandalone(code) {
  const target = join(root, "dist/walarc-client");
  const bun = join(root, `node_modules/@oven/bun-linux-${BUN_ARCHITECTURES[process.arch]}/bin/bun`);
  const source = join(root, `dist/standalone.${process.pid}.cjs`);
  const temporary = `${target}.${process.pid}`;
  if (!existsSync(bun)) {
    rmSync(target, { force: true });
    console.warn("dist/walarc-client not built: the package @oven/bun-linux-* is not installed");
    return;
  }
  writeFileSync(source, code);
  try {
    // Without the last flags it would read .env and bunfig.toml in PostgreSQL's data directory.
    const flags = ["--minify", "--no-compile-autoload-dotenv", "--no-compile-autoload-bunfig"];
    // It is over before any compilation of its code would pay.
    flags.push("--compile-jit-policy=10000");
    const args = ["build", "--compile", "--format=cjs", "--bytecode", ...flags, source];
    execFileSync(bun, [...args, "--outfile", temporary], { stdio: "pipe" });
    seal(temporary);
    execFileSync(temporary, ["--version"], { stdio: "pipe" });
    renameSync(temporary, target);
  } catch (error) {
    rmSync(target, { force: true });
    console.warn(`dist/walarc-client not built: ${error.message}`);
  } finally {
    rmSync(source, { force: true });
    rmSync(temporary, { force: true });
  }
}

/**
 * dist/walarc-call: asks a process beside the server whether a call is done, before bin/walarc starts
 * a client for it. Where it cannot be built or run, the client is started each time. Only static: it
 * starts in half the time, and where libraries are older than those that it was built with, glibc's
 * loader ends with 1 (rtld.c), which a recovery takes for the end of the WAL.
 */
function buildCall() {
  const target = join(root, "dist/walarc-call");
  const temporary = `${target}.${process.pid}`;
  const source = join(root, "bin/walarc-call.c");
  const flags = ["-O2", "-s", "-static", "-Wall", "-Wextra", "-Werror"];
  try {
    execFileSync("cc", [...flags, "-o", temporary, source], { stdio: "pipe" });
    execFileSync(temporary, ["no-such-place", "/bin/true", "push"], { stdio: "pipe" });
    renameSync(temporary, target);
  } catch (error) {
    rmSync(target, { force: true });
    const why = error.code === "ENOENT" ? "there is no C compiler (cc)" : error.message;
    console.warn(`dist/walarc-call not built: ${why}; every call starts a client`);
  } finally {
    rmSync(temporary, { force: true });
  }
}

/**
 * Takes from the runtime the names of the variables with which it would do something else than push
 * or fetch: BUN_OPTIONS=--version ends every push with 0, and BUN_BE_BUN every fetch with 1. As it
 * cannot be told to ignore them, it now looks for names that no variable has. What is left tunes or
 * traces its engine (BUN_JSC_*), or changes any program (LD_PRELOAD).
 */
function seal(path) {
  const bytes = readFileSync(path);
  for (const name of SEALED_VARIABLES) {
    const text = `\0${name}\0`;
    const at = bytes.indexOf(text);
    if (at < 0 || bytes.indexOf(text, at + 1) >= 0) throw new Error(`where is ${name}?`);
    bytes.write("=", at + 1);
  }
  writeFileSync(path, bytes);
  for (const [name, value] of [
    ["BUN_BE_BUN", "1"],
    ["BUN_OPTIONS", "--version"],
  ]) {
    const { status } = spawnSync(path, ["push"], { env: { [name]: value } });
    if (status !== USAGE_STATUS) throw new Error(`${name} ends a push with ${status}`);
  }
}
