/** Segment numbers from `first` to `last`, both included. */
export interface SegmentRange {
  readonly first: number;
  readonly last: number;
}

/**
 * A set of segment numbers, kept as sorted ranges that neither overlap nor touch. An archive is one
 * range with few holes, so a million segments cost as much as one.
 */
export class SegmentRanges {
  readonly #ranges: SegmentRange[] = [];
  #count = 0;

  get count(): number {
    return this.#count;
  }

  /** `undefined` when empty. */
  get first(): number | undefined {
    return this.#ranges[0]?.first;
  }

  /** `undefined` when empty. */
  get last(): number | undefined {
    return this.#ranges.at(-1)?.last;
  }

  ranges(): readonly SegmentRange[] {
    return this.#ranges;
  }

  has(number: number): boolean {
    const range = this.#ranges[this.#indexFrom(number)];
    return range !== undefined && range.first <= number;
  }

  /** Adding what is there changes nothing. */
  add(number: number): void {
    const at = this.#indexFrom(number);
    const next = this.#ranges[at];
    if (next !== undefined && next.first <= number) return;

    const before = this.#ranges[at - 1];
    const joinsBefore = before?.last === number - 1;
    const joinsNext = next?.first === number + 1;
    const range = {
      first: joinsBefore ? before.first : number,
      last: joinsNext ? next.last : number,
    };
    this.#ranges.splice(joinsBefore ? at - 1 : at, Number(joinsBefore) + Number(joinsNext), range);
    this.#count += 1;
  }

  /** Removing what is not there changes nothing. */
  remove(number: number): void {
    const at = this.#indexFrom(number);
    const range = this.#ranges[at];
    if (range === undefined || range.first > number) return;

    const rest: SegmentRange[] = [];
    if (range.first < number) rest.push({ first: range.first, last: number - 1 });
    if (number < range.last) rest.push({ first: number + 1, last: range.last });
    this.#ranges.splice(at, 1, ...rest);
    this.#count -= 1;
  }

  /** What is missing from `from` to `to`, both included, as ranges; by default between the ends. */
  gaps(from = this.first, to = this.last): SegmentRange[] {
    const gaps: SegmentRange[] = [];
    if (from === undefined || to === undefined) return gaps;

    let next = from;
    for (let at = this.#indexFrom(from); next <= to; at += 1) {
      const range = this.#ranges[at];
      const last = Math.min(to, range === undefined ? to : range.first - 1);
      if (next <= last) gaps.push({ first: next, last });
      next = range === undefined ? to + 1 : range.last + 1;
    }
    return gaps;
  }

  /** Index of the first range that ends at `number` or later: the one that holds it, if any. */
  #indexFrom(number: number): number {
    let low = 0;
    let high = this.#ranges.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const range = this.#ranges[middle];
      if (range !== undefined && range.last < number) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
