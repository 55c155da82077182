import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { boardNames, loadBoard } from "../../sim/boards.ts";
import {
  BOOTLOADERS,
  type BootloaderKind,
  buildEntry,
  CHIPS,
  entryCrc,
  IDF33,
  parseEntry,
  runBootloader,
  STATE,
} from "../../sim/bootloader.ts";
import { createFlash, type Flash, SECTOR } from "../../sim/flash.ts";
import { buildImage, type ImageSpec, mutations } from "../../support/images.ts";
import {
  buildTable,
  checkTable,
  findOtadata,
  parseTable,
  type Row,
  slots,
  TABLE_OFFSET,
} from "../../sim/partitions.ts";

const { NEW, PENDING_VERIFY, VALID, INVALID, ABORTED, UNDEFINED } = STATE;
const KINDS: BootloaderKind[] = [...Object.values(BOOTLOADERS), IDF33];
const hexBytes = (lines: string) => new Uint8Array(Buffer.from(lines.replace(/\s/g, ""), "hex"));

function row(label: string, type: number, subtype: number, offset: number, size: number): Row {
  return { label, type, subtype, offset, size, flags: 0 };
}

// --- Partition tables ----------------------------------------------------------------------------------------------

// Reference 6.3, computed with IDF's gen_esp32part.
const GOLDEN = [
  {
    rows: [
      row("nvs", 1, 2, 0x9000, 0x4000),
      row("otadata", 1, 0, 0xd000, 0x2000),
      row("phy_init", 1, 1, 0xf000, 0x1000),
      row("factory", 0, 0, 0x10000, 0x100000),
      row("ota_0", 0, 0x10, 0x110000, 0x100000),
      row("ota_1", 0, 0x11, 0x210000, 0x100000),
    ],
    bytes: `aa50010200900000004000006e76730000000000000000000000000000000000
            aa50010000d00000002000006f74616461746100000000000000000000000000
            aa50010100f00000001000007068795f696e6974000000000000000000000000
            aa5000000000010000001000666163746f727900000000000000000000000000
            aa50001000001100000010006f74615f30000000000000000000000000000000
            aa50001100002100000010006f74615f31000000000000000000000000000000
            ebebffffffffffffffffffffffffffffbf25822c0fa6d8641bd930251e06b4c4`,
  },
  {
    rows: [
      row("nvs", 1, 2, 0x9000, 0x6000),
      row("otadata", 1, 0, 0xf000, 0x2000),
      row("phy_init", 1, 1, 0x11000, 0x1000),
      row("ota_0", 0, 0x10, 0x20000, 0x1a9000),
      row("ota_1", 0, 0x11, 0x1d0000, 0x1a9000),
    ],
    bytes: `aa50010200900000006000006e76730000000000000000000000000000000000
            aa50010000f00000002000006f74616461746100000000000000000000000000
            aa50010100100100001000007068795f696e6974000000000000000000000000
            aa5000100000020000901a006f74615f30000000000000000000000000000000
            aa50001100001d0000901a006f74615f31000000000000000000000000000000
            ebebffffffffffffffffffffffffffff37f38b32a34f7412f158930062441178`,
  },
];

test("tables are byte for byte what IDF's generator makes, and read back", () => {
  for (const { rows, bytes } of GOLDEN) {
    const table = buildTable(rows);
    const golden = hexBytes(bytes);
    assert.equal(table.length, 0xc00);
    assert.deepEqual(table.subarray(0, golden.length), golden);
    assert.ok(table.subarray(golden.length).every((byte) => byte === 0xff));
    assert.deepEqual(parseTable(table), rows);
  }
});

test("a damaged table is refused: MD5, magic, bounds, second MD5, no end, blank", () => {
  const error = (change: (table: Uint8Array) => void, flashSize = 4 << 20) => {
    const table = buildTable(GOLDEN[0].rows);
    change(table);
    const result = checkTable(table, flashSize);
    return "error" in result ? result.error : "";
  };
  assert.equal(
    error(() => {}),
    "",
  );
  assert.match(
    error((t) => t.fill(0x41, 12, 13)),
    /Incorrect MD5/,
  );
  assert.match(
    error((t) => t.fill(0, 32, 33)),
    /partition 1 invalid magic number/,
  );
  assert.match(
    error(() => {}, 2 << 20),
    /exceeds flash chip size/,
  );
  assert.match(
    error(() => {}, 3 << 20),
    /partition 5 invalid - offset 0x210000 size 0x100000 exceeds flash chip size 0x300000/,
  );
  assert.match(
    error((t) => t.copyWithin(224, 192, 224)),
    /Only one MD5/,
  );
  assert.match(
    error((t) => t.fill(0xff)),
    /partition 0 invalid magic number 0xffff/,
  );
  const full = new Uint8Array(0xc00);
  for (let at = 0; at < full.length; at += 32) full.set(hexBytes(GOLDEN[0].bytes).subarray(0, 32), at);
  assert.match(
    error((t) => t.set(full)),
    /no terminating entry/,
  );
});

test("a table without MD5 row is accepted, and 94 rows fit", () => {
  const table = buildTable(GOLDEN[0].rows).fill(0xff, 192, 224);
  assert.deepEqual(parseTable(table), GOLDEN[0].rows);
  const rows = Array.from({ length: 95 }, (_, i) => row(`r${i}`, 0x40, i, 0x10000 + i * SECTOR, SECTOR));
  assert.equal(parseTable(buildTable(rows.slice(1))).length, 94);
  assert.throws(() => buildTable(rows), RangeError);
});

test("otadata is the last row of type data, subtype 0; slots are factory and ota_N", () => {
  const rows = [...GOLDEN[0].rows, row("storage", 1, 0, 0x310000, 0x10000), row("test", 0, 0x20, 0x320000, 0x10000)];
  assert.equal(findOtadata(rows)?.label, "storage");
  assert.equal(findOtadata(rows.slice(0, 1)), null);
  assert.deepEqual(
    slots([...rows].reverse()).map((slot) => slot.label),
    ["factory", "ota_0", "ota_1"],
  );
});

test("every board has a table the bootloader accepts, clear of Espruino's own areas", () => {
  for (const name of boardNames()) {
    const board = loadBoard(name);
    assert.equal(board.name, name);
    assert.equal(CHIPS.find((chip) => chip.chipId === board.chipId)?.name, board.chip, name);
    const table = checkTable(buildTable(board.rows), board.flashSize);
    assert.ok("rows" in table, name);
    assert.equal(findOtadata(board.rows)?.size, 2 * SECTOR, name);
    assert.ok(slots(board.rows).length >= 2, name);
    let free = TABLE_OFFSET + SECTOR;
    for (const { label, type, subtype, offset, size } of board.rows) {
      assert.ok(offset >= free && offset % (type === 0 ? 0x10000 : SECTOR) === 0 && size % SECTOR === 0, name + label);
      if (subtype !== 0x40)
        assert.ok(offset + size <= 0xe000 || offset >= 0x10000, `${name} ${label}: Flash.getFree()`);
      free = offset + size;
    }
    const storage = board.rows.find((r) => r.label === "storage");
    assert.equal(storage?.subtype, 0x41, name);
    if (!name.startsWith("toy-")) assert.deepEqual([storage?.offset, storage?.size], [0x320000, 0xe0000], name);
  }
});

// --- Select entries ------------------------------------------------------------------------------------------------

const VECTORS = JSON.parse(readFileSync(new URL("../../vectors/otadata.json", import.meta.url), "utf8"));

test("select entries and their CRCs are those of the recorded vectors", () => {
  for (const { seq, crc } of VECTORS.cases) assert.equal(entryCrc(seq).toString(16).padStart(8, "0"), crc);
  // Reference 3.1: the formally valid seq 0, and the erased one.
  assert.deepEqual([entryCrc(0), entryCrc(0xffffffff)], [0xffffffff, 0x2144df1c]);
  const states: Record<string, number> = { undefined: UNDEFINED, valid: VALID, new: NEW };
  for (const [name, bytes] of Object.entries(VECTORS.records as Record<string, string>)) {
    const [, seq, state] = name.match(/^seq(\d+) (\w+)$/) ?? [];
    assert.deepEqual(buildEntry(Number(seq), states[state]), hexBytes(bytes), name);
    assert.deepEqual([parseEntry(hexBytes(bytes)).seq, parseEntry(hexBytes(bytes)).crcOk], [Number(seq), true], name);
  }
});

// --- Selection and fallback ----------------------------------------------------------------------------------------

type Slots = "factory" | "ota_0" | "ota_1" | "ota_2" | "test";
type Cell = { seq: number; state?: number; badCrc?: boolean } | "blank";
type InitialState = {
  slots: Slots[];
  entries?: [Cell, Cell];
  broken?: Slots[];
  kind?: BootloaderKind;
  otadataSize?: number;
};

const SUBTYPES = { factory: 0, ota_0: 0x10, ota_1: 0x11, ota_2: 0x12, test: 0x20 };
const OTADATA = 0xd000;
const IMAGES = Object.keys(SUBTYPES).map((_, i) => buildImage({ size: 2048, seed: i + 1 }));

function entryBytes(cell: Cell): Uint8Array {
  if (cell === "blank") return new Uint8Array(32).fill(0xff);
  const bytes = buildEntry(cell.seq, cell.state ?? UNDEFINED);
  if (cell.badCrc) bytes[28] ^= 1;
  return bytes;
}

function flashOf(initial: InitialState): Flash {
  const flash = createFlash({ size: 0x80000 });
  const apps = initial.slots.map((label, i) => row(label, 0, SUBTYPES[label], 0x10000 * (i + 1), 0x10000));
  const otadata = initial.entries ? [row("otadata", 1, 0, OTADATA, initial.otadataSize ?? 0x2000)] : [];
  flash.load(buildTable([...otadata, ...apps]), TABLE_OFFSET);
  for (const [copy, cell] of (initial.entries ?? []).entries()) flash.load(entryBytes(cell), OTADATA + copy * SECTOR);
  apps.forEach((app, i) => {
    const broken = initial.broken?.includes(app.label as Slots);
    flash.load(broken ? mutations.flipBitPair(IMAGES[i]) : IMAGES[i], app.offset);
  });
  return flash;
}

const start = (flash: Flash, kind?: BootloaderKind) => runBootloader(flash, { chipId: 0, kind });
const entry = (flash: Flash, copy: number) => parseEntry(flash.peek(OTADATA + copy * SECTOR, 32));

/** Boots from one initial state and asserts who starts; returns the flash, which nothing but a stated write may have changed. */
function boots(initial: InitialState, slot: Slots | null, selected: Slots | null = slot, writes = 0): Flash {
  const flash = flashOf(initial);
  const boot = start(flash, initial.kind);
  const name = `${initial.kind?.name ?? "current"} ${JSON.stringify(initial)}`;
  assert.deepEqual([boot.slot?.label ?? null, boot.selected], [slot, selected], `${name}\n${boot.log.join("\n")}`);
  assert.equal(boot.image !== null, slot !== null, name);
  assert.equal(flash.counts.writes, writes, name);
  assert.deepEqual(flash.violations, [], name);
  return flash;
}

const TWO: Slots[] = ["ota_0", "ota_1"];
const FACTORY_TWO: Slots[] = ["factory", "ota_0", "ota_1"];
const FACTORY_ONE: Slots[] = ["factory", "ota_0"];
const THREE: Slots[] = ["ota_0", "ota_1", "ota_2"];
const BLANK: [Cell, Cell] = ["blank", "blank"];

test("without otadata the factory image starts", () => {
  for (const kind of KINDS) {
    boots({ slots: FACTORY_TWO, kind }, "factory");
    boots({ slots: TWO, kind }, "ota_0", null);
  }
});

test("blank otadata means factory, or ota_0 without a factory", () => {
  for (const kind of KINDS) {
    boots({ slots: FACTORY_TWO, entries: BLANK, kind }, "factory");
    boots({ slots: TWO, entries: BLANK, kind }, "ota_0", "ota_0", kind.states ? 1 : 0);
  }
});

test("initial contents: seq 1 VALID is written to copy 0; IDF 3 writes nothing", () => {
  for (const kind of [BOOTLOADERS.current, BOOTLOADERS.rollback]) {
    const flash = boots({ slots: TWO, entries: BLANK, kind }, "ota_0", "ota_0", 1);
    assert.deepEqual(flash.peek(OTADATA, 32), buildEntry(1, VALID));
    assert.equal(entry(flash, 1).seq, 0xffffffff);
    const again = start(flash, kind);
    assert.deepEqual([again.slot?.label, flash.counts.writes], ["ota_0", 1]);
  }
});

test("initial contents name the slot that really started", () => {
  const flash = boots({ slots: TWO, entries: BLANK, broken: ["ota_0"] }, "ota_1", "ota_0", 1);
  assert.equal(entry(flash, 0).seq, 2);
});

test("initial contents are not written after a rejected record or a factory start", () => {
  const rejected: [Cell, Cell] = [{ seq: 1, state: INVALID }, "blank"];
  boots({ slots: TWO, entries: rejected }, "ota_0");
  boots({ slots: FACTORY_TWO, entries: BLANK, broken: ["factory"] }, "ota_0", "factory");
});

test("the valid record with the highest seq selects slot (seq - 1) mod n", () => {
  const cases: [InitialState["slots"], Cell, Cell, Slots][] = [
    [TWO, { seq: 1 }, "blank", "ota_0"],
    [TWO, "blank", { seq: 2 }, "ota_1"],
    [TWO, { seq: 1 }, { seq: 2 }, "ota_1"],
    [TWO, { seq: 3 }, { seq: 2 }, "ota_0"],
    [TWO, { seq: 0xfffffffe }, { seq: 1 }, "ota_1"],
    [TWO, { seq: 5 }, { seq: 8, badCrc: true }, "ota_0"],
    [FACTORY_TWO, { seq: 4 }, { seq: 3 }, "ota_1"],
    [FACTORY_ONE, { seq: 4 }, { seq: 3 }, "ota_0"],
    [THREE, { seq: 5 }, { seq: 3 }, "ota_1"],
    [THREE, { seq: 5 }, { seq: 6 }, "ota_2"],
  ];
  for (const kind of KINDS) {
    for (const [slotNames, a, b, slot] of cases) boots({ slots: slotNames, entries: [a, b], kind }, slot);
  }
});

test("on a tie copy 0 counts: with rollback it is the one whose state changes", () => {
  const entries: [Cell, Cell] = [
    { seq: 2, state: NEW },
    { seq: 2, state: NEW },
  ];
  const flash = boots({ slots: TWO, entries, kind: BOOTLOADERS.rollback }, "ota_1", "ota_1", 1);
  assert.deepEqual([entry(flash, 0).state, entry(flash, 1).state], [PENDING_VERIFY, NEW]);
});

test("a record with seq 0 and its CRC counts and selects the last slot", () => {
  for (const kind of KINDS) boots({ slots: TWO, entries: [{ seq: 0 }, "blank"], kind }, "ota_1");
});

test("INVALID and ABORTED records do not count, but for IDF 3.1, which knows no state", () => {
  for (const state of [INVALID, ABORTED]) {
    const entries: [Cell, Cell] = [{ seq: 1 }, { seq: 2, state }];
    boots({ slots: TWO, entries }, "ota_0");
    boots({ slots: TWO, entries, kind: BOOTLOADERS.idf3 }, "ota_1");
    const alone: [Cell, Cell] = ["blank", { seq: 2, state }];
    boots({ slots: FACTORY_TWO, entries: alone }, "factory");
    boots({ slots: FACTORY_TWO, entries: alone, kind: BOOTLOADERS.idf3 }, "ota_1");
  }
});

test("without rollback NEW, PENDING_VERIFY, VALID and UNDEFINED start, unchanged", () => {
  for (const state of [NEW, PENDING_VERIFY, VALID, UNDEFINED]) {
    for (const kind of [BOOTLOADERS.idf3, BOOTLOADERS.current]) {
      boots({ slots: TWO, entries: [{ seq: 1 }, { seq: 2, state }], kind }, "ota_1");
    }
  }
});

test("two records with bad CRCs fall to factory, or to the first slot that starts", () => {
  const entries: [Cell, Cell] = [
    { seq: 1, badCrc: true },
    { seq: 2, badCrc: true },
  ];
  for (const kind of KINDS) {
    boots({ slots: FACTORY_TWO, entries, kind }, "factory");
    boots({ slots: TWO, entries, kind }, "ota_0", null);
    boots({ slots: TWO, entries, broken: ["ota_0"], kind }, "ota_1", null);
  }
});

test("a table with otadata and no OTA slot starts factory, or the test app", () => {
  const entries: [Cell, Cell] = [{ seq: 1 }, "blank"];
  for (const kind of KINDS) {
    boots({ slots: ["factory"], entries, kind }, "factory");
    boots({ slots: ["test"], entries, kind }, "test", null);
  }
});

test("otadata smaller than two sectors boots nothing", () => {
  for (const kind of KINDS) boots({ slots: TWO, entries: BLANK, otadataSize: SECTOR, kind }, null);
});

test("fallback: selected, then down to 0, then factory, then up, then the test app", () => {
  const initial = (names: Slots[], seq: number, broken: Slots[]): InitialState => ({
    slots: names,
    entries: [{ seq }, "blank"],
    broken,
  });
  const all: Slots[] = ["factory", "ota_0", "ota_1", "ota_2"];
  for (const kind of KINDS) {
    const falls = (from: InitialState, slot: Slots | null, selected: Slots) => {
      const flash = boots({ ...from, kind }, slot, selected);
      assert.ok(start(flash, kind).fellBack);
    };
    falls(initial(FACTORY_TWO, 2, ["ota_1"]), "ota_0", "ota_1");
    falls(initial(FACTORY_TWO, 2, ["ota_1", "ota_0"]), "factory", "ota_1");
    falls(initial(FACTORY_TWO, 1, ["ota_0"]), "factory", "ota_0");
    falls(initial(FACTORY_TWO, 1, ["ota_0", "factory"]), "ota_1", "ota_0");
    falls(initial(all, 2, ["ota_1", "ota_0", "factory"]), "ota_2", "ota_1");
    falls(initial(TWO, 1, ["ota_0"]), "ota_1", "ota_0");
    falls(initial([...TWO, "test"], 1, TWO), "test", "ota_0");
    falls(initial(TWO, 1, TWO), null, "ota_0");
  }
});

test("a start without fallback says so", () => {
  assert.equal(start(flashOf({ slots: TWO, entries: [{ seq: 2 }, "blank"] })).fellBack, false);
  assert.equal(start(flashOf({ slots: TWO })).fellBack, false);
});

test("slots behind a gap in the OTA numbers are counted and never tried", () => {
  boots({ slots: ["ota_0", "ota_2"], entries: [{ seq: 1 }, "blank"], broken: ["ota_0"] }, null, "ota_0");
  const flash = flashOf({ slots: ["ota_0", "ota_2"], entries: [{ seq: 2 }, "blank"] });
  const boot = start(flash);
  assert.deepEqual([boot.slot?.label, boot.selected, boot.fellBack], ["ota_0", null, true]);
});

test("the last data/0 row is obeyed: one labelled storage hides the real otadata", () => {
  const flash = flashOf({ slots: TWO, entries: [{ seq: 1 }, { seq: 2 }] });
  const rows = parseTable(flash.peek(TABLE_OFFSET, 0xc00));
  flash.load(buildTable([...rows, row("storage", 1, 0, 0x70000, 0x10000)]), TABLE_OFFSET);
  flash.load(buildEntry(1), 0x70000);
  assert.equal(start(flash).slot?.label, "ota_0");
});

// --- Rollback ------------------------------------------------------------------------------------------------------

const { rollback } = BOOTLOADERS;

test("rollback: NEW becomes PENDING_VERIFY before its first start", () => {
  const flash = boots(
    { slots: TWO, entries: [{ seq: 1 }, { seq: 2, state: NEW }], kind: rollback },
    "ota_1",
    "ota_1",
    1,
  );
  assert.deepEqual(flash.peek(OTADATA + SECTOR, 32), buildEntry(2, PENDING_VERIFY));
  assert.deepEqual(flash.peek(OTADATA, 32), buildEntry(1));
  assert.deepEqual(
    flash.log.map((op) => [op.kind, op.addr, op.length]),
    [
      ["erase", OTADATA + SECTOR, SECTOR],
      ["write", OTADATA + SECTOR, 32],
    ],
  );
});

test("rollback: a second start without confirmation aborts the image, the old starts", () => {
  const flash = flashOf({
    slots: TWO,
    entries: [
      { seq: 1, state: VALID },
      { seq: 2, state: NEW },
    ],
  });
  assert.equal(start(flash, rollback).slot?.label, "ota_1");
  assert.equal(start(flash, rollback).slot?.label, "ota_0");
  assert.equal(entry(flash, 1).state, ABORTED);
  assert.equal(start(flash, rollback).slot?.label, "ota_0");
  assert.equal(flash.counts.writes, 2);
});

test("rollback: a confirmed image starts each time and nothing is written", () => {
  boots({ slots: TWO, entries: [{ seq: 1 }, { seq: 2, state: VALID }], kind: rollback }, "ota_1");
});

test("rollback: PENDING_VERIFY becomes ABORTED in either copy, even with a bad CRC", () => {
  const entries: [Cell, Cell] = [{ seq: 1, state: PENDING_VERIFY, badCrc: true }, { seq: 2 }];
  const flash = boots({ slots: TWO, entries, kind: rollback }, "ota_1", "ota_1", 1);
  assert.equal(entry(flash, 0).state, ABORTED);
});

test("rollback: with only an aborted image ota_0 is tried, without initial contents", () => {
  const flash = boots(
    { slots: TWO, entries: ["blank", { seq: 2, state: PENDING_VERIFY }], kind: rollback },
    "ota_0",
    "ota_0",
    1,
  );
  assert.equal(entry(flash, 0).seq, 0xffffffff);
});

test("rollback: the label bytes of a record survive a change of state", () => {
  const flash = flashOf({ slots: TWO, entries: ["blank", "blank"] });
  const bytes = buildEntry(2, NEW);
  bytes[10] = 0x41;
  flash.load(bytes, OTADATA);
  start(flash, rollback);
  assert.equal(flash.peek(OTADATA + 10, 1)[0], 0x41);
});

test("a power cut inside any write of the bootloader still leaves a slot that starts", () => {
  const initial: InitialState = {
    slots: TWO,
    entries: [
      { seq: 1, state: VALID },
      { seq: 2, state: NEW },
    ],
  };
  for (let cut = 0; cut < 2; cut++) {
    const flash = flashOf(initial);
    flash.onOp = (op, phase) => {
      if (phase === "after" && op.index === cut) throw new Error("power");
    };
    assert.throws(() => start(flash, rollback), /power/);
    flash.onOp = null;
    assert.equal(start(flash, rollback).slot?.label, "ota_0");
  }
});

// --- What it says --------------------------------------------------------------------------------------------------

test("the log reads like the serial port", () => {
  const flash = flashOf({ slots: FACTORY_ONE, entries: [{ seq: 1 }, "blank"], broken: ["ota_0"] });
  const log = start(flash).log;
  assert.equal(log[0], "I (58) boot: Partition Table:");
  for (const line of [
    /^I \(\d+\) boot: {2}0 otadata {10}OTA data {9}01 00 0000d000 00002000$/,
    /^I \(\d+\) boot: {2}2 ota_0 {12}OTA app {10}00 10 00020000 00010000$/,
    /^I \(\d+\) esp_image: segment 0: paddr=00020020 vaddr=3f400020 size=00308h \( {3}776\) map$/,
    /^E \(\d+\) esp_image: Image hash failed - image is corrupt$/,
    /^E \(\d+\) boot: OTA app partition slot 0 is not bootable$/,
    /^I \(\d+\) boot: Loaded app from partition at offset 0x10000$/,
  ]) {
    assert.ok(
      log.some((text) => line.test(text)),
      `${line}\n${log.join("\n")}`,
    );
  }
});

test("a broken table or an empty chip boots nothing and says why", () => {
  const flash = flashOf({ slots: TWO });
  flash.load(Uint8Array.of(0), TABLE_OFFSET + 12);
  const boot = start(flash);
  assert.equal(boot.slot, null);
  assert.match(
    boot.log.join("\n"),
    /E \(\d+\) flash_parts: Incorrect MD5 checksum\n.*Failed to verify partition table/,
  );
  assert.equal(start(createFlash()).slot, null);
});

test("the table may lie elsewhere", () => {
  const flash = flashOf({ slots: TWO });
  flash.load(flash.peek(TABLE_OFFSET, 0xc00), 0x9000);
  flash.erase(TABLE_OFFSET);
  assert.equal(runBootloader(flash, { chipId: 0, tableOffset: 0x9000 }).slot?.label, "ota_0");
});

test("IDF 3.1 does not look at the chip id or the revisions, later bootloaders do", () => {
  for (const name of ["chipId", "minRevision", "maxRevision"]) {
    const flash = flashOf({ slots: TWO, entries: [{ seq: 1 }, "blank"] });
    flash.load(mutations[name](IMAGES[0]), 0x10000);
    assert.equal(start(flash).slot?.label, "ota_1", name);
    assert.equal(start(flash, BOOTLOADERS.idf3).slot?.label, "ota_0", name);
  }
});

test("IDF 3.3.6 reads byte 14 of the header, later bootloaders the full revisions", () => {
  const cases: [spec: ImageSpec, revision: number, idf33: boolean, current: boolean][] = [
    [{ minChipRev: 3 }, 300, true, true],
    [{ minChipRev: 3 }, 100, false, true],
    [{ minChipRev: 1 }, 100, true, true],
    [{ minRevision: 301 }, 300, true, false],
    [{ maxRevision: 299 }, 300, true, false],
  ];
  for (const [spec, revision, ...starts] of cases) {
    const flash = flashOf({ slots: TWO, entries: [{ seq: 1 }, "blank"] });
    flash.load(buildImage({ size: 2048, ...spec }), 0x10000);
    for (const [i, kind] of [IDF33, BOOTLOADERS.current].entries()) {
      const boot = runBootloader(flash, { chipId: 0, kind, revision });
      const name = `${kind.name} ${JSON.stringify(spec)}\n${boot.log.join("\n")}`;
      assert.equal(boot.slot?.label, starts[i] ? "ota_0" : "ota_1", name);
    }
    assert.equal(runBootloader(flash, { chipId: 0, kind: BOOTLOADERS.idf3, revision }).slot?.label, "ota_0");
  }
});

test("byte 14 means minor revisions on the newer chips, and is refused in IDF's words", () => {
  const flash = createFlash({ size: 0x40000 });
  flash.load(buildTable([row("factory", 0, 0, 0x10000, 0x10000)]), TABLE_OFFSET);
  flash.load(buildImage({ chip: "esp32c3", minChipRev: 4 }), 0x10000);
  const starts = (revision: number) => runBootloader(flash, { chipId: 5, kind: IDF33, revision });
  assert.equal(starts(4).slot?.label, "factory");
  assert.equal(starts(104).slot?.label, "factory");
  assert.match(starts(3).log.join("\n"), /E \(\d+\) boot_comm: can't run on lower chip revision, expected 3, found 4/);
});
