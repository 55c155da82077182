// Trial boots on bootloaders without rollback: an image that `update` installed has some starts to prove itself in,
// then the slot that ran before is selected again. What it can't rescue is an image that dies before JavaScript runs.
// Source: DESIGN.md 7.

import { markValid, rollback } from "./boot";
import { after, read } from "./hal";
import { parseDesc, Size, walkSegments } from "./image";
import { Boots, recall, remember } from "./memory";
import { lastResult } from "./ota";
import { State } from "./otadata";
import type { Partition } from "./partitions";
import { selectedSlot, stateOf } from "./select";
import { type Layout, nextSlot, readEntries, readLayout } from "./slot";
import { Code, fault, guarded, ignore, type OtaError } from "./status";
import { current } from "./turn";

const ATTEMPTS = 3;

export interface BootOptions {
  /** starts that an image has to be confirmed in; 3 */
  attempts?: number;
  /** called at each start on trial, with the number of this start and of those allowed */
  onTrial?: (boots: number, attempts: number) => void;
}

/**
 * Does the image that runs still have to be confirmed, by us or by a bootloader with rollback?
 * @chapter otadata
 */
function isOnTrial(layout: Layout): boolean {
  const memory = recall();
  return (
    (memory.slot === layout.running_.label && memory.boots >= 0) ||
    stateOf(layout, layout.running_) === State.PENDING_VERIFY
  );
}

/**
 * Rolls back once no update is under way: that may write the slot to go back to, or install what replaces the running
 * image. `still`: is there still something to roll back by then?
 */
function leave(still: () => boolean, left: () => void, reject: (error: OtaError) => void): void {
  function attempt(): void {
    guarded(() => {
      if (current) current.next_ = attempt;
      else if (still()) rollback().then(left, reject);
      else left();
    }, reject);
  }
  attempt();
}

/**
 * To be called when the program starts. Counts the starts of an image on trial; after `attempts` of them without
 * `markValid()` it selects the slot that ran before and restarts. Resolves with true while the running image is on
 * trial. Writes `.https-ota` once per start on trial, and never otherwise.
 */
export function boot(options?: BootOptions): Promise<boolean> {
  return new Promise<boolean>((resolve, reject) => {
    guarded(() => {
      const given = options || {};
      const attempts = given.attempts === undefined ? ATTEMPTS : given.attempts;
      if (!(attempts >= 1)) throw fault(Code.INVALID_ARG, "attempts is no number above 0");
      const memory = recall();
      const running = memory.slot && memory.boots !== Boots.CONFIRMED ? readLayout().running_.label : "";
      if (!running || memory.slot !== running) return resolve(false);
      if (memory.boots === Boots.GIVEN_UP || memory.boots >= attempts) {
        return leave(
          () => {
            const now = recall();
            return now.slot === running && now.boots !== Boots.CONFIRMED;
          },
          () => resolve(false),
          reject,
        );
      }
      memory.boots++;
      remember(memory);
      resolve(true);
      if (given.onTrial) given.onTrial(memory.boots, attempts);
    }, reject);
  });
}

/**
 * Decides a trial: `ms` from now the running image is confirmed when `check()` returns true, and rolled back when it
 * returns anything else or throws, once no update is under way. Does nothing to an image that is confirmed already.
 * Resolves with what `check` said.
 */
export function confirmAfter(ms: number, check: () => boolean): Promise<boolean> {
  return new Promise<boolean>((resolve, reject) => {
    function decide(): void {
      if (!isOnTrial(readLayout())) return resolve(true);
      let good = false;
      guarded(() => {
        good = check() === true;
      }, ignore);
      if (good) {
        markValid();
        resolve(true);
      } else
        leave(
          () => isOnTrial(readLayout()),
          () => resolve(false),
          reject,
        );
    }
    after(ms, () => guarded(decide, reject), true);
  });
}

/** What a slot holds. */
export interface SlotStatus {
  label: string;
  /** `esp_ota_img_states_t`, undefined when otadata does not name it */
  state: number | undefined;
  /** of the app descriptor, undefined without one */
  version: string | undefined;
}

/** For remote diagnosis: what runs, what starts next, and why these may differ. Slots by their labels. */
export interface Status {
  running: string;
  boot: string;
  next: string;
  /** `esp_ota_img_states_t` of the running slot, undefined when otadata does not name it */
  state: number | undefined;
  /** of the app descriptor, undefined without one */
  version: string | undefined;
  /** highest confirmed sequence */
  sequence: number;
  /** starts so far and the slot to fall back to, null when the running image is not on trial */
  trial: { boots: number; previous: string } | null;
  /** sequence and digest of the last image that was rolled back, null when there was none */
  rolledBack: { sequence: number; digest: string } | null;
  /** all slots, the running one too */
  slots: SlotStatus[];
  /** what the last update since the start ended with: "ESP_OK", or name and message of its error; "" before the first */
  last: string;
  /** why another slot runs than the one that is selected; "" when it is the selected one */
  differs: string;
}

function whyDifferent(layout: Layout, selected: Partition): string {
  if (selected.address === layout.running_.address) return "";
  try {
    walkSegments(layout.chip_, selected.size, (offset, length) => read(selected.address + offset, length));
  } catch (thrown: any) {
    return "slot " + selected.label + " can't start: " + thrown.message;
  }
  return "not restarted since, or the bootloader refused slot " + selected.label;
}

function describe(layout: Layout, slot: Partition): SlotStatus {
  const desc = parseDesc(read(slot.address, Size.DESC_END));
  return { label: slot.label, state: stateOf(layout, slot), version: desc ? desc.version : undefined };
}

export function getStatus(): Status {
  const layout = readLayout();
  const memory = recall();
  const selected = selectedSlot(layout, readEntries(layout.otadata_));
  const running = describe(layout, layout.running_);
  const slots = layout.factory_ ? layout.ota_.concat([layout.factory_]) : layout.ota_;
  return {
    running: running.label,
    boot: selected.label,
    next: nextSlot(layout, layout.running_).label,
    state: running.state,
    version: running.version,
    sequence: memory.sequence,
    trial: isOnTrial(layout) ? { boots: Math.max(memory.boots, 0), previous: memory.previous } : null,
    rolledBack: memory.badDigest ? { sequence: memory.badSequence, digest: memory.badDigest } : null,
    slots: slots.map((slot) => describe(layout, slot)),
    last: lastResult,
    differs: whyDifferent(layout, selected),
  };
}
