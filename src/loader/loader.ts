// What starts the program of a release: Storage file .boot0, written once by `https-ota init` and never replaced. It runs
// at each start, before all other code in Storage, and stands on its own: of the module it needs nothing to start a
// program that is confirmed. docs/design.md#the-loader.
//
//   no record, or none with a set   nothing is started; without a .bootcde a release is fetched
//   a set on trial                  the start is counted; out of starts, the set before comes back
//   a set                           its modules are registered, its program runs
//   anything missing or damaged     the module that was installed first fetches the release again
//
// The program runs at the top level of .boot0, in no function and no block, so that its variables are global. What it
// throws ends .boot0: a timer that was set before finds out.

import { moduleName, parseSet, storedName } from "../boot/file-set";
import { readRecords } from "../boot/record-file";
import { Code } from "../errors";

/** What `https-ota init` puts into the loader. */
export interface LoaderConfig {
  /** of the signed manifest, to fetch a release when there is none */
  url?: string;
  keys?: object[];
  /** by how many of them it must be signed; default 1 */
  threshold?: number;
  /** that the manifest must have; default: as of update() */
  project?: string;
  /** starts that a release has to confirm itself; default 3 */
  attempts?: number;
}

/** ms, but for the last one */
const enum Wait {
  /** for the network, until a release is fetched */
  FIRST = 15000,
  /** between two tries */
  NEXT = 300000,
  /** tries, two hours: for what has not ended until it is aborted. The deadline of an update is one hour */
  OPEN = 24,
}

const storage = require("Storage");

/** The module that was installed first, whatever the release has registered under its name. */
function firstModule(): any {
  try {
    Modules.removeCached("https-ota");
  } catch (_) {}
  return require("https-ota");
}

/** Content of file `name`, which is named by it. Throws when it is not there, or damaged. */
function readStored(name: string): string {
  const text = storage.read(name);
  if (text === undefined || storedName(btoa(require("crypto").SHA256(text))) !== name) throw name + " is damaged";
  return text;
}

let rescuing = false;

/**
 * Fetches a release, now and then, until there is one.
 * More than 30 lines: a table of fields, and callbacks that share a count.
 */
function rescue(config: LoaderConfig, why: string): void {
  print("https-ota: " + why);
  if (!config.url || rescuing) return;
  rescuing = true;
  const wanted = {
    url: config.url,
    keys: config.keys,
    threshold: config.threshold,
    project: config.project,
    // a device without its program does not wait for a rollout, and nothing confirms what it runs
    allowEarly: true,
    allowUnconfirmed: true,
  };
  // attempts since the last one that ended: out of memory, an update is lost and never releases its lock
  let open = 0;
  function failed(error: any): void {
    print("https-ota: " + error.message);
    if (error.code !== Code.OTA_ALREADY_IN_PROGRESS) open = 0;
  }
  function attempt(): void {
    setTimeout(attempt, Wait.NEXT);
    const ota = firstModule();
    function fetch(): void {
      ota.update(wanted).then((result: any) => {
        open = 0;
        if (result.partition) ota.restart();
      }, failed);
    }
    if (++open > Wait.OPEN) {
      open = 1;
      ota.abort();
    }
    // firmware alone, which no program confirms: with an answer it has shown that it has its network
    if (!E.otaSet && isOnTrial())
      ota.checkForUpdate(wanted).then(() => {
        ota.markValid();
        fetch();
      }, failed);
    else fetch();
  }
  setTimeout(attempt, Wait.FIRST);
}

/** The newest record's fields, and the starts that were counted behind it; null without a record. */
function newestRecord(): { fields: any[]; boots: number } | null {
  let newest = null as { fields: any[]; boots: number } | null;
  for (let i = 0; i < 2; i++) {
    const found = readRecords(storage.read(".https-ota" + i) || "");
    const fields = found.fields_;
    if (fields && (!newest || fields[0] > newest.fields[0]))
      newest = { fields: fields, boots: fields[4] + found.ticks_ };
  }
  return newest;
}

/** Was this start one of a trial, which has not ended since, or is what was on trial given up and still running? */
function isOnTrial(): boolean {
  const record = E.otaStart ? newestRecord() : null;
  // src/boot/boot-record.ts, Boots: -2 is confirmed
  return !!record && (!!E.otaRestartPending || record.boots !== -2);
}

/** Name of the set that goes with the running slot, "" for none. Only where slots have different ones is it asked. */
function findSet(sets: any[][]): string {
  const first = sets[0];
  let differ = first[2] !== undefined;
  for (let i = 1; i < sets.length; i++) if (sets[i][1] !== first[1]) differ = true;
  if (!differ) return first[1];
  let label = "";
  try {
    label = firstModule().getRunningPartition().label;
  } catch (_) {
    return first[1];
  }
  for (let i = 0; i < sets.length; i++) if (sets[i][0] === label) return sets[i][1];
  // what is on trial with another slot is not for this one
  return first[2] === undefined ? first[1] : first[2];
}

/** Registers the modules of the set called `name`, and returns the text of its program. */
function loadSet(name: string): string {
  const set = parseSet(readStored(name));
  let program = "";
  for (let i = 0; i < set.files.length; i++) {
    const file = set.files[i];
    const id = moduleName(set, file.name);
    if (file.name === set.entry) program = readStored(file.stored);
    else if (id) Modules.addCached(id, file.size ? readStored(file.stored) : "");
    else if (file.size && storage.read(file.stored, 0, 1) === undefined) throw file.name + " is missing";
  }
  return program;
}

/**
 * The module counts this start of what is on trial. `set`: the name of the files that go with it. True: the starts ran out,
 * and the module goes back to what ran before.
 */
function countStart(config: LoaderConfig, set: string): boolean {
  let leaving = false;
  try {
    // the file of the record may be full: then the module writes a new one
    firstModule()
      .boot(config.attempts ? { attempts: config.attempts } : {})
      .catch((error: any) => {
        // nothing to go back to
        rescue(config, error.message);
        if (leaving && set) setTimeout(loadSet(set) as any, 0);
      });
  } catch (thrown: any) {
    // a program that is not on trial needs no module
    print("https-ota: " + thrown.message);
  }
  leaving = !!(E.otaRestartPending || E.otaLock);
  return leaving;
}

/**
 * Returns the text of the program that has to run; "" for none.
 * More than 30 lines: one way with several ends, each of which returns.
 */
export default function load(config: LoaderConfig): string {
  function fail(why: string): void {
    if (isOnTrial()) {
      print("https-ota: " + why);
      firstModule()
        .rollback({ reason: why })
        .catch((error: any) => rescue(config, error.message));
    } else rescue(config, why);
  }
  // what save() has kept of another start does not count
  E.otaRan = E.otaStart = E.otaRestartPending = undefined;
  // says that a loader is here: a release of files is refused without one
  E.otaSet = "";
  // src/boot/boot-record.ts, Boots: -2 is confirmed
  try {
    const record = newestRecord();
    const sets = record && record.fields[12];
    const name = sets && sets.length ? findSet(sets) : "";
    // the module asks whether the files on trial are those that run
    E.otaSet = name;
    if (record && record.boots !== -2) {
      // the other slot is being verified, and a program might not let that end
      if (countStart(config, name)) return "";
    }
    if (!name) {
      if (storage.read(".bootcde") === undefined) rescue(config, "no release is installed");
      return "";
    }
    const program = loadSet(name);
    setTimeout(() => {
      if (!E.otaRan) fail("the program threw while it started");
    }, 0);
    return program;
  } catch (thrown: any) {
    fail("" + (thrown.message || thrown));
    return "";
  }
}
