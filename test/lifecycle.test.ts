import { describe, expect, test } from "vitest";
import { Bell, startLoop, withDeadline } from "../src/lifecycle.ts";
import { eventually } from "./support/eventually.ts";

const quiet = { warn: () => {} };
const HOUR_MS = 3_600_000;

describe("a loop", () => {
  test("steps at once, then on a ring, and many rings count as one", async () => {
    let steps = 0;
    const step = async () => {
      steps += 1;
    };
    const options = { name: "test", intervalMs: HOUR_MS, retryMsMax: HOUR_MS, log: quiet };
    await using loop = startLoop(step, options);
    await eventually("the first step", () => steps === 1);
    for (let ring = 0; ring < 5; ring += 1) loop.ring();
    await eventually("the second step", () => steps === 2);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(steps).toBe(2);
  });

  test("steps at its interval", async () => {
    let steps = 0;
    const step = async () => {
      steps += 1;
    };
    await using _loop = startLoop(step, {
      name: "test",
      intervalMs: 5,
      retryMsMax: HOUR_MS,
      log: quiet,
    });
    await eventually("the third step", () => steps >= 3);
  });

  test("never makes two steps at once, and a ring in a step asks for another", async () => {
    let running = 0;
    let steps = 0;
    const step = async () => {
      running += 1;
      expect(running).toBe(1);
      await new Promise((resolve) => setTimeout(resolve, 20));
      running -= 1;
      steps += 1;
    };
    const options = { name: "test", intervalMs: HOUR_MS, retryMsMax: HOUR_MS, log: quiet };
    await using loop = startLoop(step, options);
    loop.ring();
    loop.ring();
    await eventually("the second step", () => steps === 2);
  });

  test("survives a failing step, says so, and does not let a ring hurry the next try", async () => {
    const lines: [object, string][] = [];
    const log = { warn: (fields: object, message: string) => void lines.push([fields, message]) };
    let steps = 0;
    const step = async () => {
      steps += 1;
      if (steps === 1) throw new Error("no luck");
    };
    const options = { name: "test", intervalMs: HOUR_MS, retryMsMax: 60, log };
    const startedAt = performance.now();
    await using loop = startLoop(step, options);
    await eventually("the failure", () => lines.length === 1, { intervalMs: 1 });
    loop.ring();
    await eventually("the second step", () => steps >= 2, { intervalMs: 1 });
    expect(performance.now() - startedAt).toBeGreaterThanOrEqual(55);
    expect(lines).toEqual([
      [expect.objectContaining({ loop: "test", failures: 1, retryMs: 60 }), "step failed"],
    ]);
  });

  test("ends its step and waits for it when it is disposed, and says nothing of that", async () => {
    let isOver = false;
    const step = async (signal: AbortSignal) => {
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
      await new Promise((resolve) => setTimeout(resolve, 20));
      isOver = true;
      throw new Error("stopped");
    };
    const log = {
      warn: () => {
        throw new Error("nothing went wrong");
      },
    };
    const options = { name: "test", intervalMs: HOUR_MS, retryMsMax: HOUR_MS, log };
    await startLoop(step, options)[Symbol.asyncDispose]();
    expect(isOver).toBe(true);
  });
});

describe("a bell", () => {
  test("keeps a ring that nobody waits for, once", async () => {
    const bell = new Bell();
    bell.ring();
    bell.ring();
    expect(await bell.heard({ deadlineMs: 0 })).toBe(true);
    expect(await bell.heard({ deadlineMs: 0 })).toBe(false);
  });

  test("wakes at once, at the deadline or at an abort", async () => {
    const bell = new Bell();
    const heard = bell.heard({ deadlineMs: HOUR_MS });
    bell.ring();
    expect(await heard).toBe(true);
    expect(await bell.heard({ deadlineMs: 1 })).toBe(false);
    expect(await bell.heard({ deadlineMs: HOUR_MS, signal: AbortSignal.abort() })).toBe(false);
    const stop = new AbortController();
    const waiting = bell.heard({ deadlineMs: HOUR_MS, signal: stop.signal });
    stop.abort();
    expect(await waiting).toBe(false);
  });
});

describe("a deadline", () => {
  const expired = () => new Error("too late");

  test("lets work through that is in time, with its result or its failure", async () => {
    const inTime = { deadlineMs: HOUR_MS, expired };
    expect(await withDeadline(async () => 1, inTime)).toBe(1);
    const failing = withDeadline(() => Promise.reject(new Error("own")), inTime);
    await expect(failing).rejects.toThrow("own");
  });

  test("ends the wait for work that hangs, and tells the work", async () => {
    let seen: AbortSignal | undefined;
    const hanging = (signal: AbortSignal) => {
      seen = signal;
      return new Promise<never>(() => {});
    };
    await expect(withDeadline(hanging, { deadlineMs: 1, expired })).rejects.toThrow("too late");
    expect(String(seen?.reason)).toContain("too late");
  });

  test("ends with the caller's reason when the caller gives up", async () => {
    const stop = new AbortController();
    const hanging = () => new Promise<never>(() => {});
    const options = { deadlineMs: HOUR_MS, expired, signal: stop.signal };
    const waiting = withDeadline(hanging, options);
    stop.abort(new Error("not needed"));
    await expect(waiting).rejects.toThrow("not needed");
    await expect(withDeadline(hanging, options)).rejects.toThrow("not needed");
  });
});
