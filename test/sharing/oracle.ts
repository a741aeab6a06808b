import { expect } from "vitest";

interface Claim {
  readonly from: number | undefined;
  /** Whether the answer said that all of it is there and stays. */
  isPromised: boolean;
  /** Something else is being said for the same claimant: which of them counts nobody knows. */
  isDisputed: boolean;
}

/** What the daemons have promised together, told by the answers alone. */
export class Oracle {
  readonly #begun = new Set<number>();
  readonly #pushed = new Set<number>();
  readonly #removed = new Set<number>();
  readonly #claims = new Map<string, Claim>();
  readonly #open = new Map<string, Set<Claim>>();

  begun(number: number): void {
    this.#begun.add(number);
  }

  pushed(number: number): void {
    this.#begun.add(number);
    this.#pushed.add(number);
  }

  /** A claimant says something new: what it was promised before does not bind any more. */
  begin(claimant: string, from: number | undefined): Claim {
    const open = this.#open.get(claimant) ?? new Set();
    this.#open.set(claimant, open);
    for (const other of open) other.isDisputed = true;
    const claim = { from, isPromised: false, isDisputed: open.size > 0 };
    open.add(claim);
    this.#claims.set(claimant, claim);
    return claim;
  }

  /** It was answered, or never will be. */
  end(claim: Claim): void {
    for (const open of this.#open.values()) open.delete(claim);
  }

  promised(claim: Claim, problem: string | undefined): void {
    // What was removed before nobody can promise; the answer has to say so.
    if (problem !== undefined || claim.from === undefined) return;
    const { from } = claim;
    if (claim.isDisputed || ![...this.#claims.values()].includes(claim)) return;
    claim.isPromised = true;
    expect(
      [...this.#removed].filter((number) => number >= from),
      "gone, and promised to be there",
    ).toEqual([]);
  }

  /** A daemon removes a segment at this moment. */
  removing(position: string): void {
    const number = Number.parseInt(position, 16);
    for (const [claimant, { from, isPromised }] of this.#claims) {
      // What is gone may be removed once more: that takes nothing from anybody.
      const isNeeded =
        isPromised && from !== undefined && number >= from && !this.#removed.has(number);
      if (isNeeded) throw new Broken(`${number} is removed, but ${claimant} needs it`);
    }
    this.#removed.add(number);
  }

  /** Everything that must still be there. */
  needed(): number[] {
    const promised = [...this.#claims.values()].filter(({ isPromised }) => isPromised);
    const from = Math.min(...promised.map(({ from = Number.POSITIVE_INFINITY }) => from));
    return [...this.#pushed].filter((number) => number >= from && !this.#removed.has(number));
  }

  all(): number[] {
    return [...this.#begun];
  }

  /** What a fetch that begins now may rely on. */
  moment(): { newest: number; pushed: ReadonlySet<number> } {
    return { newest: Math.max(...this.#pushed), pushed: new Set(this.#pushed) };
  }

  fetched(
    number: number,
    outcome: string,
    { newest, pushed }: { newest: number; pushed: ReadonlySet<number> },
  ): void {
    if (outcome === "absent") expect(number, "called absent").toBeGreaterThan(newest);
    if (outcome === "gap") {
      expect(Math.max(...this.#begun), "later than a gap").toBeGreaterThan(number);
      expect(pushed.has(number) && !this.#removed.has(number), `${number} a gap`).toBe(false);
    }
    expect(outcome).not.toBe("corrupt");
    if (outcome === "served") expect(this.#begun).toContain(number);
  }
}

class Broken extends Error {}
