// What a device is asked to do while its power fails, and what may come of it. The table below is the promise: the
// tests, the runner and docs/power-fail.md all read it here.

import type { Result, ProgramRun } from "./program-run.ts";
import { KINDS, targetOf, type InitialState } from "./initial-states.ts";

/** Names of images: "old" ran before, "new" and "first" came by update, a slot's label is the stale image in it. */
export type Outcome = { boots: string[]; ends: string[] };

export type View = {
  initial: InitialState;
  /** Name of the image that runs, its slot, and whether the bootloader fell back to it. */
  image: string;
  running: string;
  fellBack: boolean;
  /** What the program did since the power failed, newest last. */
  runs: ProgramRun[];
  /** false: nothing has been cut yet. */
  retry: boolean;
};

export type Scenario = {
  name: string;
  what: string;
  /** What happens before, uncut; `share`: and is cut after this share of its steps. */
  prepare?: { orders: string[]; share?: number };
  /** The program's orders after a start; null: nothing is left to do. */
  next(view: View): string[] | null;
  allowed: Outcome;
  /** Under a bootloader with rollback, where that differs: it ends the trial of an image at the next start. */
  underRollback?: Partial<Outcome>;
  /** What orders may fail with. */
  refusal?: RegExp;
  /** Starts after the end that must lead to the same image; [without, with] rollback. Default: [1, 0]. */
  stays?: [number, number];
  /** What the engine may print of an exception of the program's own. */
  prints?: RegExp;
  /** An order that may be refused may also be accepted. */
  accepted?: true;
  applies?(initial: InitialState): boolean;
  /** Its images are spoiled: under more bootloaders than others. */
  spoilsImages?: true;
};

/** The last thing that the program was told. */
const lastOf = (runs: ProgramRun[]): Partial<Result> => runs.at(-1)?.results.at(-1) ?? {};

const emptyOrBroken = (initial: InitialState): string =>
  initial.fellBack ? (initial.selected as string) : targetOf(initial, initial.running).label;

const INSTALLED = ["update:new"];
const oldOrNew = ["old", "new"];
const ALL_OTA = ["ota_0", "ota_1", "ota_2"];

const untilNew =
  (...orders: string[]) =>
  ({ image }: View) =>
    image === "new" ? null : orders;

/** At first from a server that spoils the image, then from one that does not. */
const firstSpoiled =
  (order: string) =>
  ({ image, runs }: View) =>
    image === "new" ? null : [runs.length ? "update:new" : order];

/** A fault of the server is noticed before otadata matters, so a few starting states are enough. */
const someStarts = (initial: InitialState): boolean => ["blank", "one", "fallen", "past"].includes(initial.start);
/** How the image comes does not depend on the starting state either, and signatures take long: one is enough. */
const oneStart = (initial: InitialState): boolean => initial.start === "one";

const spoilt = (name: string, what: string, order: string, refusal: RegExp): Scenario => ({
  name,
  what,
  next: firstSpoiled(order),
  allowed: { boots: oldOrNew, ends: ["new"] },
  refusal,
  applies: someStarts,
  spoilsImages: true,
});

const VALIDATE = /^ESP_ERR_OTA_VALIDATE_FAILED/;
/** What is done to an image: mutations of images.ts. */
const ADDRESSES = ["loadAddressBit22", "loadAddressBit31", "loadAddressBit0", "loadAddressStack"];

export const SCENARIOS: readonly Scenario[] = [
  {
    name: "update",
    what: "an image is installed; the device restarts",
    next: untilNew("update:new"),
    allowed: { boots: oldOrNew, ends: ["new"] },
  },
  {
    name: "resumed",
    what: "an update goes on with what a cut one has left in the slot",
    prepare: { orders: INSTALLED, share: 0.6 },
    next: untilNew("update:new"),
    allowed: { boots: oldOrNew, ends: ["new"] },
  },
  {
    name: "resumed-alike",
    what: "the same, but the slot holds part of another file with the same first kilobyte",
    prepare: { orders: ["update:alike"], share: 0.75 },
    next: untilNew("update:new"),
    allowed: { boots: oldOrNew, ends: ["new"] },
  },
  {
    name: "second",
    what: "a second update before the restart replaces the first",
    next: ({ image, retry }) => {
      if (image === "new") return null;
      // an image on trial by the bootloader has to be confirmed before the next one
      if (image === "first") return ["markValid", "update:new!"];
      return retry ? ["update:new!"] : ["update:first!", "update:new!"];
    },
    allowed: { boots: ["old", "first", "new"], ends: ["new"] },
  },
  {
    name: "markValid",
    what: "the image that an update brought is confirmed",
    prepare: { orders: INSTALLED },
    next: ({ image, runs }) => (image === "old" || runs.length ? null : ["markValid"]),
    allowed: { boots: ["new"], ends: ["new"] },
    underRollback: { boots: oldOrNew, ends: oldOrNew },
    stays: [2, 2],
  },
  {
    name: "rollback",
    what: "the image that an update brought is given up by the program",
    prepare: { orders: INSTALLED },
    next: ({ image, runs }) => (image === "new" && runs.length < 3 ? ["rollback"] : null),
    allowed: { boots: oldOrNew, ends: ["old"] },
    stays: [2, 2],
  },
  {
    name: "trial",
    what: "boot({attempts: 2}) at every start of an image that never confirms itself",
    prepare: { orders: INSTALLED },
    next: ({ runs }) => (lastOf(runs).ok === "false" ? null : ["boot:2"]),
    allowed: { boots: oldOrNew, ends: ["old"] },
    stays: [2, 2],
  },
  {
    name: "bad-image",
    what: "an image that its program finds bad, offered again and again: installed, rolled back, and refused from then on",
    next({ image, runs }) {
      if (image === "old") return lastOf(runs).error ? null : ["boot:2", "update:new~"];
      return ["rollback"];
    },
    allowed: { boots: oldOrNew, ends: ["old"] },
    refusal: /^ESP_ERR_NOT_ALLOWED/,
    accepted: true,
    stays: [2, 2],
  },
  {
    name: "given-up",
    what: "an image is installed that never confirms itself, as one that crashes: boot({attempts: 2}) gives it up",
    next({ image, runs }) {
      const { order, ok, error } = lastOf(runs);
      if (image === "old") return order === undefined || (order === "update:new~" && !error) ? ["update:new~"] : null;
      return ok === "false" ? null : ["boot:2"];
    },
    allowed: { boots: oldOrNew, ends: ["old"] },
    // a chain of cuts gives it up often enough
    refusal: /^ESP_ERR_NOT_ALLOWED/,
    accepted: true,
    stays: [2, 2],
    applies: (initial) => !initial.kind.rollback,
  },
  {
    name: "on-trial",
    what: "an image that is not confirmed yet brings the next one, over the slot that it would fall back to",
    prepare: { orders: INSTALLED },
    next: ({ image }) => (image === "first" ? null : ["boot:99", "update:first"]),
    allowed: { boots: ["new", "first"], ends: ["first"] },
    applies: (initial) => !initial.kind.rollback,
  },
  {
    name: "confirmed-late",
    what: "an image brings the next one, and confirms itself after that and before the restart: the next one starts",
    prepare: { orders: INSTALLED },
    next: ({ image }) => (image === "first" ? null : ["boot:99", "update:first", "markValid"]),
    allowed: { boots: ["new", "first"], ends: ["first"] },
    applies: (initial) => !initial.kind.rollback,
  },
  {
    name: "confirmed",
    what: "boot() at every start, and markValid() in the first: the trial is passed",
    prepare: { orders: INSTALLED },
    next: ({ image, runs }) => (image === "old" || runs.length ? null : ["boot:99", "markValid"]),
    allowed: { boots: ["new"], ends: ["new"] },
    underRollback: { boots: oldOrNew, ends: oldOrNew },
    stays: [2, 2],
  },
  {
    name: "confirmAfter",
    what: "confirmAfter() whose check returns true: the image that an update brought is confirmed",
    prepare: { orders: INSTALLED },
    next: ({ image, runs }) => (image === "old" || runs.length ? null : ["boot:99", "confirm:yes"]),
    allowed: { boots: ["new"], ends: ["new"] },
    underRollback: { boots: oldOrNew, ends: oldOrNew },
    stays: [2, 2],
  },
  ...["no", "throws"].map(
    (check): Scenario => ({
      name: `confirmAfter-${check}`,
      what: `confirmAfter() whose check ${check === "no" ? "returns false" : "throws"}: the image is rolled back`,
      prepare: { orders: INSTALLED },
      next: ({ image, runs }) => (image === "new" && runs.length < 3 ? ["boot:99", `confirm:${check}`] : null),
      allowed: { boots: oldOrNew, ends: ["old"] },
      stays: [2, 2],
      applies: check === "no" ? undefined : oneStart,
      // and once more for each promise that settles in the same pass: the engine's promises take a pending error over
      prints: check === "no" ? undefined : /^uncaught Error: (Unhandled promise rejection: Error: )*no\b/,
    }),
  ),
  {
    name: "foreign",
    what: "an image on trial gets another than the one whose digest is known, refuses it, and is then to be rolled back: to nothing, for there are two slots only",
    prepare: { orders: INSTALLED },
    next: ({ image, runs }) =>
      image === "old" ? null : ([["boot:99", "update:alike~other"], ["rollback~"]][runs.length] ?? null),
    // to the image before, where the update failed before it touched the slot
    allowed: { boots: oldOrNew, ends: oldOrNew },
    refusal: /^ESP_ERR_OTA_(VALIDATE|ROLLBACK)_FAILED/,
    accepted: true,
    stays: [2, 2],
    applies: ({ kind, slots }) => !kind.rollback && slots.length === 2,
  },
  {
    name: "by-hand",
    what: "an update by begin(), perform() and finish()",
    next: untilNew("hand:new"),
    allowed: { boots: oldOrNew, ends: ["new"] },
    applies: oneStart,
  },
  {
    name: "signed",
    what: "an update by a signed manifest",
    next: untilNew("signed:new"),
    allowed: { boots: oldOrNew, ends: ["new"] },
    applies: oneStart,
  },
  {
    name: "signed-bad",
    what: "a release whose program finds it bad, offered again and again: rolled back, and refused from then on",
    next({ image, runs }) {
      if (image === "old") return lastOf(runs).error ? null : ["boot:2", "signed:new~"];
      return ["rollback"];
    },
    allowed: { boots: oldOrNew, ends: ["old"] },
    refusal: /^ESP_ERR_NOT_ALLOWED/,
    accepted: true,
    stays: [2, 2],
    applies: oneStart,
  },
  {
    name: "signed-replay",
    what: "a release is confirmed, and the one before it is offered again: refused, at every moment",
    prepare: { orders: ["signed:new"] },
    next: ({ image, runs }) => (image === "old" || runs.length ? null : ["boot:99", "markValid", "signed:first~"]),
    allowed: { boots: ["new"], ends: ["new"] },
    refusal: /^ESP_ERR_OTA_SMALL_SEC_VER/,
    stays: [2, 2],
    applies: (initial) => oneStart(initial) && !initial.kind.rollback,
  },
  ...["factory", "ota_0", "ota_1", "ota_2"].map(
    (label): Scenario => ({
      name: `setBoot:${label}`,
      what: `setBootPartition(${label})`,
      next: ({ running, fellBack }) => (running === label && !fellBack ? null : [`setBoot:${label}`]),
      allowed: { boots: ["old", label], ends: [label] },
      applies: (initial) =>
        initial.slots.some((slot) => slot.label === label) &&
        (initial.start !== "blank" || initial.running === label) &&
        !initial.broken.includes(label),
    }),
  ),
  {
    name: "chosen-twice",
    what: "setBootPartition of one slot, then of another before the restart, which a bootloader with rollback gives up",
    next({ initial, image, runs }) {
      if (image !== "old") return initial.kind.rollback ? ["boot:99"] : null;
      return runs.length
        ? null
        : ALL_OTA.filter((label) => label !== initial.running).map((label) => `setBoot:${label}`);
    },
    allowed: { boots: ["old", ...ALL_OTA], ends: ALL_OTA },
    underRollback: { ends: ["old"] },
    applies: ({ slots, running, fellBack, start }) =>
      start !== "blank" && !fellBack && running !== "factory" && slots.some((slot) => slot.label === "ota_2"),
  },
  {
    name: "refused",
    what: "setBootPartition of a slot that is empty or broken",
    next: ({ initial, runs }) => (runs.length ? null : [`setBoot:${emptyOrBroken(initial)}~`]),
    allowed: { boots: ["old"], ends: ["old"] },
    refusal: VALIDATE,
    applies: (initial) => initial.start === "blank" || initial.fellBack,
  },
  spoilt("corrupt", "a bit of the image is wrong; its digest is known", "update:new~corrupt", VALIDATE),
  spoilt(
    "corrupt-insecure",
    "a bit of the image is wrong, and only its checksum tells",
    "update:new~corrupt!",
    VALIDATE,
  ),
  {
    name: "corrupt-address",
    what: "bits of a load address are wrong, of which the checksum tells nothing, and bootloaders of IDF 3 die",
    next: ({ image, runs }) =>
      image === "new" ? null : [ADDRESSES[runs.length] ? `update:new~${ADDRESSES[runs.length]}!` : "update:new"],
    allowed: { boots: oldOrNew, ends: ["new"] },
    refusal: VALIDATE,
    applies: someStarts,
    spoilsImages: true,
  },
  spoilt("other", "another whole image is served than the one whose digest is known", "update:new~other", VALIDATE),
  {
    name: "refused-again",
    what: "the slot holds an image, and another one with the same first sector comes than the one whose digest is known: refused",
    prepare: { orders: ["update:new", "setBoot:ota_0"] },
    next: ({ runs }) => (runs.length ? null : ["update:first~alike"]),
    allowed: { boots: oldOrNew, ends: ["old"] },
    refusal: VALIDATE,
    applies: (initial) =>
      oneStart(initial) && initial.slots.length === 2 && initial.running === "ota_0" && !initial.kind.rollback,
  },
  spoilt("truncated", "the file is short, and the server says so", "update:new~cut", VALIDATE),
  spoilt("lost", "the connection ends too early", "update:new~short", /^ESP_ERR_HTTP_INCOMPLETE_DATA/),
  {
    name: "other-storage",
    what: "an image is offered that would not find the program's files: refused",
    next: ({ runs }) => (runs.length ? null : ["update:new~"]),
    allowed: { boots: ["old"], ends: ["old"] },
    refusal: /^ESP_ERR_NOT_SUPPORTED: Storage would be lost/,
    applies: ({ start }) => start === "moved",
  },
  {
    name: "extra",
    what: "more bytes come than the server announced",
    next: untilNew("update:new~extra"),
    allowed: { boots: oldOrNew, ends: ["new"] },
    applies: someStarts,
  },
];

/** The scenarios that a power loss interrupts, and those that a server spoils: campaigns treat them alike. */
export function scenarioOf(name: string): Scenario {
  const found = SCENARIOS.find((one) => one.name === name);
  if (!found) throw new Error(`no scenario ${name}`);
  return found;
}

/** Those whose records matter where Storage makes them hard to write. */
const RECORDED =
  /^(update|resumed|second|markValid|rollback|trial|bad-image|given-up|on-trial|confirm.*|signed.*|setBoot:ota_1)$/;

export function applies(scenario: Scenario, initial: InitialState): boolean {
  if (initial.storage && initial.kind !== KINDS.idf33)
    return RECORDED.test(scenario.name) && (scenario.applies?.({ ...initial, start: "one" }) ?? true);
  if (initial.kind === KINDS.idf33 && !scenario.spoilsImages) return false;
  if (initial.start === "moved") return scenario.name === "other-storage";
  return scenario.applies?.(initial) ?? true;
}

/** What may start at any moment and what must run in the end, from this initial state. */
export function allowedIn(scenario: Scenario, initial: InitialState): Outcome {
  const rollback = initial.kind.rollback ? scenario.underRollback : undefined;
  const { boots, ends } = { ...scenario.allowed, ...rollback };
  // what runs already counts as "old"
  const own = (names: string[]) => names.map((name) => (name === initial.running ? "old" : name));
  return { boots: own(boots), ends: own(ends) };
}
