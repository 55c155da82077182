// setTimeout and its kin. As in the interpreter, timers that are due in one idle pass fire in the order they were
// made, not in the order they were due, and a timer made in a pass waits for the next one.

import { type Core, type Fn, type Timer, toInt } from "./core.ts";

const MIN_INTERVAL_MS = 0.1;
const MAX_INTERVAL_MS = 3153600000000;

export interface Timers {
  readonly globals: Record<string, Fn>;
  /** Fires what is due; true when anything was. */
  fire(pass: number): boolean;
  /** When the next one is due, on the device clock. */
  nextDueMs(): number | undefined;
  /** Moves every timer, because the clock was set rather than passed. */
  shift(deltaMs: number): void;
  count(): number;
  clear(): void;
}

export function createTimers(core: Core, currentPass: () => number): Timers {
  let list: Timer[] = [];
  let changed = false;

  function make(callback: unknown, interval: unknown, args: unknown[], repeat: boolean): number {
    if (typeof callback !== "function" && typeof callback !== "string") {
      throw core.error("Error", "Function or String not supplied!");
    }
    const asked = Number(interval);
    const intervalMs = Number.isNaN(asked) || asked < MIN_INTERVAL_MS ? 0 : asked;
    if (intervalMs > MAX_INTERVAL_MS) throw core.error("Error", "Interval is too long (>100 years)");
    const id = (list.length ? list[list.length - 1].id : 0) + 1;
    const timer: Timer = { id, dueMs: core.nowMs() + intervalMs, callback, args, pass: currentPass() };
    if (repeat) timer.intervalMs = Math.max(intervalMs, MIN_INTERVAL_MS);
    list.push(timer);
    changed = true;
    core.wake();
    return id;
  }

  function clear(args: unknown[], name: string): void {
    changed = true;
    if (args.length === 0) {
      list = [];
      return;
    }
    if (args[0] === undefined) {
      throw core.error("Error", `clear${name}(undefined) not allowed. Use clear${name}() instead`);
    }
    list = list.filter((timer) => timer.id !== toInt(args[0]) || typeof args[0] === "object");
  }

  /** One timer; false when the list changed under it. */
  function fireOne(timer: Timer): void {
    core.execute(undefined, timer.callback, timer.args);
    if (timer.intervalMs !== undefined) timer.dueMs += timer.intervalMs;
    else list = list.filter((one) => one !== timer);
  }

  return {
    globals: {
      setTimeout: core.native("setTimeout", (fn, ms, ...args) => make(fn, ms, args, false)),
      setInterval: core.native("setInterval", (fn, ms, ...args) => make(fn, ms, args, true)),
      clearTimeout: core.native("clearTimeout", (...args) => clear(args, "Timeout")),
      clearInterval: core.native("clearInterval", (...args) => clear(args, "Interval")),
    },
    fire(pass) {
      const now = core.nowMs();
      let fired = false;
      do {
        changed = false;
        for (const timer of list) {
          if (timer.dueMs > now || timer.pass === pass) continue;
          fired = true;
          fireOne(timer);
          if (core.stopped) return true;
          if (changed) break;
        }
      } while (changed);
      return fired;
    },
    nextDueMs: () => (list.length ? Math.min(...list.map((timer) => timer.dueMs)) : undefined),
    shift(deltaMs) {
      for (const timer of list) timer.dueMs += deltaMs;
    },
    count: () => list.length,
    clear() {
      list = [];
    },
  };
}
