// The name of a case: board/start/bootloader/scenario@step.torn[+step.torn...]#seed. Steps are counted over the whole
// simulated lifetime since the last cut, the bootloader's own included.

import type { SilentFault, Torn } from "./faults.ts";

export type Cut = { step: number; torn: Torn | SilentFault };
export type Cell = { layout: string; start: string; kind: string; scenario: string };
export type Id = Cell & { cuts: Cut[]; seed: number };

export function cellName({ layout, start, kind, scenario }: Cell): string {
  return `${layout}/${start}/${kind}/${scenario}`;
}

export function idOf(cell: Cell, cuts: Cut[], seed: number): string {
  return `${cellName(cell)}@${cuts.map(({ step, torn }) => `${step}.${torn}`).join("+")}#${seed}`;
}

export function parseId(text: string): Id {
  const match = /^([^/]+)\/([^/]+)\/([^/]+)\/([^/@]+)(?:@([^#]*))?(?:#(\d+))?$/.exec(text);
  if (!match) throw new Error(`not an ID: ${text} (board/start/bootloader/scenario@step.torn+step.torn#seed)`);
  const [, layout, start, kind, scenario, cuts = "", seed = "1"] = match;
  return { layout, start, kind, scenario, cuts: cuts ? cuts.split("+").map(parseCut) : [], seed: Number(seed) };
}

function parseCut(text: string): Cut {
  const match = /^(\d+)\.([a-z]+)$/.exec(text);
  if (!match) throw new Error(`not a cut: ${text}`);
  return { step: Number(match[1]), torn: match[2] as Torn };
}
