/**
 * Builds dist/: walarc.cjs and client.cjs, which PostgreSQL starts for every WAL file and which are
 * small for that reason, and commands.cjs with everything else. All are CommonJS: an ES module that
 * imports Node's own modules by name starts 30 ms later.
 */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { builtinModules } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));

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

/** What main.ts loads only when it is asked for stays a file of its own. */
const commandsApart = {
  name: "commands-apart",
  setup({ onResolve }) {
    onResolve({ filter: /^\.\/commands\.ts$/ }, () => ({ path: "./commands.cjs", external: true }));
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
});
const entry = {
  path: join(root, "dist/walarc.cjs"),
  contents: readFileSync(join(root, "bin/entry.cjs")),
};

// A rename each, the entry last: a command that starts during a build finds old files or new ones.
mkdirSync(join(root, "dist"), { recursive: true });
for (const { path, contents } of [...client.outputFiles, ...commands.outputFiles, entry]) {
  const temporary = `${path}.${process.pid}`;
  writeFileSync(temporary, contents);
  renameSync(temporary, path);
}
