// Draws where the interpreter's instructions go while an update runs, as docs/performance-flame.svg:
//   ESPRUINO=/path/to/espruino node --import tsx test-host/bench/flame.ts > docs/performance-flame.svg
// Counted as in instructions.ts: in callbacks only, two sizes of image compared. Callgrind knows callers, not whole stacks: below
// the second row a function's cost is divided among what it calls as it is in the whole run.
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { serveFile, startServer } from "../support/server.ts";
import { measure } from "./engine.ts";
import { FOLDED_FLASH, MODULE_IN_RAM, periodicImage } from "./fold.ts";
import { updateConfig } from "./speed.ts";

const SECTORS = [36, 84];
/** What reads and runs JavaScript, from the function whose cost is counted on; all that it calls is another box. */
const INTERPRETER = /^(_*js[pln]|jsiExecuteEventCallback)/;
const NATIVE = /^(gen_)?jswrap_/;

type Costs = { self: Map<string, number>; calls: Map<string, Map<string, number>> };

/** A file of callgrind: instructions of each function itself, and of each that it calls. */
function parse(text: string): Costs {
  const self = new Map<string, number>();
  const calls = new Map<string, Map<string, number>>();
  const names = new Map<string, string>();
  let [fn, callee, isCall] = ["", "", false];
  for (const line of text.split("\n")) {
    const [, key, id, name] = /^(c?fn)=\((\d+)\)(?: (.*))?$/.exec(line) ?? [];
    // clones of one function, and its recursions, are one
    if (key && name) names.set(id, name.replace(/('\d+|\.(part|constprop|isra|cold)\.?\d*)+$/, ""));
    if (key === "fn") fn = names.get(id) as string;
    else if (key) callee = names.get(id) as string;
    else if (line.startsWith("calls=")) isCall = true;
    else if (/^[\d+*-]/.test(line)) {
      const cost = Number(line.split(" ")[1] ?? 0);
      const of = calls.get(fn) ?? new Map<string, number>();
      calls.set(fn, of);
      if (!isCall) self.set(fn, (self.get(fn) ?? 0) + cost);
      else if (callee !== fn) of.set(callee, (of.get(callee) ?? 0) + cost);
      isCall = false;
    }
  }
  return { self, calls };
}

function difference(few: Map<string, number>, many: Map<string, number>, kilobytes: number): Map<string, number> {
  return new Map([...many].map(([name, cost]) => [name, Math.max(0, (cost - (few.get(name) ?? 0)) / kilobytes)]));
}

type Box = { name: string; cost: number; kind: string; inside: Box[] };

const sum = (costs: Iterable<number>) => [...costs].reduce((total, cost) => total + cost, 0);

function boxesOf({ self, calls }: Costs): Box {
  const inside = (name: string, budget: number, above: string[]): Box[] => {
    const all = [...(calls.get(name) ?? [])];
    const whole = (self.get(name) ?? 0) + sum(all.map(([, cost]) => cost));
    return all
      .filter(([callee]) => !above.includes(callee) && !INTERPRETER.test(callee))
      .map(([callee, cost]) => boxOf(callee, (cost * budget) / whole, [...above, name]));
  };
  const boxOf = (name: string, cost: number, above: string[]): Box => ({
    name,
    cost,
    kind: NATIVE.test(name) ? "native" : "helper",
    inside: above.length < 4 ? inside(name, cost, above) : [],
  });
  const own: Box[] = [];
  const called = new Map<string, number>();
  for (const [name, cost] of self) if (INTERPRETER.test(name)) own.push({ name, cost, kind: "engine", inside: [] });
  for (const [name, of] of calls)
    if (INTERPRETER.test(name))
      for (const [callee, cost] of of)
        if (!INTERPRETER.test(callee)) called.set(callee, (called.get(callee) ?? 0) + cost);
  // what a native calls back is the interpreter's again
  for (const name of called.keys()) {
    const back = [...(calls.get(name) ?? [])].filter(([callee]) => INTERPRETER.test(callee));
    called.set(name, Math.max(0, (called.get(name) ?? 0) - sum(back.map(([, cost]) => cost))));
  }
  const boxes = [...called].map(([name, cost]) => boxOf(name, cost, []));
  const natives = boxes.filter(({ kind }) => kind === "native");
  const engine = [...own, ...boxes.filter(({ kind }) => kind !== "native")];
  const total = (list: Box[]) => sum(list.map(({ cost }) => cost));
  const interpreter = { name: "the interpreter runs statements", cost: total(engine), kind: "engine", inside: engine };
  return {
    name: "callbacks of an update",
    cost: interpreter.cost + total(natives),
    kind: "root",
    inside: [interpreter, ...natives],
  };
}

const WIDTH = 1200;
const ROW = 20;
const FILL: Record<string, string> = { root: "#d8d8d8", engine: "#f2c879", native: "#9cc9e8", helper: "#c9dfae" };

function draw(root: Box): string {
  const lines: string[] = [];
  let depth = 0;
  const k = (cost: number) => `${(cost / 1000).toFixed(1)} K`;
  const put = (box: Box, x: number, level: number): void => {
    const width = (box.cost / root.cost) * (WIDTH - 20);
    if (width < 3) return;
    depth = Math.max(depth, level);
    const label = `${box.name} ${k(box.cost)}`;
    const room = Math.floor(width / 6.4) - 1;
    const text = label.length <= room ? label : room > 4 ? `${label.slice(0, room - 1)}…` : "";
    const y = 46 + level * ROW;
    lines.push(
      `<g><title>${label} per KB, ${((100 * box.cost) / root.cost).toFixed(1)} %</title>` +
        `<rect x="${x.toFixed(1)}" y="${y}" width="${(width - 0.6).toFixed(1)}" height="${ROW - 1}" fill="${FILL[box.kind]}"/>` +
        `${text ? `<text x="${(x + 3).toFixed(1)}" y="${y + 14}">${text}</text>` : ""}</g>`,
    );
    let at = x;
    for (const one of [...box.inside].sort((a, b) => b.cost - a.cost)) {
      put(one, at, level + 1);
      at += (one.cost / root.cost) * (WIDTH - 20);
    }
  };
  put(root, 10, 0);
  const height = 46 + (depth + 1) * ROW + 10;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="monospace" font-size="10.5">
<rect width="${WIDTH}" height="${height}" fill="#fafafa"/>
<g fill="#1a1a1a"><text x="10" y="18" font-size="13">Instructions of the interpreter for each KB of an image, update({ url, digest })</text>
<text x="10" y="36">The width of a box is its cost; below it is what it calls. Orange: runs JavaScript. Blue: native functions. Green: other functions.</text>
${lines.join("\n")}
</g></svg>
`;
}

const folder = mkdtempSync(join(tmpdir(), "https-ota-"));
const server = await startServer();
try {
  const runs: Costs[] = [];
  for (const sectors of SECTORS) {
    const image = periodicImage(sectors * 4096);
    server.on("/flame.bin", serveFile(image));
    const [binary, out] = [join(folder, "counted"), join(folder, `out.${sectors}`)];
    const options = `--tool=callgrind --toggle-collect=jsiExecuteEventCallback --callgrind-out-file='${out}'`;
    writeFileSync(binary, `#!/bin/sh\nexec valgrind ${options} '${process.env.ESPRUINO}' "$@"\n`);
    chmodSync(binary, 0o755);
    const config = updateConfig(server.url("/flame.bin"), image).replace("{", "{ allowStorageLoss: true,");
    await measure(
      `${FOLDED_FLASH} ${MODULE_IN_RAM}
      setTimeout(function () { ota.update(${config}).then(function () { report({}); finish(); },
        function (error) { reportError(error); finish(); }); }, 100);`,
      { binary },
    );
    runs.push(parse(readFileSync(out, "latin1")));
  }
  const [few, many] = runs;
  const kilobytes = (SECTORS[1] - SECTORS[0]) * 4;
  const calls = new Map(
    [...many.calls].map(([name, of]) => [name, difference(few.calls.get(name) ?? new Map(), of, kilobytes)]),
  );
  const self = difference(few.self, many.self, kilobytes);
  process.stderr.write(`${Math.round(sum(self.values()))} instructions per KB\n`);
  process.stdout.write(draw(boxesOf({ self, calls })));
} finally {
  await server.close();
  rmSync(folder, { recursive: true, force: true });
}
