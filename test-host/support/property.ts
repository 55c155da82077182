// Runs a property over generated cases (fast-check). What a run does follows from its seed, which is printed. A failure is
// shrunk to a small case, and says the seed and the path by which exactly that case is run again.

import type { TestContext } from "node:test";
import fc from "fast-check";

/** The seed in the environment variable `name`, or a fresh one. */
export function seedFrom(name: string): number {
  const given = process.env[name];
  return given ? Number(given) >>> 0 : (Math.random() * 2 ** 32) >>> 0;
}

export type PropertyOptions = {
  seed: number;
  numRuns: number;
  /** The variables of the environment that hold the seed, and the path to one case. */
  variables: { seed: string; path: string };
  /** What of a case is told when it fails. */
  show?: (one: any) => unknown;
  /** No smaller case is looked for when this time has passed since the first failure. */
  shrinkMs?: number;
};

/** Ends with an error when `property` fails for one of the cases; with a path from the environment it runs that case alone. */
export async function checkProperty<T>(
  cases: fc.Arbitrary<T>,
  property: (one: T) => Promise<void> | void,
  { seed, numRuns, variables, show = (one) => one, shrinkMs = 120_000 }: PropertyOptions,
): Promise<void> {
  let failedAt: number | undefined;
  const path = process.env[variables.path];
  const details = await fc.check(
    fc.asyncProperty(cases, async (one) => {
      if (failedAt !== undefined && performance.now() - failedAt > shrinkMs) return;
      try {
        await property(one);
      } catch (error) {
        failedAt ??= performance.now();
        throw error;
      }
    }),
    { seed: seed | 0, numRuns: path ? 1 : numRuns, path, verbose: 0, endOnFailure: path !== undefined },
  );
  if (!details.failed) return;
  const [one] = details.counterexample as [T];
  const error = details.errorInstance as Error | undefined;
  throw new Error(
    `${variables.seed}=${seed} ${variables.path}=${path ?? details.counterexamplePath} runs this case again ` +
      `(case ${details.numRuns}, shrunk ${details.numShrinks} times):\n` +
      `${JSON.stringify(show(one), null, 1)}\n${error?.stack ?? error}`,
  );
}

/** The same, as the whole of a test: seed and time are told. */
export async function holdsFor<T>(
  t: TestContext,
  cases: fc.Arbitrary<T>,
  property: (one: T) => Promise<void> | void,
  options: PropertyOptions,
): Promise<void> {
  t.diagnostic(`${options.variables.seed}=${options.seed}: ${options.numRuns} cases`);
  await checkProperty(cases, property, options);
}

/** `count` values from a seed: data that no failure makes smaller. */
export function sample<T>(values: fc.Arbitrary<T>, seed: number, count: number): T[] {
  return fc.sample(fc.noBias(values), { seed: seed | 0, numRuns: count });
}
