import { rm } from "node:fs/promises";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { readLog } from "./child.ts";
import { eventually } from "./eventually.ts";
import type { Workspace } from "./workspace.ts";

/** What a restore_command built by hand does with an exit status of `walarc fetch`. */
export type Manner =
  /** Hands it on: what `restore_command = 'walarc fetch %f %p'` does. */
  | "faithful"
  /** Says 1 for every failure, as many scripts in the wild do. */
  | "naive";

const LAST_LINE: Readonly<Record<Manner, string>> = {
  faithful: "exit $status",
  naive: '[ "$status" = 0 ] || exit 1',
};

/**
 * A restore_command around `walarc fetch` that can hold PostgreSQL just before it asks for one
 * file, so that the weather changes in the middle of a recovery and not at some time near it; and
 * that notes what PostgreSQL asked for and what it was told.
 */
export class RestoreGate {
  readonly restoreCommand: string;
  readonly #workspace: Workspace;
  readonly #directory: string;

  private constructor(workspace: Workspace, directory: string, script: string) {
    this.#workspace = workspace;
    this.#directory = directory;
    this.restoreCommand = `${script} %f %p`;
  }

  static async build(
    workspace: Workspace,
    name: string,
    manner: Manner = "faithful",
  ): Promise<RestoreGate> {
    const directory = await workspace.makeDirectory(name);
    const script = `#!/bin/sh
: >"${directory}/running.$1"
if [ -e "${directory}/hold.$1" ]; then
  : >"${directory}/held.$1"
  while [ -e "${directory}/hold.$1" ]; do sleep 0.02; done
fi
: >"${directory}/asking.$1"
walarc fetch "$1" "$2"
status=$?
echo "$1 $status" >>"${directory}/asked"
rm -f "${directory}/running.$1"
${LAST_LINE[manner]}
`;
    const path = await workspace.writeFile(join(directory, "restore"), script, 0o755);
    return new RestoreGate(workspace, directory, path);
  }

  get #asked(): string {
    return join(this.#directory, "asked");
  }

  /** From now on a request for `name` waits; one that had come before is over. */
  async hold(name: string): Promise<void> {
    await this.#workspace.writeFile(join(this.#directory, `hold.${name}`), "");
    const [held, running] = ["held", "running"].map((what) =>
      join(this.#directory, `${what}.${name}`),
    );
    await eventually(`no request for ${name} is on its way`, () => {
      return existsSync(String(held)) || !existsSync(String(running));
    });
  }

  /**
   * Lets something happen while PostgreSQL waits for `name`, and then lets it pass. What it was
   * told before is forgotten.
   */
  async during(name: string, happening: () => Promise<void> | void): Promise<void> {
    const held = join(this.#directory, `held.${name}`);
    await eventually(`PostgreSQL asks for ${name}`, () => existsSync(held));
    await rm(this.#asked, { force: true });
    await happening();
    await rm(join(this.#directory, `hold.${name}`));
  }

  /** Resolves when `walarc fetch` runs for `name`. */
  async asking(name: string): Promise<void> {
    const asking = join(this.#directory, `asking.${name}`);
    await eventually(`walarc fetch runs for ${name}`, () => existsSync(asking));
  }

  /** The exit statuses of `walarc fetch` for `name` since something happened. */
  statuses(name: string): number[] {
    const lines = readLog(this.#asked).split("\n");
    const answers = lines.map((line) => line.split(" "));
    return answers.filter(([asked]) => asked === name).map(([, status]) => Number(status));
  }
}
