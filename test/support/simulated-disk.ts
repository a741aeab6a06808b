import type { Chance } from "./chance.ts";

export type SimulatedNode = SimulatedFile | SimulatedDirectory;

let nextId = 1;

/** Content twice over: what a reader sees now, and what is on the disk for certain. */
export class SimulatedFile {
  readonly id = nextId++;
  content: Buffer;
  #durable: Buffer;
  /** Where pages count as written, after a failed sync, and are not. */
  #lost: { from: number; to: number }[] = [];

  constructor(durable: Buffer = Buffer.alloc(0)) {
    this.content = durable;
    this.#durable = durable;
  }

  append(bytes: Buffer): void {
    this.content = Buffer.concat([this.content, bytes]);
  }

  sync(): void {
    this.#durable = Buffer.from(this.content);
    for (const { from, to } of this.#lost) this.#durable.fill(0, from, to);
  }

  /** What a failed sync does: the pages are dropped, and the next sync succeeds without them. */
  loseUnsynced(): void {
    this.#lost.push({ from: this.#durable.length, to: this.content.length });
  }

  /** One of the contents that a crash may leave; torn, stale, right, or of zeros. */
  survivor(chance: Chance, fate: Fate): SimulatedFile {
    if (this.content.equals(this.#durable) || fate.content === "lost") {
      return new SimulatedFile(this.#durable);
    }
    if (fate.content === "kept") return new SimulatedFile(this.content);
    const torn = Buffer.from(this.content.subarray(0, chance.below(this.content.length + 1)));
    this.#durable.copy(torn);
    const zeros = Buffer.alloc(this.content.length);
    this.#durable.copy(zeros);
    return new SimulatedFile(chance.one([this.#durable, this.content, torn, zeros]));
  }
}

/** What the crash does to everything that was not synced, or that each thing has its own luck. */
interface Fate {
  readonly content: "lost" | "kept" | "mixed";
  /** How likely a change of a directory has reached the disk. */
  readonly names: number;
}

/** Names twice over, and the changes in between, each of which a crash may have let through. */
export class SimulatedDirectory {
  readonly id = nextId++;
  readonly #now: Map<string, SimulatedNode>;
  #durable: Map<string, SimulatedNode>;
  #changes: { name: string; node: SimulatedNode | undefined }[] = [];

  constructor(durable = new Map<string, SimulatedNode>()) {
    this.#now = new Map(durable);
    this.#durable = durable;
  }

  names(): string[] {
    return [...this.#now.keys()];
  }

  get(name: string): SimulatedNode | undefined {
    return this.#now.get(name);
  }

  /** Gives the name to another node, or to none. */
  set(name: string, node: SimulatedNode | undefined): void {
    put(this.#now, name, node);
    this.#changes.push({ name, node });
  }

  sync(): void {
    this.#durable = new Map(this.#now);
    this.#changes = [];
  }

  /** What a crash leaves of the tree. A file with two names stays one file. */
  survivor(chance: Chance): SimulatedDirectory {
    const fate: Fate = {
      content: chance.one(["lost", "kept", "mixed"]),
      names: chance.one([0, 0.5, 1]),
    };
    return this.#survivor(chance, fate, new Map());
  }

  #survivor(
    chance: Chance,
    fate: Fate,
    files: Map<SimulatedFile, SimulatedFile>,
  ): SimulatedDirectory {
    const names = new Map(this.#durable);
    for (const { name, node } of this.#changes) {
      if (chance.hits(fate.names)) put(names, name, node);
    }
    const survivors = new Map<string, SimulatedNode>();
    for (const [name, node] of names) {
      if (node instanceof SimulatedDirectory) {
        survivors.set(name, node.#survivor(chance, fate, files));
        continue;
      }
      const file = files.get(node) ?? node.survivor(chance, fate);
      files.set(node, file);
      survivors.set(name, file);
    }
    return new SimulatedDirectory(survivors);
  }
}

function put(
  names: Map<string, SimulatedNode>,
  name: string,
  node: SimulatedNode | undefined,
): void {
  if (node === undefined) names.delete(name);
  else names.set(name, node);
}
