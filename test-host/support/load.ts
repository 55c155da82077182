// Runs one file of src/, with all that it imports, in a virtual Espruino: for functions that the module does not export.

import { createEngine, type Engine } from "../sim/espruino/engine.ts";
import { createFlash } from "../sim/flash.ts";
import { buildWith } from "./mutate.ts";

export type Loaded = { engine: Engine; module: any };

/** Runs `code` as a module of a virtual Espruino that has nothing but its natives. */
export function loadInEngine(code: string): Loaded {
  const engine = createEngine({
    flash: createFlash({ size: 0x10000 }),
    board: "ESP32",
    mappings: [],
    onReboot: () => {},
  });
  engine.addModule("under test", code);
  return { engine, module: engine.require("under test") };
}

/** The exports of `file`, a path below src/. As Node runs it: `bundleEntry` of bundle.ts makes what Espruino can run. */
export const loadSource = async (file: string): Promise<Loaded> => loadInEngine(await buildWith([], file));
