// The pictures of the documents, and where they lie.

import { drawDemoUpdate } from "./demo-update.ts";
import { drawFleetPolling } from "./fleet-polling.ts";
import { drawPowerFailCuts } from "./power-fail-cuts.ts";

export const REMEDY = "npm run pictures draws it again";

/** Each gives the same text on every computer. */
export const DRAWINGS: Record<string, () => Promise<string>> = {
  "demo-update": drawDemoUpdate,
  "power-fail-cuts": drawPowerFailCuts,
  "fleet-polling": drawFleetPolling,
};
export const drawingFile = (name: string): URL => new URL(`../../docs/${name}.svg`, import.meta.url);

export const PHOTO = "serve-page";
export const PHOTO_FILE = new URL(`../../docs/${PHOTO}.png`, import.meta.url);
