// A report of a device (docs/fleet.md#reports), checked: known fields of the right type, in bounds, and text that is safe on
// one line. What is unknown is left out, because later modules say more. Pure.
import { isRefusal, oneLine, printable, refuse } from "../ui/errors.ts";
import type { Condition, DeviceReport, ReportedSlot } from "./api.ts";

/** characters */
const MOST_SERIAL = 64;
const MOST_NAME = 64;
const MOST_DIGEST = 120;
const MOST_TEXT = 500;
/** 16 slots and factory are what a table can have */
const MOST_SLOTS = 17;
const MOST_ROLLED_BACK = 16;

type Fields = Record<string, unknown>;

function kindOf(value: unknown): string {
  if (Array.isArray(value)) return "a list";
  return value === null ? "null" : `a ${typeof value}`;
}

/** Undefined when it is missing; Espruino writes null for undefined. */
function fieldOf(fields: Fields, name: string): unknown {
  return fields[name] ?? undefined;
}

function wrong(where: string, expected: string, value: unknown): never {
  return refuse(where, `expected ${expected}, found ${kindOf(value)}`);
}

function isObject(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Cut where it is longer than `most`. */
function textOf(fields: Fields, name: string, most: number): string {
  const value = fieldOf(fields, name) ?? "";
  if (typeof value !== "string") wrong(name, "a text", value);
  const line = oneLine(value);
  return line.length > most ? `${line.slice(0, most - 3)}...` : line;
}

function nameOf(fields: Fields, name: string): string | null {
  return textOf(fields, name, MOST_NAME) || null;
}

function countOf(fields: Fields, name: string): number | null {
  const value = fieldOf(fields, name);
  if (value === undefined) return null;
  if (typeof value !== "number") wrong(name, "a number", value);
  if (!Number.isSafeInteger(value) || value < 0) refuse(name, `expected a whole number from 0 on, found ${value}`);
  return value;
}

function objectOf<T>(fields: Fields, name: string, make: (inner: Fields) => T): T | null {
  const value = fieldOf(fields, name);
  if (value === undefined) return null;
  return isObject(value) ? make(value) : wrong(name, "an object", value);
}

function listOf<T>(fields: Fields, name: string, most: number, make: (one: unknown) => T): T[] {
  const value = fieldOf(fields, name) ?? [];
  if (!Array.isArray(value)) wrong(name, "a list", value);
  if (value.length > most) refuse(name, `expected at most ${most}, found ${value.length}`);
  return value.map(make);
}

/** Not cut and not escaped: two devices would become one. */
function serialIn(fields: Fields): string {
  const serial = fieldOf(fields, "serial");
  if (typeof serial !== "string") return wrong("serial", "a text", serial);
  if (!serial || serial.length > MOST_SERIAL || serial !== printable(serial) || serial !== serial.trim())
    refuse("serial", `expected 1 to ${MOST_SERIAL} printable characters, as getSerial() gives them`);
  return serial;
}

function slotOf(value: unknown): ReportedSlot {
  if (!isObject(value)) return wrong("slots", "objects", value);
  return {
    label: nameOf(value, "label"),
    size: countOf(value, "size"),
    state: countOf(value, "state"),
    version: nameOf(value, "version"),
  };
}

/** The names of the files, or what is kept of them: their number. */
function fileCount(release: Fields): number {
  const files = fieldOf(release, "files");
  return Array.isArray(files) ? files.length : (countOf(release, "files") ?? 0);
}

function readReport(fields: Fields): DeviceReport {
  return {
    serial: serialIn(fields),
    board: nameOf(fields, "board"),
    free: countOf(fields, "free"),
    reset: countOf(fields, "reset"),
    version: nameOf(fields, "version"),
    running: nameOf(fields, "running"),
    boot: nameOf(fields, "boot"),
    next: nameOf(fields, "next"),
    state: countOf(fields, "state"),
    slots: listOf(fields, "slots", MOST_SLOTS, slotOf),
    release: objectOf(fields, "release", (one) => ({
      version: nameOf(one, "version"),
      entry: nameOf(one, "entry"),
      files: fileCount(one),
    })),
    sequence: countOf(fields, "sequence"),
    trial: objectOf(fields, "trial", (one) => ({
      boots: countOf(one, "boots") ?? 0,
      previous: nameOf(one, "previous"),
    })),
    rolledBack: listOf(fields, "rolledBack", MOST_ROLLED_BACK, (one) =>
      textOf({ rolledBack: one }, "rolledBack", MOST_DIGEST),
    ),
    rollbackReason: textOf(fields, "rollbackReason", MOST_TEXT),
    storage: objectOf(fields, "storage", (one) => ({
      free: countOf(one, "free") ?? 0,
      trash: countOf(one, "trash") ?? 0,
    })),
    last: textOf(fields, "last", MOST_TEXT),
    differs: textOf(fields, "differs", MOST_TEXT),
  };
}

/** The report in a parsed JSON text, or a text that says what is wrong with it. */
export function checkReport(value: unknown): DeviceReport | string {
  if (!isObject(value)) return `expected an object, as report() sends it, found ${kindOf(value)}`;
  try {
    return readReport(value);
  } catch (error) {
    if (isRefusal(error)) return error.message;
    throw error;
  }
}

export function conditionOf({ rollbackReason, last, differs, trial }: DeviceReport): Condition {
  if (rollbackReason) return "rolled back";
  if (last && last !== "ESP_OK") return "failed";
  if (differs) return "differs";
  return trial ? "trial" : "ok";
}
