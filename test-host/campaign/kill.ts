// The cross-check: power really fails. Instead of a snapshot, the device is stopped before or after an operation, from
// within it, and what is then in flash must be what was recorded there.

import { BUNDLE, createDevice } from "../sim/device.ts";
import { readFileSync } from "node:fs";
import { begin, find, powerOn, runProgram } from "./program-run.ts";
import { createWire } from "./wire.ts";
import { type State, stateKey, type InitialState } from "./initial-states.ts";

export type Disagreement = { op: number; phase: "before" | "after" };

const turns = async (count: number): Promise<void> => {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
};

/** One start of the device, and its orders, until the power fails at flash operation `op`. */
async function kill(initial: InitialState, from: State, orders: string[], op: number, phase: string): Promise<State> {
  const device = createDevice({
    board: initial.board,
    flash: from.snapshot,
    bootloader: initial.kind,
    engine: { connect: createWire((path) => find(initial, path), initial.pieceSize).connect },
  });
  let dead = false;
  let count = 0;
  device.flash.onOp = (_op, when) => {
    if (dead) throw new Error("the power is off");
    if (when !== phase || count++ !== op) return;
    dead = true;
    device.stop();
    throw new Error("power off");
  };
  try {
    device.boot();
    for (const order of orders) {
      const promise = begin(initial, device.engine, order);
      if (promise?.then) await device.engine.call(promise);
    }
  } catch (error) {
    if (!dead) throw error;
  }
  await turns(3);
  device.flash.onOp = null;
  const state = { snapshot: device.flash.snapshot() };
  device.stop();
  return state;
}

/** Every operation of one start, killed before and after it, against its snapshots. */
export async function compareWithKills(
  initial: InitialState,
  from: State,
  orders: string[],
): Promise<{ compared: number; disagreements: Disagreement[] }> {
  const { boot, steps, end } = powerOn(initial, from);
  const bundle = readFileSync(BUNDLE, "utf8");
  const run = await runProgram({ initial, bundle, from: end, boot, orders });
  const recorded = [...steps, ...run.steps];
  const disagreements: Disagreement[] = [];
  for (const [op, step] of recorded.entries())
    for (const phase of ["before", "after"] as const) {
      const state = await kill(initial, from, orders, op, phase);
      if (stateKey(state) !== stateKey(step[phase])) disagreements.push({ op, phase });
    }
  return { compared: 2 * recorded.length, disagreements };
}
