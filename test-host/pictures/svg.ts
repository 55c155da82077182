// Elements of an SVG as text, and the frame that all pictures have. A picture has its own light background: GitHub shows it
// on white and on black. Colours are told apart by people who are colour-blind too (Okabe and Ito), and are never the only
// sign.

export const PAPER = "#ffffff";
export const INK = "#1b1f24";
export const DIM = "#57606a";
export const LINE = "#d0d7de";
export const BLUE = "#0072b2";
export const ORANGE = "#e69f00";
export const RED = "#b3151f";

type Attributes = Record<string, string | number | undefined>;

const ESCAPES: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
const escaped = (text: string) => text.replace(/[&<>"]/g, (sign) => ESCAPES[sign]);
/** One decimal: the same text on every computer. */
const rounded = (value: string | number) =>
  typeof value === "number" ? String(Math.round(value * 10) / 10) : escaped(value);

export function element(name: string, attributes: Attributes, ...inside: string[]): string {
  const all = Object.entries(attributes)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => ` ${key}="${rounded(value as string | number)}"`)
    .join("");
  return inside.length ? `<${name}${all}>${inside.join("")}</${name}>` : `<${name}${all}/>`;
}

export const text = (x: number, y: number, content: string, attributes: Attributes = {}): string =>
  element("text", { x, y, ...attributes }, escaped(content));

export const rect = (x: number, y: number, width: number, height: number, attributes: Attributes): string =>
  element("rect", { x, y, width, height, ...attributes });

export const line = (x1: number, y1: number, x2: number, y2: number, attributes: Attributes = {}): string =>
  element("line", { x1, y1, x2, y2, stroke: LINE, ...attributes });

/** Which image starts: the old one is a blue disc, the new one an orange ring. */
export const dot = (x: number, y: number, isNew: boolean): string =>
  element("use", { href: isNew ? "#new" : "#old", x, y });
const DOTS = element(
  "defs",
  {},
  element("circle", { id: "old", r: 6, fill: BLUE }),
  element("circle", { id: "new", r: 4.5, fill: "none", stroke: ORANGE, "stroke-width": 3 }),
);

/** 1415568 as 1,415,568, whatever the language of the computer. */
export const count = (number: number): string => String(number).replace(/\B(?=(\d{3})+$)/g, ",");

export type Frame = {
  width: number;
  height: number;
  title: string;
  /** What it shows, for those who do not see it. */
  description: string;
};

export function picture({ width, height, title, description }: Frame, parts: string[]): string {
  const font = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif";
  const open =
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" ` +
    `role="img" aria-labelledby="title description" font-family="${font}" font-size="15" fill="${INK}">`;
  return [
    open,
    element("title", { id: "title" }, escaped(title)),
    element("desc", { id: "description" }, escaped(description)),
    rect(0.5, 0.5, width - 1, height - 1, { rx: 8, fill: PAPER, stroke: LINE }),
    text(20, 34, title, { "font-size": 19, "font-weight": 600 }),
    ...(parts.some((part) => part.includes("<use ")) ? [DOTS] : []),
    ...parts,
    "</svg>\n",
  ].join("\n");
}
