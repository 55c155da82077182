// The guards of the module. Each is taken away once, by an edit of its source, and each names where that is noticed:
// in a cell of the power-loss campaigns, in a scenario, or in the real interpreter when memory is short. An edit whose
// text is not in the source exactly once fails its test, so a guard that is rewritten gets a new edit.

import type { Campaign } from "../campaign/runner.ts";
import type { Edit } from "../support/mutate.ts";
import * as scenarios from "./scenarios.ts";

/** The campaign of that name, run in the cell, says this of the mutant. */
type InCampaign = { cell: string; campaign: Campaign["name"]; says: RegExp };
/** The scenario throws. */
type InScenario = { scenario: scenarios.Scenario };
/** In the real interpreter an update does this when so many JsVars are free, from its flash operation `at` on. */
type InEngine = { free: number; at?: number; says: RegExp };

export type Mutant = {
  /** What holds while the guard is there. */
  guard: string;
  edits: Edit[];
  caught: (InCampaign | InScenario | InEngine)[];
};

/** A mutant at each place of the kind that has the field. */
function caughtIn<Place>(field: string): (Mutant & { place: Place })[] {
  return MUTANTS.flatMap((mutant) =>
    mutant.caught.filter((place) => field in place).map((place) => ({ ...mutant, place: place as Place })),
  );
}
export const caughtInCampaigns = () => caughtIn<InCampaign>("cell");
export const caughtInScenarios = () => caughtIn<InScenario>("scenario");
export const caughtInEngine = () => caughtIn<InEngine>("free");

const every = (cell: string, says: RegExp): InCampaign => ({ cell, campaign: "every", says });
const faults = (cell: string, says: RegExp): InCampaign => ({ cell, campaign: "faults", says });

export const MUTANTS: readonly Mutant[] = [
  // --- which slot starts
  {
    guard: "a slot is selected after its image was verified",
    edits: [
      {
        file: "boot/boot-selection.ts",
        from: "eraseActive(layout.otadata_!.address + last * Flash.SECTOR);",
        to: "eraseActive(layout.otadata_!.address + last * Flash.SECTOR);\n  select(layout, target, State.NEW);",
      },
    ],
    caught: [
      every("toy-two/one/current/update", /falls back from ota_1/),
      { free: 300, at: 30, says: /what is selected is not the image|is not bootable/ },
    ],
  },
  {
    guard: "a selected slot is deselected before it is written",
    edits: [{ file: "update/receiver.ts", from: "deselect(layout, target);", to: "" }],
    caught: [
      every("toy-two/one/current/second", /falls back from ota_1/),
      { scenario: scenarios.cutImageForSelectedSlot },
    ],
  },
  {
    guard: "no entry names a slot that is about to be written",
    edits: [
      { file: "boot/boot-selection.ts", from: "if (names(layout, entries[1 - last], target))", to: "if (false)" },
    ],
    caught: [every("toy-two/two-0/current/update", /an entry names ota_1, which holds no whole image/)],
  },
  {
    guard: "a deselected slot gives way to the running one",
    edits: [
      {
        file: "boot/boot-selection.ts",
        from: "if (selected !== layout.running_.address && !left)",
        to: "if (false)",
      },
    ],
    caught: [every("toy-factory-two/alone/current/update", /boots factory/)],
  },
  {
    guard: "a broken slot does not stay selected during an update",
    edits: [
      {
        file: "boot/boot-selection.ts",
        from: "if (selected !== layout.running_.address && !left)",
        to: "if (selected === target.address && !left)",
      },
    ],
    caught: [every("toy-factory-two/past/current/given-up", /ends in new/)],
  },
  {
    guard: "the entry of the running slot is kept",
    edits: [
      {
        file: "boot/boot-selection.ts",
        from: "const copy = copyToKeep(layout, entries) === 0 ? 1 : 0;",
        to: "const copy = copyToKeep(layout, entries) === 0 ? 0 : 1;",
      },
    ],
    caught: [
      every("toy-factory-two/one/current/update", /boots factory/),
      { scenario: scenarios.entryOfTheRunningSlot },
    ],
  },
  {
    guard: "the running slot's entry is kept, not the active one",
    edits: [
      {
        file: "boot/boot-selection.ts",
        from: "const keep = copyOf(layout, entries, layout.running_);",
        to: "const keep = -1;",
      },
    ],
    caught: [every("toy-three/two-1/rollback/chosen-twice", /ends in|comes to no end/)],
  },
  {
    guard: "for factory the active copy is erased last",
    edits: [
      {
        file: "boot/boot-selection.ts",
        from: "(markedBad ? copyToKeep(layout, entries) : activeCopy(entries)) === 1 ? 1 : 0;",
        to: "(markedBad ? copyToKeep(layout, entries) : activeCopy(entries)) === 1 ? 0 : 1;",
      },
    ],
    caught: [
      every("toy-factory-two/two-0/current/setBoot:factory", /boots ota_1/),
      { scenario: scenarios.selectionOfFactory },
    ],
  },
  {
    guard: "states count only where the bootloader obeys them",
    edits: [{ file: "boot/boot-selection.ts", from: "own >= 0 &&\n", to: "false &&\n" }],
    caught: [every("toy-two/aborted/idf3/update", /boots ota_0/)],
  },
  {
    guard: "a sequence number is the next that names its slot",
    edits: [{ file: "boot/otadata.ts", from: "return next < ERASED ? next : 0;", to: "return next + 1;" }],
    caught: [every("toy-two/one/current/update", /comes to no end/)],
  },
  {
    guard: "a sequence number names the selected slot",
    edits: [
      {
        file: "boot/otadata.ts",
        from: " + ((index - slotOfSeq(seq + 1, count) + count) % count)",
        to: "",
      },
    ],
    caught: [every("toy-three/two-1/current/setBoot:ota_0", /boots ota_2/)],
  },
  {
    guard: "markValid() confirms the entry of the running slot",
    edits: [
      {
        file: "boot/confirmation.ts",
        from: "writeEntry(layout, 1 - copy, seqFor(layout, entries, layout.running_), State.VALID);",
        to: `const other = layout.ota_.filter((slot) => slot.address !== layout.running_.address)[0];
  writeEntry(layout, 1 - copy, seqFor(layout, entries, other), State.VALID);`,
      },
    ],
    caught: [every("toy-two/one/current/markValid", /old/)],
  },
  {
    guard: "markValid() erases the old entry after the new one is whole",
    edits: [
      {
        file: "boot/confirmation.ts",
        from: "writeEntry(layout, 1 - copy, seqFor(layout, entries, layout.running_), State.VALID);",
        to: "const seq = seqFor(layout, entries, layout.running_);",
      },
      {
        file: "boot/confirmation.ts",
        from: "erase(layout.otadata_!.address + copy * Flash.SECTOR);",
        to: "erase(layout.otadata_!.address + copy * Flash.SECTOR);\n  writeEntry(layout, 1 - copy, seq, State.VALID);",
      },
    ],
    caught: [every("toy-two/one/current/markValid", /boots old/)],
  },
  {
    guard: "setBootPartition() verifies the image in the slot",
    edits: [
      {
        file: "boot/ota-ops.ts",
        from: 'verifyImage(layout.chip_, slot.address, slot.size, "", "", (failure) => {',
        to: "((done: (failure: null) => void) => done(null))((failure) => {",
      },
    ],
    caught: [every("toy-two/fallen/current/refused", /was accepted/)],
  },

  // --- what is written
  {
    guard: "the running slot is never written",
    edits: [
      {
        file: "update/plan.ts",
        from: "label === undefined ? nextSlot(layout, layout.running_) :",
        to: "label === undefined ? layout.running_ :",
      },
      { file: "update/plan.ts", from: "if (target.address === layout.running_.address)", to: "if (false)" },
      { file: "update/slot-writer.ts", from: "if (slot.address === layout.running_.address)", to: "if (false)" },
    ],
    caught: [
      every("toy-two/one/current/update", /while ota_0 runs|nothing boots/),
      { scenario: scenarios.updateOfTheRunningSlot },
    ],
  },
  {
    guard: "a write is read back",
    edits: [{ file: "platform/flash-blocks.ts", from: "if (!holds(addr, bytes))", to: "if (false)" }],
    caught: [
      faults("toy-two/one/current/setBoot:ota_1", /was reported as done/),
      { scenario: scenarios.lostWriteToOtadata },
    ],
  },
  {
    guard: "an erase is read back",
    edits: [
      { file: "platform/flash-blocks.ts", from: "if (!isBlank(addr)) throw", to: "if (false) throw" },
      { file: "platform/flash.ts", from: "if (!holds(addr, BLANK))", to: "if (false)" },
    ],
    caught: [faults("toy-two/one/current/second", /./), { scenario: scenarios.silentErase }],
  },
  {
    guard: "a sector is erased before the one in front is written",
    edits: [
      { file: "update/slot-writer.ts", from: "if (more) makeBlank(sector", to: "if (false) makeBlank(sector" },
      { file: "update/slot-writer.ts", from: "if (more) makeBlank(addr", to: "if (false) makeBlank(addr" },
      { file: "update/slot-writer.ts", from: "\n    makeBlank(addr + Flash.SECTOR, false);", to: "nextErased = 0;" },
    ],
    caught: [every("toy-two/pieces/current/update", /fetched/)],
  },
  {
    guard: "an image's first word is written after the rest was verified",
    edits: [
      { file: "update/slot-writer.ts", from: "[word.substr(Size.WORD)];", to: "[word];" },
      { file: "update/slot-writer.ts", from: "addr += Size.WORD;", to: "" },
      { file: "update/slot-writer.ts", from: "holdsAll(addr + word.length, inbox", to: "holdsAll(addr, inbox" },
    ],
    caught: [every("toy-two/one/current/other", /holds first, which could start/)],
  },
  {
    guard: "a slot that becomes another file holds no image any more",
    edits: [
      {
        file: "update/slot-writer.ts",
        from: "if (nextErased < 0 && offset) clearWord(slot.address);",
        to: "",
      },
    ],
    caught: [every("toy-two/one/current/refused-again", /could start/)],
  },
  {
    guard: "an update resumes only where the slot begins like the file",
    edits: [
      {
        file: "update/resume.ts",
        from: "if (!holds(slot.address + start,",
        to: "if (false && !holds(slot.address + start,",
      },
    ],
    caught: [every("toy-two/pieces/current/update", /fetched/)],
  },

  // --- what may run
  {
    guard: "the image in flash is verified",
    edits: [
      {
        file: "update/finish.ts",
        from: "else if (session.verified_) onVerified(null);",
        to: "else if (true) onVerified(null);",
      },
    ],
    caught: [every("toy-two/one/current/corrupt", /falls back from ota_1/)],
  },
  {
    guard: "a resumed file is verified before it counts as complete",
    edits: [
      { file: "update/finish.ts", from: "session.verified_ = !error;", to: "session.verified_ = true;" },
      { file: "update/finish.ts", from: "succeed(session, !error);", to: "succeed(session, true);" },
    ],
    caught: [every("toy-two/one/current/resumed-alike", /falls back|boots/)],
  },
  {
    guard: "an image of another digest is refused",
    edits: [{ file: "image/verify.ts", from: "if (expected && digest !== expected)", to: "if (false)" }],
    caught: [every("toy-two/one/current/other", /boots first/), { scenario: scenarios.digestOfAnotherImage }],
  },
  {
    guard: "without a digest the image's checksum is compared",
    edits: [{ file: "image/verify.ts", from: "if (sum.value() !== expected)", to: "if (false)" }],
    caught: [every("toy-factory-one/blank/current/corrupt-insecure", /falls back from ota_0/)],
  },
  {
    guard: "load addresses are checked",
    edits: [{ file: "image/image.ts", from: "if (!isLoadable(chipId, loadAddr, length))", to: "if (false)" }],
    caught: [every("toy-two/one/idf33/corrupt-address", /nothing boots/)],
  },
  {
    guard: "the chip id is checked before the first erase",
    edits: [{ file: "image/image.ts", from: "if (header.chipId_ !== chipId)\n", to: "if (false)\n" }],
    caught: [{ scenario: scenarios.imageOfAnotherChip }],
  },
  {
    guard: "an image must read its files where this table has them",
    edits: [{ file: "update/finish.ts", from: "if (claim) checkStorage(claim);", to: "" }],
    caught: [every("toy-two/moved/current/other-storage", /app\.js is gone/)],
  },
  {
    guard: "an older signed release is refused",
    edits: [{ file: "trust/policy.ts", from: "manifest.sequence < facts.sequence_", to: "false" }],
    caught: [every("toy-two/one/current/signed-replay", /was accepted|ends in first/)],
  },
  {
    guard: "exactly one kind of trust must be given",
    edits: [
      {
        file: "config.ts",
        from: "if ((settings.keys ? 1 : 0) + (settings.digest ? 1 : 0) + (settings.insecure ? 1 : 0) !== 1)",
        to: "if (false)",
      },
    ],
    caught: [{ scenario: scenarios.configurationWithoutTrust }],
  },

  // --- trials and the boot record
  {
    guard: "only an answer of true confirms",
    edits: [{ file: "boot/trial.ts", from: "if (answer !== true)", to: "if (false)" }],
    caught: [every("toy-two/one/current/confirmAfter-no", /ends in new/)],
  },
  {
    guard: "the starts of a trial are counted",
    edits: [{ file: "boot/trial.ts", from: "countStart(record);\n          setStartState(Start.COUNTED);\n", to: "" }],
    caught: [every("toy-two/one/current/trial", /./)],
  },
  {
    guard: "the trial is recorded before its slot is selected",
    edits: [
      {
        file: "update/finish.ts",
        from: "recordSelected(target, layout.running_, session.written_, plan);",
        to: "select(layout, target, State.NEW);",
      },
      {
        file: "update/finish.ts",
        from: "select(layout, target, State.NEW);",
        to: "recordSelected(target, layout.running_, session.written_, plan);",
      },
    ],
    caught: [every("toy-two/one/current/given-up", /ends in new/)],
  },
  {
    guard: "an image that was rolled back is remembered",
    edits: [
      {
        file: "boot/boot-record.ts",
        from: "record.bad = [digest].concat(",
        to: "record.bad = ([] as string[]).concat(",
      },
    ],
    caught: [every("toy-two/one/current/bad-image", /comes to no end/)],
  },
  {
    guard: "the last record stays until the next one is whole",
    edits: [
      {
        file: "boot/boot-record.ts",
        from: "if (before < 0 || end > RecordFile.SIZE || !append(record, sealed)) create(record, before ? 0 : 1, sealed);",
        to: "create(record, before < 0 ? 0 : before, sealed);",
      },
    ],
    caught: [every("toy-two/one/current/trial", /ends in new/)],
  },
  {
    guard: "no file is created that Storage has no room for",
    edits: [{ file: "boot/storage-file.ts", from: "if (free < needed)", to: "if (false)" }],
    caught: [every("toy-two/storage-trash/current/update", /erase at 0x3\w+ while/)],
  },
  {
    guard: "a record is read back",
    edits: [
      {
        file: "boot/boot-record.ts",
        from: 'return (readFile(NAME + record.file_) || "").substr(record.end_, sealed.length) === sealed;',
        to: "return true;",
      },
    ],
    caught: [faults("toy-two/one/current/given-up", /ends in new|comes to no end/)],
  },
  {
    guard: "a file's header is whole before its first record is written",
    edits: [
      {
        file: "boot/storage-file.ts",
        from: "writeFile(name, String.fromCharCode(255), 0, size);",
        to: 'writeFile(name, new Array(400).join("{"), 0, size);',
      },
      { file: "boot/storage-file.ts", from: "if (readPart(name, size - 1, 1).length) return;", to: "return;" },
    ],
    caught: [every("toy-two/storage-torn/current/update", /Storage is corrupt/)],
  },

  // --- the network
  {
    guard: "https never leads to http",
    edits: [
      {
        file: "net/http.ts",
        from: 'if (page.protocol_ === "https:" && target.protocol_ !== "https:")',
        to: "if (false)",
      },
    ],
    caught: [{ scenario: scenarios.redirectToHttp }],
  },
  {
    guard: "headers go to the first origin only",
    edits: [
      {
        file: "net/http.ts",
        from: "if (exchange.trusted_ && sameOrigin(origin, target))",
        to: "if (exchange.trusted_)",
      },
    ],
    caught: [{ scenario: scenarios.redirectToAnotherOrigin }],
  },
  {
    guard: "a URL that another origin has chosen gets no headers",
    edits: [
      { file: "net/http.ts", from: "if (!sameOrigin(page, parseUrl(options.url))) exchange.trusted_ = false;", to: "" },
    ],
    caught: [{ scenario: scenarios.redirectAwayAndBack }],
  },
  {
    guard: "only 200 and 206 bring a body",
    edits: [
      { file: "net/headers.ts", from: "if (status === 200 || status === 206) return;", to: "if (status) return;" },
    ],
    caught: [{ scenario: scenarios.imageWithStatus404 }],
  },
  {
    guard: "a file longer than the slot is refused by its length",
    edits: [{ file: "net/download.ts", from: "if (total > download.limit_)", to: "if (false)" }],
    caught: [{ scenario: scenarios.fileLongerThanTheSlot }],
  },
  {
    guard: "a file shorter than announced is incomplete",
    edits: [
      {
        file: "net/http.ts",
        from: "exchange.answered_ && exchange.inbox_.end_ === Body.ENDLESS && (!code || code === Tls.CLOSE_NOTIFY);",
        to: "true;",
      },
      {
        file: "net/download.ts",
        from: "if (download.total_ < 0 ? error || !download.part_ : bytes >= download.total_)",
        to: "if (true)",
      },
    ],
    caught: [{ scenario: scenarios.fileShorterThanAnnounced }],
  },

  // --- the lock
  {
    guard: "one update at a time",
    edits: [{ file: "boot/lock.ts", from: "if (heldLock())\n", to: "if (false)\n" }],
    caught: [{ scenario: scenarios.twoUpdatesAtOnce }],
  },
  {
    guard: "a watchdog ends an update whose callback was interrupted",
    edits: [
      {
        file: "boot/lock.ts",
        from: "else if (watchdogExpired(WATCHDOG_MS))",
        to: "else if (watchdogExpired(WATCHDOG_MS) && false)",
      },
    ],
    caught: [{ free: 900, says: /ESP_ERR_OTA_ALREADY_IN_PROGRESS/ }],
  },
  {
    guard: "poll() looks again when the timer of a look fired and nothing ran",
    edits: [{ file: "fleet/poll.ts", from: " || --state.hours_ < 0", to: "" }],
    caught: [{ scenario: scenarios.lookThatNeverBegins }],
  },
];

/** An update that begins with less memory than it needs is refused; without this memory runs out in the middle. */
export const NO_CHECK_OF_MEMORY: Edit = {
  file: "update/plan.ts",
  from: "if (!heldLock() && free < Needed.UPDATE)",
  // the compiler refuses a name that nothing uses
  to: "if (!heldLock() && free < 0)",
};
