// The rows of the benchmark: a figure, its target, a verdict. A figure that cannot be had here is a row too, named.
import pc from "picocolors";

export type Row = {
  what: string;
  /** null: skipped, for the reason in `skipped`. */
  value: number | null;
  unit: string;
  target?: number;
  /** The target is to be met exactly, not at most. */
  exact?: boolean;
  skipped?: string;
};

export const rows: Row[] = [];

export function row(what: string, value: number, unit: string, target?: number, exact?: boolean): void {
  rows.push({ what, value, unit, target, exact });
}

export function skip(what: string, why: string, target?: number): void {
  rows.push({ what, value: null, unit: "", target, skipped: why });
}

export const median = (values: number[]) => [...values].sort((a, b) => a - b)[values.length >> 1];

function verdict({ value, target, exact }: Row): string {
  if (value === null || target === undefined) return "";
  return (exact ? value === target : value <= target) ? pc.green("held") : pc.red("NOT HELD");
}

export function show(): void {
  for (const one of rows) {
    const target = one.target === undefined ? "" : `${one.exact ? "=" : "<="} ${one.target}`;
    const text = one.value === null ? "skipped" : Number.isInteger(one.value) ? `${one.value}` : one.value.toFixed(2);
    const end = one.skipped ?? verdict(one);
    console.log(`${one.what.padEnd(64)} ${text.padStart(9)} ${one.unit.padEnd(6)} ${target.padEnd(9)} ${end}`);
  }
}
