// Bytes over time of one download, as SVG.
import type { Download } from "../api.ts";
import { svgElement } from "./dom.ts";
import { bytesText, countText } from "./texts.ts";

const LEAST_WIDTH = 280;
const HEIGHT = 150;
const LEFT = 58;
const RIGHT = 12;
const TOP = 10;
const BOTTOM = 24;
const STEPS = [1, 2, 5];

/** A round number that divides `most` into at most four parts. */
function stepOf(most: number): number {
  for (let power = 10 ** Math.floor(Math.log10(most / 4)); ; power *= 10)
    for (const step of STEPS) if (step * power * 4 >= most) return step * power;
}

function marks(most: number): number[] {
  const step = stepOf(most);
  return Array.from({ length: Math.floor(most / step) + 1 }, (_, i) => i * step);
}

const sizeText = (kb: number) => (!kb ? "0" : kb >= 1000 ? `${kb / 1000} MB` : `${Number(kb.toFixed(2))} KB`);

/** `room`: px for it */
export function chartOf(download: Download, fileName: string, room: number): SVGElement {
  const width = Math.max(LEAST_WIDTH, room);
  const { points, size, duration, position } = download;
  const seconds = Math.max(duration / 1000, 0.5);
  const kb = Math.max(size / 1000, 0.1);
  const x = (s: number) => LEFT + ((width - LEFT - RIGHT) * s) / seconds;
  const y = (k: number) => HEIGHT - BOTTOM - ((HEIGHT - TOP - BOTTOM) * k) / kb;
  const label = `${fileName}: ${countText(position)} of ${bytesText(size)} in ${(duration / 1000).toFixed(1)} s`;
  const chart = svgElement("svg", {
    class: "chart",
    viewBox: `0 0 ${width} ${HEIGHT}`,
    role: "img",
    "aria-label": label,
  });
  for (const mark of marks(kb)) {
    chart.append(svgElement("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(mark), y2: y(mark) }));
    chart.append(svgElement("text", { x: LEFT - 6, y: y(mark) + 4, "text-anchor": "end" }, sizeText(mark)));
  }
  for (const mark of marks(seconds)) {
    const text = `${Number(mark.toFixed(2))} s`;
    chart.append(svgElement("text", { x: x(mark), y: HEIGHT - 6, "text-anchor": "middle" }, text));
  }
  const at = points.map(([ms, bytes]) => `${x(ms / 1000).toFixed(1)},${y(bytes / 1000).toFixed(1)}`);
  if (at.length) {
    const end = x((points.at(-1)?.[0] ?? 0) / 1000).toFixed(1);
    const start = x((points[0]?.[0] ?? 0) / 1000).toFixed(1);
    const ground = y(0).toFixed(1);
    chart.append(
      svgElement("polygon", { class: "area", points: `${start},${ground} ${at.join(" ")} ${end},${ground}` }),
    );
    chart.append(svgElement("polyline", { class: "line", points: at.join(" ") }));
  }
  return chart;
}
