// docs/demo-update.svg: the first update of `npm run demo -- --cut 3`, from what the demo prints with --json.

import path from "node:path";
import { fileURLToPath } from "node:url";
import type { Moment } from "../demo/moments.ts";
import type { UpdateRun } from "../demo/update-run.ts";
import { SECTOR } from "../sim/flash.ts";
import { plainEnvironment, runProcess } from "../support/command.ts";
import { BLUE, count, DIM, dot, element, INK, LINE, line, ORANGE, PAPER, picture, RED, rect, text } from "./svg.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const DEMO = {
  file: path.join(ROOT, "test-host/demo/demo.ts"),
  cwd: ROOT,
  env: plainEnvironment(),
  execArgv: ["--import", "tsx"],
  limitMs: 120_000,
};

const WIDTH = 720;
const LEFT = 20;
const BARS = [182, 376];
const BAR = { width: 172, height: 30 };
const RESULT = 572;
const TOP = 124;
const ROW = 62;
/** What the line of the commit takes. */
const COMMIT = 36;

const bold = { "font-weight": 600 };
const small = { "font-size": 14, fill: DIM };

async function firstUpdate(): Promise<UpdateRun> {
  const { code, stdout, stderr } = await runProcess(DEMO, ["--cut", "3", "--json"]);
  if (code !== 0) throw new Error(`the demo failed: ${stderr}`);
  return JSON.parse(stdout).steps[0];
}

function rowTexts({ what, bytes }: Moment, { to, version }: UpdateRun): [head: string, detail: string] {
  if (what === "begin") return ["Before", `${to} is blank`];
  if (what === "power lost") return ["The power is lost", `at ${count(bytes)} bytes`];
  if (what === "commit") return ["Committed", `${count(bytes)} bytes`];
  return ["Restarted", `${to} runs ${version}`];
}

/** How much of a slot is not blank. */
function slotBar(x: number, y: number, { sectors, filled }: Moment["slots"][number], isNew: boolean): string {
  const part = (filled / sectors) * BAR.width;
  const label = filled ? `${filled} of ${sectors}` : "blank";
  const isInside = part > BAR.width / 2;
  return (
    rect(x, y, BAR.width, BAR.height, { fill: "#f4f5f7", stroke: LINE }) +
    (filled ? rect(x, y, part, BAR.height, { fill: isNew ? ORANGE : BLUE }) : "") +
    text(x + 8 + (isInside ? 0 : part), y + 20, label, { "font-size": 14, fill: isInside && !isNew ? PAPER : INK })
  );
}

const cross = (x: number, y: number): string =>
  element("path", { d: `M${x - 4} ${y - 4}l8 8m0 -8l-8 8`, stroke: RED, "stroke-width": 2.5 });

/** Where connections were cut, below the bar of the slot that is written. */
const cutMarks = (y: number, { sectors }: Moment["slots"][number], cuts: number[]): string =>
  cuts.map((at) => cross(Math.round(BARS[1] + (at / SECTOR / sectors) * BAR.width), y + BAR.height + 9)).join("");

function commitLine(y: number): string {
  return (
    line(LEFT, y, WIDTH - LEFT, y, { stroke: INK, "stroke-width": 1.5, "stroke-dasharray": "6 4" }) +
    rect(BARS[0] - 8, y - 12, 388, 24, { fill: PAPER }) +
    text(BARS[0], y + 5, "The commit: one entry of otadata is written", bold)
  );
}

function draw(update: UpdateRun): string {
  const { from, to, bytes, moments, cutAt, fetched, refetched, erases } = update;
  const parts = [
    text(LEFT, 60, `npm run demo -- --cut 3: a virtual ESP32 fetches ${count(bytes)} bytes over HTTPS.`, { fill: DIM }),
    ...[from, to].map((label, i) => text(BARS[i], TOP - 30, `Slot ${label}`, bold)),
    ...BARS.map((x) => text(x, TOP - 11, "sectors with data", small)),
    text(RESULT, TOP - 30, "Starts next", bold),
    text(RESULT, TOP - 11, "after a reset now", small),
  ];
  let y = TOP;
  let before = 0;
  for (const moment of moments) {
    if (moment.what === "commit") {
      parts.push(commitLine(y + 6));
      y += COMMIT;
    }
    const [head, detail] = rowTexts(moment, update);
    parts.push(text(LEFT, y + 13, head, bold), text(LEFT, y + 32, detail, small));
    [from, to].forEach((label, i) => {
      const slot = moment.slots.find((one) => one.label === label);
      if (slot) parts.push(slotBar(BARS[i], y, slot, label === to));
      if (slot && label === to)
        parts.push(
          cutMarks(
            y,
            slot,
            cutAt.filter((at) => before <= at && at < moment.bytes),
          ),
        );
    });
    before = moment.bytes;
    const isNew = moment.starts === to;
    parts.push(dot(RESULT + 7, y + 15, isNew), text(RESULT + 22, y + 20, `${moment.starts}, ${isNew ? "new" : "old"}`));
    y += ROW;
  }
  parts.push(
    line(LEFT, y - 8, WIDTH - LEFT, y - 8),
    cross(LEFT + 6, y + 11),
    text(LEFT + 20, y + 16, "the connection is cut there", small),
    text(LEFT, y + 40, `${count(fetched)} bytes fetched: ${count(refetched)} more than the file has`, small),
    text(BARS[1], y + 16, `${erases} sectors erased; the image has ${Math.ceil(bytes / SECTOR)}`, small),
  );
  return picture(
    {
      width: WIDTH,
      height: y + 60,
      title: "An update that loses its power twice",
      description:
        `The image comes in pieces to slot ${to}: the connection is cut ${cutAt.length} times and the power is lost ` +
        `${update.powerLosses} times. Until the commit, which writes one entry of otadata, a reset starts the old image ` +
        `in slot ${from}; after it the new one in slot ${to}.`,
    },
    parts,
  );
}

export const drawDemoUpdate = async (): Promise<string> => draw(await firstUpdate());
