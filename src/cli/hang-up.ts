/** SIGHUP: the configuration is read again. */
import type { Logger } from "pino";
import { readSettledConfig } from "../config/file.ts";
import type { Daemon } from "../daemon.ts";
import { startLoop } from "../lifecycle.ts";
import type { Supervisor } from "./supervisor.ts";

/** What a timer can wait at most: nothing but the signal wakes the loop. */
const NEVER_MS = 2 ** 31 - 1;

/** Takes the signal from its first moment on, which would otherwise end the process. */
export class HangUp {
  #isRung = false;
  #ring = () => {};

  constructor() {
    process.on("SIGHUP", () => {
      this.#isRung = true;
      this.#ring();
    });
  }

  /**
   * Reloads on every signal, also on one that came before; several count as one. `file`: where the
   * configuration is, `undefined` when the daemon has none. systemd is told when it begins and when
   * it is over, as `Type=notify-reload` wants it.
   */
  start(
    daemon: Pick<Daemon, "reload">,
    options: { file: string | undefined; supervisor: Supervisor; log: Logger },
  ): AsyncDisposable {
    const { file, supervisor, log } = options;
    const step = async () => {
      if (!this.#isRung) return;
      this.#isRung = false;
      const now = String(process.hrtime.bigint() / 1000n);
      void supervisor.tell({ RELOADING: "1", MONOTONIC_USEC: now });
      if (file === undefined) log.info("there is no configuration file to reload");
      else await daemon.reload(() => readSettledConfig(file));
      void supervisor.tell({ READY: "1" });
    };
    const loop = startLoop(step, { name: "reload", intervalMs: NEVER_MS, retryMsMax: 1000, log });
    this.#ring = () => loop.ring();
    return loop;
  }
}
