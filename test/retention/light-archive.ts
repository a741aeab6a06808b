import { pino } from "pino";
import { DEFAULT_POLICY, type RetentionPolicy } from "../../src/retention/policy.ts";
import { Retention } from "../../src/retention/retention.ts";
import { ServiceTime } from "../../src/retention/service-time.ts";
import type { ReportSource } from "../../src/retention/standby.ts";
import { DiskStore } from "../../src/store/disk.ts";
import { Catalog } from "../../src/wal/catalog.ts";
import { type PlacedName, requireWalName } from "../../src/wal/name.ts";
import { removableNames } from "../../src/wal/retention.ts";
import { MIB } from "../support/wal-maker.ts";
import { SimulatedFileSystem } from "../support/simulated-file-system.ts";
import { segmentText, signal } from "./stage.ts";

export interface LightOptions {
  readonly policy?: Partial<RetentionPolicy>;
  readonly standbys?: readonly string[];
}

/**
 * Retention with an archive that is names alone, and a clock that stands still until it is moved.
 * What retention writes down lies on a simulated disk.
 */
export class LightArchive {
  readonly catalog = new Catalog();
  /** What the clock of this process says; a new process begins anywhere. */
  clockMs = 0;
  readonly logged: string[] = [];
  /** Called once, while the next batch is being removed. */
  inBatch: (() => void) | undefined;
  retention!: Retention;
  readonly #disk = new SimulatedFileSystem();
  #store: DiskStore | undefined;

  static async open(options: LightOptions = {}): Promise<LightArchive> {
    const archive = new LightArchive();
    archive.catalog.bindSegmentSize(MIB);
    await archive.start(options);
    return archive;
  }

  async start({ policy, standbys = [] }: LightOptions): Promise<void> {
    this.#store = await DiskStore.open("/store", { fileSystem: this.#disk });
    const owner = {
      name: "main",
      store: this.#store,
      catalog: this.catalog,
      log: pino({}, { write: (text: string) => this.logged.push(text) }),
      relearn: async () => {},
      relearnEnds: async () => {},
      discard: async (names: readonly PlacedName[]) => {
        this.inBatch?.();
        this.inBatch = undefined;
        for (const name of names) this.catalog.remove(name);
      },
    };
    this.retention = new Retention(owner, {
      policy: { ...DEFAULT_POLICY, keepBackups: 0, ...policy },
      standbys: new Map(standbys.map((name): [string, ReportSource] => [name, "report"])),
      daemon: "light",
      time: new ServiceTime(() => this.clockMs),
    });
    await this.retention.register.load({ signal });
  }

  /** As a clean stop does it; a kill does not. */
  async stop(how: "clean" | "kill" = "clean"): Promise<void> {
    if (how === "clean") await this.retention.register.save({ signal, atOnce: true });
    await this.#store?.[Symbol.asyncDispose]();
  }

  /** Puts other content under `clusters/main/`; between a stop and a start. */
  async damage(path: string, content: string): Promise<void> {
    const file = await this.#disk.create("/store/damage");
    await file.write(Buffer.from(content));
    await this.#disk.rename("/store/damage", `/store/clusters/main/${path}`);
  }

  /** Time passes, and the daemon looks at its clock as often as it does. */
  pass(ms: number): void {
    for (let left = ms; left > 0; left -= 1000) {
      this.clockMs += Math.min(left, 1000);
      this.retention.register.tick();
    }
  }

  add(number: number): void {
    this.catalog.add(requireWalName(segmentText(number)));
    this.retention.register.arrived(number);
  }

  async report(standby: string, number: number): Promise<void> {
    const told = { source: "report", signal } as const;
    await this.retention.register.report(standby, segmentText(number), told);
  }

  async hold(name: string, number: number, until: Date | undefined): Promise<void> {
    await this.retention.register.putHold(name, { from: segmentText(number), until, signal });
  }

  /** The highest number that a prune would remove now, 0 for none. */
  async removableTo(): Promise<number> {
    const plan = await this.retention.plan({ signal });
    const names = [...removableNames(plan)];
    return Number.parseInt(names.at(-1)?.text.slice(8) ?? "0", 16);
  }
}
