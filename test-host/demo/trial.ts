// An image that is valid and of no use: it starts, and never says that it works. What the device makes of it, from boot
// to boot (docs/design.md#trial-boots).

import { inspect } from "node:util";
import type { Device } from "../sim/device.ts";
import {
  type Fact,
  factText,
  restart,
  type UpdateRun,
  runningImage,
  runningVersion,
  runUpdate,
  type Source,
  tryUpdate,
} from "./update-run.ts";
import { createSilence, type Screen } from "./screen.ts";

const ATTEMPTS = 3;
/** What counts as bad is known to src/boot/boot-record.ts: an image whose starts ran out so often. */
const MOST_TRIALS = 3;
const MOST_STARTS = 3 * ATTEMPTS;

export type Trial = {
  /** The slot that ran at first, the one on trial, and the one that runs in the end; null when nothing boots. */
  from: string;
  tried: string | null;
  to: string | null;
  /** Versions of the image on trial, and of the one that runs in the end. */
  version: string | null;
  back: string | null;
  /** Starts of the image on trial, and how many it was given. */
  starts: number;
  attempts: number;
  /** How often it was installed and given up, before it was refused. */
  trials: number;
  /** What the same update comes to after that. */
  refused?: Fact;
  steps: UpdateRun[];
  error?: Fact;
};

const plain = (message: string): Fact => ({ name: null, code: null, message });

/** The program's first line, `boot({ attempts: 3 })`. False: it rolled the image back, and restarts. */
async function startProgram(device: Device): Promise<boolean> {
  const options = device.engine.run(`({ attempts: ${ATTEMPTS} })`);
  try {
    return await device.engine.call<boolean>(device.ota.boot(options));
  } catch (error) {
    if (device.rebootAsked) return false;
    throw error;
  }
}

/** Starts the image again and again, until the module has had enough of it. Returns how often it was started. */
async function startUntilGivenUp(device: Device, screen: Screen): Promise<number> {
  const { running } = device;
  for (let start = 1; start <= MOST_STARTS; start++) {
    if (!(await startProgram(device))) {
      screen.text(`start ${start}: boot() has had enough of it, and selects the slot that ran before`);
      restart(device, false, screen);
      return start;
    }
    const { trial, state } = device.ota.getStatus();
    screen.text(`start ${trial?.boots} of ${ATTEMPTS} (state ${state ?? "none"}): markValid() is never called`);
    if (restart(device, false, screen) !== running) return start;
  }
  throw new Error(`still on trial after ${MOST_STARTS} starts`);
}

function verdictOf(trial: Trial, installed: string | null): Fact | undefined {
  if (trial.to !== trial.from) return plain(`${trial.to ?? "nothing"} runs in the end, ${trial.from} did before`);
  if (trial.back !== installed) return plain(`${trial.to} holds version ${trial.back} now, ${installed} before`);
  if (!trial.refused) return plain("the image that was rolled back was installed once more");
  return trial.refused.name === "ESP_ERR_NOT_ALLOWED" ? undefined : trial.refused;
}

export async function runTrial(device: Device, source: Source, screen: Screen): Promise<Trial> {
  const installed = runningVersion(device);
  const updateRun = await runUpdate(device, source, screen);
  const trial: Trial = {
    from: updateRun.from,
    tried: updateRun.to,
    to: updateRun.to,
    version: updateRun.version,
    back: null,
    starts: 0,
    attempts: ATTEMPTS,
    trials: 1,
    steps: [updateRun],
    error: updateRun.error,
  };
  if (trial.error) return trial;
  screen.heading(`${device.running} is on trial: ${ATTEMPTS} starts to call markValid() in`);
  trial.starts = await startUntilGivenUp(device, screen);
  trial.to = device.running;
  trial.back = runningVersion(device);
  screen.success(`${trial.to} runs ${runningImage(device)} again`);
  const status = inspect(JSON.parse(JSON.stringify(device.ota.getStatus())), { depth: null, breakLength: 72 });
  screen.line(`getStatus(): ${status.replaceAll("\n", "\n  ")}`);

  screen.heading("The same update again");
  screen.text("losses of power may have ended those starts, so the image gets another trial");
  while (trial.trials < MOST_TRIALS) {
    const next = await runUpdate(device, source, createSilence());
    trial.error = next.error;
    if (trial.error) return trial;
    await startUntilGivenUp(device, createSilence());
    trial.trials++;
    screen.success(`trial ${trial.trials}: installed and rolled back, ${device.running} runs ${runningImage(device)}`);
  }
  trial.to = device.running;
  trial.back = runningVersion(device);

  screen.heading("The same update once more");
  trial.refused = await tryUpdate(device, source, screen);
  if (trial.refused) screen.success(`refused: ${factText(trial.refused)}`);
  trial.error = verdictOf(trial, installed);
  return trial;
}
