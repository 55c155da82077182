// docs/fleet-polling.svg: when 1000 devices look for an update after a common power cut. Above with poll() as it is built,
// below with what Math.random() gives in the same engine.

import { createDevice } from "../sim/device.ts";
import { firstLooks, serialOf } from "../support/first-looks.ts";
import { BLUE, count, DIM, line, ORANGE, picture, rect, text } from "./svg.ts";

const DEVICES = 1000;
const MINUTES = 60;
const HOUR_MS = 3_600_000;
/** Four apart, as from one reel: the ESP32 has four MAC addresses each. */
const FIRST_MAC = 0x7cdfa1e01f2c;

/** In each minute of the hour. */
function perMinute(looks: number[]): number[] {
  const counts = new Array<number>(MINUTES).fill(0);
  for (const ms of looks) counts[Math.floor((ms / HOUR_MS) * MINUTES)]++;
  return counts;
}

/** The same wait, drawn by Math.random(): the first number after a start, on a few devices, stands for all of them. */
function randomLooks(): number[] {
  const [one, ...others] = Array.from({ length: 3 }, () => {
    const device = createDevice().boot();
    const drawn = device.engine.run("Math.random()") as number;
    device.stop();
    return drawn;
  });
  if (others.some((other) => other !== one)) throw new Error("Math.random() differs from device to device");
  return new Array<number>(DEVICES).fill(one * HOUR_MS);
}

const WIDTH = 720;
const LEFT = 20;
const PLOT = { x: 92, width: 600, height: 150 };
const TOPS = [132, 390];
const small = { "font-size": 14, fill: DIM };
const bold = { "font-weight": 600 };

/** The evenest that can be, and what chance adds to it: 95 of 100 bars of a fair draw are within. */
const MEAN = DEVICES / MINUTES;
const CHANCE = 1.96 * Math.sqrt(DEVICES * (1 / MINUTES) * (1 - 1 / MINUTES));

type Axis = { most: number; step: number };

function axes(top: number, { most, step }: Axis): string[] {
  const bottom = top + PLOT.height;
  const parts: string[] = [];
  for (let value = 0; value <= most; value += step) {
    const y = bottom - (value / most) * PLOT.height;
    parts.push(line(PLOT.x, y, PLOT.x + PLOT.width, y));
    parts.push(text(PLOT.x - 8, y + 5, count(value), { ...small, "text-anchor": "end" }));
  }
  for (let minute = 0; minute <= MINUTES; minute += 10) {
    const x = PLOT.x + (minute / MINUTES) * PLOT.width;
    parts.push(text(x, bottom + 20, String(minute), { ...small, "text-anchor": "middle" }));
  }
  return [
    ...parts,
    text(PLOT.x + PLOT.width, bottom + 40, "minutes since the power came back", { ...small, "text-anchor": "end" }),
    text(LEFT, top - 16, "devices that look in each minute", small),
  ];
}

/** At the right end, above the plot. */
const note = (top: number, what: string): string =>
  text(PLOT.x + PLOT.width, top - 16, what, { ...small, "text-anchor": "end" });

function bars(top: number, { most }: Axis, counts: number[], fill: string): string[] {
  const width = PLOT.width / MINUTES;
  return counts.flatMap((number, minute) => {
    const height = (number / most) * PLOT.height;
    const x = PLOT.x + minute * width;
    return number ? [rect(x + 1, top + PLOT.height - height, width - 2, height, { fill })] : [];
  });
}

function chance(top: number, { most }: Axis): string[] {
  const y = (value: number) => top + PLOT.height - (value / most) * PLOT.height;
  const right = PLOT.x + PLOT.width;
  return [
    rect(PLOT.x, y(MEAN + CHANCE), PLOT.width, y(MEAN - CHANCE) - y(MEAN + CHANCE), { fill: "#e1e4e8" }),
    line(PLOT.x, y(MEAN), right, y(MEAN), { stroke: DIM, "stroke-dasharray": "5 4" }),
  ];
}

function draw(polled: number[], drawn: number[]): string {
  const near = { most: 40, step: 10 };
  const far = { most: DEVICES, step: 250 };
  const spike = drawn.findIndex((number) => number > 0);
  const outside = polled.filter((number) => Math.abs(number - MEAN) > CHANCE).length;
  const parts = [
    text(LEFT, 60, `${count(DEVICES)} devices start at once, and each looks for an update within an hour.`, {
      fill: DIM,
    }),
    text(LEFT, TOPS[0] - 37, `poll(): at most ${Math.max(...polled)} in a minute`, bold),
    ...axes(TOPS[0], near),
    ...chance(TOPS[0], near),
    ...bars(TOPS[0], near, polled, BLUE),
    note(TOPS[0], "dashed: even share; grey: 95 % of fair draws"),
    text(
      LEFT,
      TOPS[1] - 37,
      `Math.random() instead: all ${count(DEVICES)} in minute ${spike + 1}, at one moment`,
      bold,
    ),
    ...axes(TOPS[1], far),
    ...bars(TOPS[1], far, drawn, ORANGE),
    note(TOPS[1], `this scale is ${far.most / near.most} times as large`),
  ];
  return picture(
    {
      width: WIDTH,
      height: TOPS[1] + PLOT.height + 58,
      title: "After a common power cut",
      description:
        `Two histograms over 60 minutes. With poll() between ${Math.min(...polled)} and ${Math.max(...polled)} of ` +
        `${DEVICES} devices look in each minute; ${outside} of 60 minutes lie outside of the band of 95 % of fair ` +
        `draws. With Math.random() all of them look in minute ${spike + 1}, because its sequence is the same on every board.`,
    },
    parts,
  );
}

export async function drawFleetPolling(): Promise<string> {
  const serials = Array.from({ length: DEVICES }, (_, i) => serialOf(FIRST_MAC + 4 * i));
  return draw(perMinute(firstLooks(serials)), perMinute(randomLooks()));
}
