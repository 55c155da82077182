// Runs a scenario in the interpreter and takes no answer for granted.
import { createDevice } from "../sim/device.ts";
import { type EngineRun, runInEngine } from "../real-espruino/engine.ts";

/** Runs a scenario on a fresh board; throws what the interpreter said unless it reported and no report is an error. */
export async function measure(
  scenario: string,
  options: { bundle?: string; binary?: string } = {},
): Promise<EngineRun> {
  const run = await runInEngine(createDevice(), scenario, { timeoutMs: 600_000, ...options });
  if (!run.reports.length || run.reports.some((one) => one?.error)) throw new Error(run.output);
  return run;
}
