// docs/power-fail-cuts.svg: some cells of the campaign `every`, all of whose cut points fit into a picture. What is drawn is
// what the campaign's own checks saw. Where they have a finding, nothing is drawn.

import { cutPoints, type Operation } from "../campaign/cut-points.ts";
import { createSession, type Session } from "../campaign/lifetime.ts";
import { bundle } from "../campaign/suite.ts";
import { DIM, dot, INK, line, PAPER, picture, rect, text } from "./svg.ts";

const LAYOUT = "toy-two";
const START = "one";

type Panel = { scenario: string; kind: string; title: string };
/** The panels of one row lie side by side. */
const ROWS: Panel[][] = [
  [{ scenario: "update", kind: "current", title: "An update" }],
  [{ scenario: "update", kind: "rollback", title: "An update, under a bootloader with IDF's rollback" }],
  [{ scenario: "bad-image", kind: "current", title: "An update to a bad image, which then calls rollback()" }],
  [
    { scenario: "rollback", kind: "current", title: "rollback()" },
    { scenario: "markValid", kind: "current", title: "markValid()" },
    { scenario: "trial", kind: "current", title: "A trial runs out" },
  ],
];

const WIDTH = 720;
const LEFT = 20;
const PLOT = 144;
const COLUMN = 25;
const DOTS = 18;
const BETWEEN = 64;
const TOP = 98;
const HEIGHT = 170;

const small = { "font-size": 14, fill: DIM };
const middle = { "text-anchor": "middle" };

/** What is done of an operation when the power fails, in the order of TORN. */
const DONE = ["none of it", "some, in order", "some, scattered", "all of it"];

const PLACES: Record<Operation["place"], { what: string; fill: string; ink: string }> = {
  Storage: { what: "boot record", fill: "#e1e4e8", ink: INK },
  slot: { what: "the other slot", fill: "#afb8c1", ink: INK },
  otadata: { what: "otadata", fill: "#424a53", ink: PAPER },
};

function operationBox(x: number, y: number, { kind, place }: Pick<Operation, "kind" | "place">): string {
  const { fill, ink } = PLACES[place];
  const letter = kind === "erase" ? "E" : "W";
  return (
    rect(x + 1, y, COLUMN - 2, 18, { fill }) +
    text(x + COLUMN / 2, y + 14, letter, { "font-size": 13, fill: ink, ...middle })
  );
}

function endOf(operations: Operation[]): string {
  const ends = new Set(operations.flatMap(({ cuts }) => cuts.map((cut) => cut.ends)));
  return [...ends].sort().reverse().join(" or ");
}

function panel(x: number, y: number, { title }: Panel, operations: Operation[]): string[] {
  const band = y + 34 + 4 * DOTS;
  const parts = [text(x, y, title, { "font-weight": 600 }), text(x, y + 18, `in the end: ${endOf(operations)}`, small)];
  operations.forEach((operation, i) => {
    const left = x + i * COLUMN;
    const center = left + COLUMN / 2;
    operation.cuts.forEach(({ starts }, row) => void parts.push(dot(center, y + 37 + row * DOTS, starts === "new")));
    parts.push(operationBox(left, band, operation));
    if (i === 0 || (i + 1) % 5 === 0) parts.push(text(center, band + 34, String(i + 1), { ...small, ...middle }));
  });
  return parts;
}

function rowLabels(y: number): string[] {
  return [
    ...DONE.map((what, i) => text(LEFT, y + 42 + i * DOTS, what, small)),
    text(LEFT, y + 48 + 4 * DOTS, "operation", small),
    text(LEFT, y + 68 + 4 * DOTS, "its number", small),
  ];
}

function legend(y: number): string[] {
  const parts = [
    line(LEFT, y, WIDTH - LEFT, y),
    dot(LEFT + 7, y + 22, false),
    text(LEFT + 20, y + 27, "the old image starts", small),
    dot(LEFT + 197, y + 22, true),
    text(LEFT + 210, y + 27, "the new image starts", small),
    text(LEFT + 410, y + 27, "there is no point where nothing starts", small),
  ];
  let x = LEFT;
  for (const [place, { what }] of Object.entries(PLACES)) {
    parts.push(operationBox(x, y + 40, { kind: "write", place: place as Operation["place"] }));
    parts.push(text(x + COLUMN + 5, y + 54, what, small));
    x += what.length * 8 + 48;
  }
  parts.push(text(LEFT + 410, y + 54, "E: erase, W: write", small));
  return parts;
}

type Drawn = { panel: Panel; operations: Operation[] };

function draw(rows: Drawn[][]): string {
  const all = rows.flat().flatMap(({ operations }) => operations.flatMap(({ cuts }) => cuts));
  for (const { starts } of all) if (starts !== "old" && starts !== "new") throw new Error(`${starts} has no sign`);
  const parts = [
    text(
      LEFT,
      60,
      `${all.length} points at which the power fails. Each dot is a device that starts from what is left.`,
      {
        fill: DIM,
      },
    ),
  ];
  rows.forEach((row, i) => {
    const y = TOP + i * HEIGHT;
    parts.push(...rowLabels(y));
    let x = PLOT;
    for (const { panel: one, operations } of row) {
      parts.push(...panel(x, y, one, operations));
      x += operations.length * COLUMN + BETWEEN;
    }
  });
  const bottom = TOP - 10 + rows.length * HEIGHT;
  parts.push(...legend(bottom));
  return picture(
    {
      width: WIDTH,
      height: bottom + 74,
      title: "What starts after a loss of power",
      description:
        `${all.length} points at which the power fails, in ${rows.flat().length} scenarios on a small flash with two slots, ` +
        "by flash operation and by what is done of it. The old or the new image starts at each of them. That changes only " +
        "at operations on otadata.",
    },
    parts,
  );
}

async function drawn(session: Session, one: Panel): Promise<Drawn> {
  const { scenario, kind } = one;
  return { panel: one, operations: await cutPoints(session, { layout: LAYOUT, start: START, kind, scenario }) };
}

export async function drawPowerFailCuts(): Promise<string> {
  const session = createSession(bundle());
  return draw(await Promise.all(ROWS.map((row) => Promise.all(row.map((one) => drawn(session, one))))));
}
