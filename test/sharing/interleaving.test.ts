import { setImmediate } from "node:timers/promises";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { WalarcError } from "../../src/errors.ts";
import { segment, segmentText } from "../retention/stage.ts";
import { Daemon, fill, openStore } from "./daemons.ts";
import { Oracle } from "./oracle.ts";

/*
 * Two daemons and whoever uses them, side by side, in random order: PostgreSQL that archives, a
 * recovery that fetches, a standby, an operator, retention, and daemons that die or stand still
 * before any operation. An oracle knows what each answer has promised.
 */

type Act =
  | { do: "push" | "prune" | "die" | "pause" | "go on" | "look" }
  | { do: "fetch" | "report" | "hold" | "release"; number: number };

const LEASE_MS = 20;

const act: fc.Arbitrary<Act> = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom<Act>({ do: "push" }, { do: "prune" }, { do: "prune" }) },
  { weight: 1, arbitrary: fc.constantFrom<Act>({ do: "die" }, { do: "pause" }, { do: "look" }) },
  { weight: 1, arbitrary: fc.constant<Act>({ do: "go on" }) },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constantFrom("fetch" as const, "report" as const, "hold" as const, "release" as const),
      number: fc.integer({ min: -8, max: 4 }),
    }),
  },
);
const script = fc.array(fc.record({ act, delay: fc.nat(6), at: fc.nat(12) }), {
  minLength: 4,
  maxLength: 14,
});

test("two daemons keep what either of them promised, whatever happens side by side", async () => {
  const property = fc.asyncProperty(script, script, async (one, other) => {
    const world = await World.make();
    await Promise.all([world.live("a", one), world.live("b", other)]);
    await world.settle();
  });
  await fc.assert(property, { numRuns: 80, endOnFailure: false });
}, 120_000);

class World {
  readonly #store;
  readonly #oracle = new Oracle();
  readonly #daemons = new Map<string, Daemon>();
  /** Those that stand still, and how they go on. */
  readonly #paused = new Map<Daemon, () => void>();
  readonly #work: Promise<unknown>[] = [];
  #next = 11;

  private constructor(store: Awaited<ReturnType<typeof openStore>>) {
    this.#store = store;
  }

  static async make(): Promise<World> {
    const store = await openStore();
    const numbers = Array.from({ length: 10 }, (_, index) => index + 1);
    await fill(
      store,
      numbers.map((number) => segmentText(number)),
    );
    const world = new World(store);
    for (const number of numbers) world.#oracle.pushed(number);
    await world.#start("a");
    await world.#start("b");
    return world;
  }

  async live(name: string, script: readonly { act: Act; delay: number; at: number }[]) {
    for (const { act, delay, at } of script) {
      for (let turn = 0; turn < delay; turn += 1) await setImmediate();
      await this.#act(name, act, at);
    }
  }

  /** Ends all pauses, and lets a last prune see whether anything was lost. */
  async settle(): Promise<void> {
    for (const goOn of this.#paused.values()) goOn();
    await Promise.all(this.#work);
    const last = await this.#start("c");
    await last.prune();
    const listed = new Set(await last.listed());
    for (const number of this.#oracle.needed()) expect(listed).toContain(segmentText(number));
    for (const number of this.#oracle.all()) {
      this.#oracle.fetched(number, await last.fetch(segmentText(number)), this.#oracle.moment());
    }
    await Promise.all([...this.#daemons.values()].map((daemon) => daemon[Symbol.asyncDispose]()));
  }

  async #act(name: string, act: Act, at: number): Promise<void> {
    const daemon = this.#daemons.get(name);
    if (daemon === undefined) throw new Error(`no daemon ${name}`);
    if (act.do === "die") await this.#die(name, daemon, at);
    else if (act.do === "pause") this.#pause(daemon, at);
    else if (act.do === "go on") this.#paused.get(daemon)?.();
    else {
      const work = this.#do(daemon, act).catch((error: unknown) => {
        if (!(error instanceof WalarcError)) throw error;
      });
      this.#work.push(work);
      // What stands still answers later; who asked it does something else.
      if (!this.#paused.has(daemon)) await Promise.race([work, patience()]);
    }
  }

  async #do(daemon: Daemon, act: Act): Promise<void> {
    const oracle = this.#oracle;
    if (act.do === "push") {
      const number = (this.#next += 1);
      oracle.begun(number);
      await daemon.push(segment(number));
      oracle.pushed(number);
    } else if (act.do === "prune") {
      await daemon.prune();
    } else if (act.do === "look") {
      await daemon.look();
    } else if ("number" in act) {
      await this.#doAt(daemon, act.do, Math.max(1, this.#next + act.number));
    }
  }

  async #doAt(
    daemon: Daemon,
    what: "fetch" | "report" | "hold" | "release",
    number: number,
  ): Promise<void> {
    const oracle = this.#oracle;
    if (what === "fetch") {
      const moment = oracle.moment();
      oracle.fetched(number, await daemon.fetch(segmentText(number)), moment);
      return;
    }
    const claimant = what === "report" ? "s1" : "h";
    const claim = oracle.begin(claimant, what === "release" ? undefined : number);
    try {
      if (what === "release") await daemon.release("h");
      else oracle.promised(claim, await this.#claim(daemon, what, number));
    } finally {
      oracle.end(claim);
    }
  }

  /** Resolves to what the answer warns of. */
  async #claim(daemon: Daemon, what: "report" | "hold", number: number) {
    if (what === "hold") return (await daemon.hold("h", number))?.problem;
    await daemon.report("s1", number);
    return daemon.problemOf("s1");
  }

  #pause(daemon: Daemon, at: number): void {
    if (this.#paused.has(daemon)) return;
    const gate = Promise.withResolvers<void>();
    let left = at;
    this.#paused.set(daemon, () => {
      this.#paused.delete(daemon);
      gate.resolve();
    });
    this.#watch(daemon, async () => {
      if ((left -= 1) < 0) await gate.promise;
    });
  }

  async #die(name: string, daemon: Daemon, at: number): Promise<void> {
    let left = at;
    this.#watch(daemon, () => {
      if ((left -= 1) < 0) throw new WalarcError("store-failed", "this daemon is dead");
    });
    this.#paused.get(daemon)?.();
    await setImmediate();
    await this.#start(name);
  }

  async #start(name: string): Promise<Daemon> {
    const daemon = await Daemon.start(this.#store, { leaseMs: LEASE_MS });
    this.#daemons.set(name, daemon);
    await daemon.retention;
    this.#watch(daemon, () => {});
    return daemon;
  }

  #watch(daemon: Daemon, disturb: () => Promise<void> | void): void {
    daemon.view.before = async (operation, key) => {
      await disturb();
      if (operation === "remove-all") this.#oracle.removing(key.slice(-16));
    };
  }
}

async function patience(): Promise<void> {
  for (let turn = 0; turn < 200; turn += 1) await setImmediate();
}
