// Lines and columns for people.
import pc from "picocolors";

/** A name and its value, indented below the line that names the file. */
export const field = (name: string, text: string) => `  ${pc.dim(name.padEnd(11))} ${text}`;

/** Columns as wide as their widest cell; the first line is the head. */
export function columns(cells: string[][], indent = "  "): string[] {
  const widths = cells[0].map((_, i) => Math.max(...cells.map((line) => line[i].length)));
  return cells.map((line, i) => {
    const text =
      indent +
      line
        .map((cell, k) => cell.padEnd(widths[k]))
        .join("  ")
        .trimEnd();
    return i ? text : pc.dim(text);
  });
}
