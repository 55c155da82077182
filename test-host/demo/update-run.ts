// One update of the virtual device, from the call of update() to the restart into the new image, and the proof: what
// the bootloader starts, what lies in flash, and that nothing but the target slot and otadata was touched.
import { readEspruino } from "../../src/cli/formats/espruino-image.ts";
import type { Device } from "../sim/device.ts";
import { type FlashOp, SECTOR } from "../sim/flash.ts";
import { cutPowerAt, advanceWhenIdle, type HttpSpy, spyOnHttp } from "../support/network.ts";
import { checkTable, findOtadata, type Row, TABLE_OFFSET, TABLE_SIZE, TYPE_APP } from "../sim/partitions.ts";
import type { BadLine } from "./line.ts";
import { flashMap, LEGEND } from "./map.ts";
import { lookAt, type Moment } from "./moments.ts";
import type { Progress, Screen } from "./screen.ts";

/** Where an update comes from, and the fields of the module's config that say why it is trusted. */
export type Source = {
  title: string;
  config: { url: string; keys?: object[]; insecure?: boolean; timeout?: number; retries?: number };
  /** Why it is believed, for people. */
  trust: string;
  /** What must lie in flash in the end; absent when a foreign server has it. */
  image?: Uint8Array;
  /** What disturbs the download. */
  line?: BadLine;
};

export type Fact = { name: string | null; code: number | null; message: string };

export type UpdateRun = {
  /** The slot that ran, and the one that runs after the restart; null when nothing boots. */
  from: string;
  to: string | null;
  /** Of the image that runs in the end, where it says. */
  version: string | null;
  /** Of the file, as far as it was written. */
  bytes: number;
  /** Bytes of the file that came to the device, and those of them that it had had before. */
  fetched: number;
  refetched: number;
  /** Connections that were cut, and losses of power. */
  cuts: number;
  powerLosses: number;
  /** Sectors erased in slots; those of otadata are counted apart. */
  erases: number;
  otadataErases: number;
  writes: number;
  /** What flash alone takes on a device, by the model of flash.ts. */
  deviceSeconds: number;
  /** Bytes of the file at which the connection was cut. */
  cutAt: number[];
  moments: Moment[];
  error?: Fact;
};

type Outcome = { label: string; bytes: number; error?: undefined } | { error: Fact; bytes: number };
/** What a download cost. */
type Cost = Pick<UpdateRun, "fetched" | "cuts" | "powerLosses">;

const SILENCE_LIMIT_MS = 40_000;

export function rowsOf(device: Device): Row[] {
  const table = checkTable(device.flash.peek(TABLE_OFFSET, TABLE_SIZE), device.flash.size);
  if ("error" in table) throw new Error(table.error);
  return table.rows;
}

/** Espruino's version in the image that runs: the descriptor of its classic builds is the same in all of them. */
function espruinoVersion(device: Device): string | null {
  const { slot, image } = device.boots.at(-1) ?? {};
  if (!slot || !image) return null;
  return readEspruino(device.slot(slot.label, image.length), device.board.chip)?.version ?? null;
}

/** The version of the image that runs, where it says. */
export function runningVersion(device: Device): string | null {
  return espruinoVersion(device) ?? device.boots.at(-1)?.image?.version ?? null;
}

/** What the image that runs says about itself. */
export function runningImage(device: Device): string {
  const version = espruinoVersion(device);
  if (version !== null) return `Espruino ${version}`;
  const image = device.boots.at(-1)?.image;
  return image?.project === undefined ? "an image without descriptor" : `${image.project} ${image.version}`;
}

export const plainFact = (message: string): Fact => ({ name: null, code: null, message });

export function factOf(error: any): Fact {
  const message = String(error?.message ?? error);
  return typeof error?.code === "number" ? { name: error.name, code: error.code, message } : plainFact(message);
}

/** As a person reads it: name, number, fact. */
export function factText({ name, code, message }: Fact): string {
  if (name === null || code === null) return message;
  return `${name} (${code < 0 ? code : `0x${code.toString(16)}`}): ${message}`;
}

function eventText(device: Device, name: string, data?: number): string {
  if (name === "VERIFY_CHIP_ID") return `${name} ${data}, this is an ${device.board.chip} (${device.board.chipId})`;
  if (name === "UPDATE_BOOT_PARTITION") return `${name} ${device.ota.getBootPartition().label}`;
  return data === undefined ? name : `${name} ${data}`;
}

/** Bytes of the file that the program was given so far; the manifest's do not count. */
function fileBytes({ connections }: HttpSpy, { config }: Source): number {
  const { pathname, search } = new URL(config.url);
  const counted = connections.filter(({ path }) => config.keys === undefined || path !== pathname + search);
  return counted.reduce((sum, { bytes }) => sum + bytes, 0);
}

/** The first byte that the device has not been given. */
function position({ connections }: HttpSpy): number {
  const last = connections.at(-1);
  return last ? Number(/^bytes=(\d+)/.exec(last.range)?.[1] ?? 0) + last.bytes : 0;
}

/** Runs the module's update() once; null when the power went. What it rejects with is an outcome like any other. */
async function attempt(
  device: Device,
  source: Source,
  screen: Screen,
  moments: Moment[] = [],
): Promise<Outcome | null> {
  const startMs = device.flash.deviceMs();
  const rows = rowsOf(device);
  const { line } = source;
  let bar: Progress | undefined;
  let bytes = 0;
  let expire = (_: Error) => {};
  const expired = new Promise<never>((_, reject) => {
    expire = reject;
  });
  const watchdog = setTimeout(() => expire(new Error("the update does not end")), SILENCE_LIMIT_MS);
  const power = cutPowerAt(device, (op) => op.kind === "write" && bytes >= (line?.powerAt ?? Infinity), "torn");

  function onEvent(name: string, data?: number, total?: number): void {
    watchdog.refresh();
    if (name === "WRITE_FLASH") {
      bytes = data as number;
      bar ??= screen.progress(bytes - SECTOR);
      bar.update(bytes, total as number, device.flash.deviceMs() - startMs);
      return;
    }
    bar?.stop();
    bar = undefined;
    if (name === "UPDATE_BOOT_PARTITION") moments.push(lookAt(device, rows, "commit", bytes));
    screen.text(eventText(device, name, data));
  }

  try {
    // Made in the device's context: the module sees no object of the host but the function.
    const config = device.engine.run(`(${JSON.stringify(source.config)})`) as object;
    const update = device.engine.call<{ upToDate: boolean; partition: { label: string }; size: number }>(
      device.ota.update(Object.assign(config, { onEvent })),
    );
    // waits and stalls are the device's own time, not that of the person who looks on
    const result = await Promise.race([line ? advanceWhenIdle(device, line.server, update) : update, expired]);
    if (result.upToDate) return { error: plainFact("the image is running already"), bytes };
    return { label: result.partition.label, bytes: result.size };
  } catch (error) {
    if (!power.happened) return { error: factOf(error), bytes };
    moments.push(lookAt(device, rows, "power lost", bytes));
    return null;
  } finally {
    device.flash.onOp = null;
    clearTimeout(watchdog);
    bar?.stop();
  }
}

/** Updates, over as many losses of power as there are. */
async function update(device: Device, source: Source, screen: Screen, moments: Moment[]): Promise<Outcome & Cost> {
  const { line } = source;
  let fetched = 0;
  for (let powerLosses = 0; ; powerLosses++) {
    const seen = spyOnHttp(device.engine);
    if (line) line.position = () => position(seen);
    const outcome = await attempt(device, source, screen, moments);
    fetched += fileBytes(seen, source);
    if (outcome) return { ...outcome, fetched, cuts: line?.cuts ?? 0, powerLosses };
    line?.powerLost();
    screen.heading("The power is lost in the middle of a write; it comes back");
    device.powerCycle();
    screen.success(`${device.running} runs ${runningImage(device)}, and updates once more`);
  }
}

/** One more update() that is expected to be refused; why it was, undefined when it was not. */
export async function tryUpdate(device: Device, source: Source, screen: Screen): Promise<Fact | undefined> {
  return (await attempt(device, source, screen))?.error;
}

/** The module's own restart, or the reset button where the update failed. Returns the label that runs, or null. */
export function restart(device: Device, ask: boolean, screen: Screen): string | null {
  screen.heading("Restart");
  try {
    // By the engine, which knows that this call does not come back.
    if (ask) device.engine.run('require("https-ota").restart()');
    if (ask && !device.rebootAsked) throw new Error("restart() restarted nothing");
    device.restart();
    return device.running;
  } catch (error) {
    if (device.boots.at(-1)?.slot) throw error;
    return null;
  } finally {
    const lines = device.boots.at(-1)?.log ?? [];
    screen.log(lines.slice(lines.findIndex((line) => line.endsWith("End of partition table")) + 1));
  }
}

/** The bootloader's own words when it refuses an image. */
export function bootError(device: Device): string {
  const line = device.boots.at(-1)?.log.find((one) => one.startsWith("E "));
  return line ? line.replace(/^E \(\d+\) \w+: /, "") : "it says nothing";
}

/** What an operator wants to know first after a failure: is the device still what it was? */
function harm(updateRun: UpdateRun): string {
  const erased = updateRun.erases + updateRun.otadataErases;
  const boots =
    updateRun.to === null
      ? "nothing boots"
      : `${updateRun.to} ${updateRun.to === updateRun.from ? "still boots" : "boots"}`;
  return `${erased === 0 ? "nothing was erased" : `${erased} sectors were erased`}, ${boots}`;
}

function judge(
  device: Device,
  source: Source,
  outcome: Outcome,
  updateRun: UpdateRun,
  complaints: string[],
): Fact | undefined {
  if (outcome.error) return { ...outcome.error, message: `${outcome.error.message}; ${harm(updateRun)}` };
  if (updateRun.to !== outcome.label)
    return plainFact(`the bootloader did not start ${outcome.label}: ${bootError(device)}; ${harm(updateRun)}`);
  const row = rowsOf(device).find((one) => one.label === updateRun.to) as Row;
  if (source.image && Buffer.compare(device.flash.peek(row.offset, source.image.length), source.image) !== 0)
    return plainFact(`${updateRun.to} does not hold the image that was served`);
  return complaints.length > 0 ? plainFact(`the virtual device complains: ${complaints[0].split("\n")[0]}`) : undefined;
}

const rowOf = (rows: readonly Row[], op: FlashOp) =>
  rows.find((row) => op.addr >= row.offset && op.addr + op.length <= row.offset + row.size);

/**
 * Operations outside the slot that was to be written, otadata, and the boot record, which is written in Storage; after a
 * failure any slot but the running one may have been meant.
 */
export function strayed(rows: readonly Row[], ops: readonly FlashOp[], from: string, target: string | null): string[] {
  const otadata = findOtadata(rows);
  return ops.flatMap((op) => {
    const row = rowOf(rows, op);
    const slot = row && row.type === TYPE_APP && row.label !== from && (target === null || row.label === target);
    const record = (row?.label === "storage" || row?.label === "js_code") && op.kind === "write";
    return slot || record || (row && row === otadata)
      ? []
      : [`${op.kind} at 0x${op.addr.toString(16)}, ${row?.label ?? "no partition"}`];
  });
}

function countErases(rows: readonly Row[], ops: readonly FlashOp[]): Pick<UpdateRun, "erases" | "otadataErases"> {
  const otadata = findOtadata(rows);
  const erases = ops.filter((op) => op.kind === "erase");
  const slots = erases.filter((op) => rowOf(rows, op) !== otadata);
  return { erases: slots.length, otadataErases: erases.length - slots.length };
}

/** What the update left in flash, before the restart. */
function showFlash(device: Device, ops: readonly FlashOp[], failed: boolean, screen: Screen): void {
  const next = failed ? null : device.ota.getBootPartition().label;
  const notes = (label: string) => [
    ...(label === device.running ? ["running"] : []),
    ...(label === next ? ["boots next"] : []),
  ];
  screen.heading("Flash");
  for (const line of [...flashMap(device.flash, rowsOf(device), ops, notes), ...LEGEND]) screen.line(line);
}

export async function runUpdate(device: Device, source: Source, screen: Screen): Promise<UpdateRun> {
  const { flash, running: from } = device;
  const startOp = flash.log.length;
  const startMs = flash.deviceMs();
  screen.heading(source.title);
  screen.text(source.trust);
  const moments = [lookAt(device, rowsOf(device), "begin", 0)];
  const outcome = await update(device, source, screen, moments);
  if (outcome.error) screen.failure(factText(outcome.error));

  const rows = rowsOf(device);
  const ops = flash.log.slice(startOp);
  const updateRun: UpdateRun = {
    from,
    to: null,
    version: null,
    bytes: outcome.bytes,
    fetched: outcome.fetched,
    refetched: Math.max(0, outcome.fetched - outcome.bytes),
    cuts: outcome.cuts,
    powerLosses: outcome.powerLosses,
    ...countErases(rows, ops),
    writes: ops.filter((op) => op.kind === "write").length,
    deviceSeconds: Math.round(flash.deviceMs() - startMs) / 1000,
    cutAt: source.line?.cutAt ?? [],
    moments,
  };
  const target = outcome.error ? null : outcome.label;
  const complaints = [...strayed(rows, ops, from, target), ...flash.violations, ...device.engine.problems];
  if (target !== null)
    screen.success(
      `${outcome.bytes} bytes in ${target}, verified from flash: ${updateRun.erases} sectors erased and written ` +
        `(${updateRun.deviceSeconds.toFixed(1)} s of flash work on a device)`,
    );
  if (source.line) {
    const least = Math.ceil(outcome.bytes / SECTOR);
    screen.success(
      `${updateRun.cuts} cuts and ${updateRun.powerLosses} losses of power: ${updateRun.fetched} bytes fetched, ${updateRun.refetched} ` +
        `of them again; ${updateRun.erases} erases for ${least} sectors`,
    );
    if (source.config.insecure) screen.text("without a digest an update begins at byte 0 after a loss of power");
  }
  showFlash(device, ops, target === null, screen);

  updateRun.to = restart(device, target !== null, screen);
  updateRun.version = runningVersion(device);
  moments.push(lookAt(device, rows, "restart", outcome.bytes));
  updateRun.error = judge(device, source, outcome, updateRun, complaints);
  if (!updateRun.error) screen.success(`${updateRun.to} runs ${runningImage(device)}`);
  else if (!outcome.error) screen.failure(updateRun.error.message);
  return updateRun;
}
