// The flash as a picture: one line per partition, a cell per sector, or per group of sectors in a large partition.
import pc from "picocolors";
import { type Flash, type FlashOp, SECTOR } from "../sim/flash.ts";
import type { Row } from "../sim/partitions.ts";

const WIDTH = 28;

type Cell = { sign: string; paint: (text: string) => string };
const WRITTEN: Cell = { sign: "█", paint: pc.green };
const ERASED: Cell = { sign: "□", paint: pc.green };
const HELD: Cell = { sign: "▒", paint: (text) => text };
const BLANK: Cell = { sign: "·", paint: pc.dim };

const legendOf = ({ sign, paint }: Cell, text: string) => `${paint(sign)} ${text}`;

export const LEGEND = [
  [
    legendOf(WRITTEN, "written by this update (n/m: sectors)"),
    legendOf(ERASED, "erased"),
    legendOf(HELD, "as before"),
    legendOf(BLANK, "blank"),
  ].join("   "),
  `a cell is 4 KB, or 1/${WIDTH} of a larger partition`,
];

/** Numbers of the sectors that operations of one kind touched. */
function sectorsOf(ops: readonly FlashOp[], kind: FlashOp["kind"]): Set<number> {
  const sectors = new Set<number>();
  for (const op of ops) {
    if (op.kind !== kind) continue;
    const last = Math.floor((op.addr + op.length - 1) / SECTOR);
    for (let i = Math.floor(op.addr / SECTOR); i <= last; i++) sectors.add(i);
  }
  return sectors;
}

const range = (start: number, end: number) => Array.from({ length: end - start }, (_, i) => start + i);

/** One line per row, 80 columns wide at most. `notes` are put behind the row of that label. */
export function flashMap(
  flash: Flash,
  rows: readonly Row[],
  ops: readonly FlashOp[],
  notes: (label: string) => string[],
): string[] {
  const written = sectorsOf(ops, "write");
  const erased = sectorsOf(ops, "erase");
  const holds = (sector: number) => flash.peek(sector * SECTOR, SECTOR).some((byte) => byte !== 0xff);

  function cellOf(sectors: number[]): Cell {
    if (sectors.some((sector) => written.has(sector))) return WRITTEN;
    if (sectors.some((sector) => erased.has(sector))) return ERASED;
    return sectors.some(holds) ? HELD : BLANK;
  }

  /** Neighbours that are alike are painted together. */
  function paint(cells: Cell[]): string {
    let text = "";
    for (let start = 0; start < cells.length; ) {
      let end = start;
      while (cells[end] === cells[start]) end++;
      text += cells[start].paint(cells[start].sign.repeat(end - start));
      start = end;
    }
    return text + " ".repeat(WIDTH - cells.length);
  }

  function line(row: Row): string {
    const sectors = range(row.offset / SECTOR, (row.offset + row.size) / SECTOR);
    const group = Math.ceil(sectors.length / WIDTH);
    const cells: Cell[] = [];
    for (let at = 0; at < sectors.length; at += group) cells.push(cellOf(sectors.slice(at, at + group)));
    const count = sectors.filter((sector) => written.has(sector)).length;
    const all = [...notes(row.label), ...(count ? [`${count}/${sectors.length}`] : [])].join(", ");
    const offset = `0x${row.offset.toString(16).padStart(6, "0")}`;
    return `${offset} ${row.label.padEnd(8)} ${String(row.size >> 10).padStart(5)}K  ${paint(cells)}  ${all}`.trimEnd();
  }
  return rows.map(line);
}
