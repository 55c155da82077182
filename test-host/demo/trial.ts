// An image that is valid and of no use: it starts, and never says that it works. What the device makes of it, from boot
// to boot (DESIGN 7).

import type { Device } from "../device.ts";
import { type Fact, factText, restart, type Round, runningImage, runRound, type Source, tryUpdate } from "./round.ts";
import type { Screen } from "./screen.ts";

const ATTEMPTS = 3;
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
  /** What the same update comes to after that. */
  refused?: Fact;
  steps: Round[];
  error?: Fact;
};

const plain = (message: string): Fact => ({ name: null, code: null, message });
const versionOf = (device: Device): string | null => device.boots.at(-1)?.image?.version ?? null;

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
      screen.line(`start ${start}: boot() has had enough of it, and selects the slot that ran before`);
      restart(device, false, screen);
      return start;
    }
    const { trial, state } = device.ota.getStatus();
    screen.line(`start ${trial?.boots} of ${ATTEMPTS} (state ${state ?? "none"}): markValid() is never called`);
    if (restart(device, false, screen) !== running) return start;
  }
  throw new Error(`still on trial after ${MOST_STARTS} starts`);
}

function judge(trial: Trial, installed: string | null): Fact | undefined {
  if (trial.to !== trial.from) return plain(`${trial.to ?? "nothing"} runs in the end, ${trial.from} did before`);
  if (trial.back !== installed) return plain(`${trial.to} holds version ${trial.back} now, ${installed} before`);
  if (!trial.refused) return plain("the image that was rolled back was installed once more");
  return trial.refused.name === "ESP_ERR_NOT_ALLOWED" ? undefined : trial.refused;
}

export async function runTrial(device: Device, source: Source, screen: Screen): Promise<Trial> {
  const installed = versionOf(device);
  const round = await runRound(device, source, screen);
  const trial: Trial = {
    from: round.from,
    tried: round.to,
    to: round.to,
    version: round.version,
    back: null,
    starts: 0,
    attempts: ATTEMPTS,
    steps: [round],
    error: round.error,
  };
  if (trial.error) return trial;
  screen.heading(`${device.running} is on trial: ${ATTEMPTS} starts to call markValid() in`);
  trial.starts = await startUntilGivenUp(device, screen);
  trial.to = device.running;
  trial.back = versionOf(device);
  screen.success(`${trial.to} runs ${runningImage(device)} again`);
  screen.line(`getStatus(): ${JSON.stringify(device.ota.getStatus())}`);

  screen.heading("The same update once more");
  trial.refused = await tryUpdate(device, source, screen);
  if (trial.refused) screen.success(`refused: ${factText(trial.refused)}`);
  trial.error = judge(trial, installed);
  return trial;
}
