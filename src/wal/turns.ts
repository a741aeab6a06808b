/** Whose turn it is to be archived. */

/**
 * The order in which PostgreSQL archives WAL files (pgarch.c): history files first, since a
 * recovery chooses its timeline by them, then by name.
 */
export function compareTurns(one: string, other: string): number {
  const [oneIsHistory, otherIsHistory] = [isHistory(one), isHistory(other)];
  if (oneIsHistory !== otherIsHistory) return oneIsHistory ? -1 : 1;
  if (one === other) return 0;
  return one < other ? -1 : 1;
}

function isHistory(text: string): boolean {
  return text.endsWith(".history");
}

/**
 * The first names in turn of any number of names, in memory for those alone: a backlog of a million
 * files must not become a million names here.
 */
export class Turns {
  readonly #limit: number;
  /** A heap: the name whose turn comes last is on top. */
  readonly #names: string[] = [];
  #passed = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** How many names were offered and came too late in turn to be kept. */
  get passed(): number {
    return this.#passed;
  }

  offer(name: string): void {
    const names = this.#names;
    if (names.length < this.#limit) {
      names.push(name);
      this.#rise(names.length - 1);
      return;
    }
    this.#passed += 1;
    if (compareTurns(name, names[0] ?? "") >= 0) return;
    names[0] = name;
    this.#sink();
  }

  /** The names kept, in turn. */
  inTurn(): string[] {
    return [...this.#names].sort(compareTurns);
  }

  #rise(from: number): void {
    for (let at = from; at > 0; ) {
      const parent = (at - 1) >> 1;
      if (!this.#isLater(at, parent)) return;
      this.#swap(at, parent);
      at = parent;
    }
  }

  #sink(): void {
    for (let at = 0; ; ) {
      const [left, right] = [2 * at + 1, 2 * at + 2];
      let latest = at;
      if (this.#isLater(left, latest)) latest = left;
      if (this.#isLater(right, latest)) latest = right;
      if (latest === at) return;
      this.#swap(at, latest);
      at = latest;
    }
  }

  #isLater(one: number, other: number): boolean {
    const [left, right] = [this.#names[one], this.#names[other]];
    return left !== undefined && right !== undefined && compareTurns(left, right) > 0;
  }

  #swap(one: number, other: number): void {
    const names = this.#names;
    [names[one], names[other]] = [names[other] as string, names[one] as string];
  }
}
