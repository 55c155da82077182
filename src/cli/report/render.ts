// Reports as tables for people. Everything that a file says goes through printable().
import pc from "picocolors";
import { hex, sizeText } from "../formats/bytes.ts";
import { loadBoards } from "../formats/boards.ts";
import type { Claims } from "../release/manifest.ts";
import { releaseId } from "../release/program.ts";
import { rolloutText } from "./summary.ts";
import { dateText } from "../ui/dates.ts";
import { printable } from "../ui/errors.ts";
import { columns, field } from "../ui/tables.ts";
import type { EspruinoImage } from "../formats/espruino-image.ts";
import { inhabitants, remedy, storageOf, storageText } from "../formats/espruino-storage.ts";
import type { Dump, Slot } from "../formats/dump.ts";
import type { Compared, Image, Problem } from "../formats/image.ts";
import { storedSize } from "../formats/storage-image.ts";
import { WIFI_FILE } from "../formats/factory-folder.ts";
import { fileTable, filesText } from "./files.ts";
import type { Report } from "./report.ts";
import { slotOfSeq } from "../../boot/otadata.ts";
import type { Entry } from "../formats/otadata.ts";
import {
  flagNames,
  MISSING_MD5,
  type Row,
  slotNotes,
  subtypeName,
  type Table,
  typeName,
} from "../formats/partitions.ts";

const KINDS: Record<Report["kind"], string> = {
  image: "app image",
  bootloader: "bootloader",
  manifest: "signed manifest",
  table: "partition table",
  otadata: "otadata",
  storage: "Storage of Espruino",
  dump: "whole flash",
};

const failure = ({ offset, text }: Problem) => `  ${pc.red(`error at ${hex(offset)}: ${printable(text)}`)}`;
const revision = (full: number) => `${Math.floor(full / 100)}.${full % 100}`;

// --- Image -----------------------------------------------------------------------------------------------------------

function comparedText({ offset, found, wanted, ok }: Compared): string {
  const text = `${found} at ${hex(offset)}`;
  return ok ? `${text}, ${pc.green("ok")}` : pc.red(`${text}, computed ${wanted}`);
}

function appLines(image: Image): string[] {
  const { descriptor, bootloaderIdf } = image;
  if (bootloaderIdf) return [field("built with", `ESP-IDF ${printable(bootloaderIdf)}`)];
  if (!descriptor) return [field("descriptor", "none")];
  const { project, version, date, time, idfVersion, elfSha256, secureVersion } = descriptor;
  return [
    field("project", printable(`${project} ${version}`)),
    field("built", printable(`${date} ${time}, ESP-IDF ${idfVersion}`)),
    field("ELF SHA-256", elfSha256),
    ...(secureVersion ? [field("secure ver.", String(secureVersion))] : []),
  ];
}

export function flashText({ header }: Image): string {
  const size = header.flashSize ? sizeText(header.flashSize) : "of unknown size";
  return `${header.spiMode}, clock ${header.spiSpeed}, ${size}`;
}

function chipText({ header }: Image): string {
  const least = header.minRevision ? `, revision ${revision(header.minRevision)} or later` : "";
  const most = header.maxRevision && header.maxRevision !== 0xffff ? `, at most ${revision(header.maxRevision)}` : "";
  return `${header.chip ?? "unknown"} (chip id ${hex(header.chipId, 4)})${least}${most}`;
}

function espruinoLines(espruino: EspruinoImage | null): string[] {
  if (!espruino) return [];
  const { version, board, partition, missing } = espruino;
  return [
    field("Espruino", `${printable(version ?? "of unknown version")}, board ${board ?? "unknown"}`),
    field("storage", partition ? storageText(storageOf(partition, version)) : pc.yellow("unknown: see sign --storage")),
    ...(missing.length ? [field("https-ota", pc.yellow(`cannot run here: no ${missing.join(", ")}`))] : []),
  ];
}

function imageLines(image: Image, espruino: EspruinoImage | null): string[] {
  const { header, length, trailing } = image;
  const segments = image.segments.map((one, i) => [
    String(i),
    hex(one.offset, 6),
    String(one.length),
    hex(one.loadAddr, 8),
    one.mapped ? "mapped" : one.loadAddr < 0x10000000 ? "padding" : "loaded",
  ]);
  return [
    field("chip", chipText(image)),
    ...appLines(image),
    ...espruinoLines(espruino),
    field("flash", flashText(image)),
    field("entry", hex(header.entry, 8)),
    field(
      "length",
      length === null ? pc.red("unknown") : `${length} bytes${trailing ? `, and ${trailing} behind it` : ""}`,
    ),
    ...columns([["segment", "offset", "bytes", "address", ""], ...segments]),
    ...(image.checksum ? [field("checksum", comparedText(image.checksum))] : []),
    ...(image.sha256 ? [field("SHA-256", comparedText(image.sha256))] : []),
    ...(image.checksum && !header.hashAppended ? [field("SHA-256", "none appended")] : []),
  ];
}

// --- Table and otadata -----------------------------------------------------------------------------------------------

function tableLines(rows: readonly Row[], notes: (row: Row) => string = () => ""): string[] {
  const cells = rows.map((row) => [
    printable(row.label),
    typeName(row.type),
    subtypeName(row),
    hex(row.offset, 6),
    sizeText(row.size),
    flagNames(row.flags),
    notes(row),
  ]);
  return columns([["name", "type", "subtype", "offset", "size", "flags", ""], ...cells]);
}

function md5Text({ md5 }: Table): string {
  if (md5 === "ok") return pc.green("ok");
  return md5 === "missing" ? pc.yellow("missing") : pc.red(md5);
}

function tableNotes({ rows, md5 }: Table): string[] {
  return [...(md5 === "missing" ? [MISSING_MD5] : []), ...slotNotes(rows)];
}

function boardText(names: string[]): string {
  if (!names.length) return "none of boards/";
  const boards = loadBoards();
  return names.map((name) => `${name} (${boards.find((board) => board.name === name)?.title})`).join(", ");
}

function entryLine(entry: Entry, copy: number, active: boolean, slots: string[]): string {
  if (entry.blank) return field(`copy ${copy}`, "blank");
  const slot = slots.length ? slots[slotOfSeq(entry.seq, slots.length)] : `ota_${slotOfSeq(entry.seq, 2)} of two slots`;
  const text = `seq ${entry.seq}, ${entry.state}, names ${printable(slot)}`;
  if (!entry.valid)
    return field(`copy ${copy}`, `${text}: ${pc.red(`not valid at ${hex(entry.offset)}, ${entry.reason}`)}`);
  return field(`copy ${copy}`, `${text}, CRC ${pc.green("ok")}${active ? pc.bold("  <- active") : ""}`);
}

/** Which builds of Espruino find the files of their Storage on a flash with this table. */
function inhabitantLines(rows: readonly Row[]): string[] {
  const { fits, misfits, notes } = inhabitants(rows);
  return [
    ...fits.map((text) => field("Espruino", text)),
    ...misfits.map(({ text }) => field("not for", pc.yellow(`Espruino ${text}`))),
    ...notes.map((text) => field("note", text)),
  ];
}

// --- Storage ---------------------------------------------------------------------------------------------------------

const countText = (count: number) => `${count} ${count === 1 ? "file" : "files"}`;

function storedLines({ files, erased, free, torn }: (Report & { kind: "storage" })["storage"]): string[] {
  const rows = files.map(({ name, offset, size }) => [printable(name), hex(offset, 6), String(size)]);
  const used = files.reduce((sum, { size }) => sum + storedSize(size), 0);
  const wifi = files.some(({ name }) => name === WIFI_FILE);
  return [
    ...columns([["file", "offset", "bytes"], ...rows]),
    field("storage", `${countText(files.length)}, ${used} bytes, ${free} free`),
    ...(erased.count ? [field("erased", `${countText(erased.count)}, ${erased.bytes} bytes`)] : []),
    ...(torn === null ? [] : [field("note", `at ${hex(torn)}: neither the header of a file nor erased flash`)]),
    ...(wifi
      ? [field("note", `${WIFI_FILE} holds the name and the password of a Wi-Fi: do not publish this file`)]
      : []),
  ];
}

// --- Whole flash -----------------------------------------------------------------------------------------------------

function nameText({ image, espruino }: Slot): string {
  if (espruino) return `espruino ${printable(espruino.version ?? "of unknown version")}`;
  const { descriptor } = image as Image;
  return descriptor ? printable(`${descriptor.project} ${descriptor.version}`) : "image without descriptor";
}

function slotText(slot: Slot): string {
  const { content, image } = slot;
  if (content === "blank") return pc.dim("blank");
  if (content === "outside") return pc.yellow("not in this file");
  if (content === "unread") return pc.yellow("not read: too many slots overlap");
  if (content === "cut") return pc.yellow("only its start is in this file");
  if (!image) return pc.yellow("no image");
  const name = nameText(slot);
  if (content === "image") return `${name}, ${image.length} bytes, ${pc.green("valid")}`;
  const [{ offset, text }] = image.problems;
  return `${name}, ${pc.red(printable(`broken at ${hex(offset)}: ${text}`))}`;
}

/** Does the app of this slot find its files? Storage is one for all slots, and builds differ in where they look. */
function storageLines({ label, storage }: Slot): string[] {
  if (!storage) return [];
  const name = printable(label);
  if (!storage.problem) return [field("storage", `${name} reads ${storageText(storage)}`)];
  return [
    field("storage", pc.red(`${name} cannot read its files (${storageText(storage)}): ${printable(storage.problem)}`)),
    field("", remedy(storage)),
  ];
}

function startText({ selected, starts, crashesIn, slots }: Dump): string {
  if (slots.some(({ content }) => content === "unread")) return pc.red("unknown");
  const crash = crashesIn ? pc.red(`, unless its bootloader crashes in ${printable(crashesIn)} (ESP-IDF 3)`) : "";
  if (!starts) return pc.red("nothing");
  const other = selected !== null && selected !== starts;
  return (
    pc.bold(printable(starts)) +
    (other ? pc.yellow(` (a fallback: ${printable(selected)} is selected and does not start)`) : "") +
    crash
  );
}

function bootloaderText({ bootloader }: Dump): string {
  if (!bootloader) return "none";
  const idf = bootloader.bootloaderIdf ? `, ESP-IDF ${printable(bootloader.bootloaderIdf)}` : "";
  const chip = bootloader.header.chip ?? "unknown chip";
  return `at ${hex(bootloader.offset)}, ${chip}, flash ${flashText(bootloader)}${idf}`;
}

function otadataLines({ otadata, slots, table }: Dump): string[] {
  if (!otadata) return [field("otadata", "none")];
  const ota = slots.filter(({ label }) => table.rows.some((row) => row.label === label && row.subtype >= 0x10));
  const labels = ota.map(({ label }) => label);
  return otadata.entries.map((entry, i) => entryLine(entry, i, otadata.active === i, labels));
}

function dumpLines(report: Report & { kind: "dump" }): string[] {
  const { begin, dump, boards, updates } = report;
  const { table } = dump;
  return [
    ...(begin ? [field("begins", `at flash address ${hex(begin)}`)] : []),
    field("bootloader", bootloaderText(dump)),
    field("table", `at ${hex(dump.tableOffset)}, MD5 ${md5Text(table)}, board ${boardText(boards)}`),
    ...tableLines(table.rows),
    ...otadataLines(dump),
    ...dump.slots.map((slot) => field(printable(slot.label), slotText(slot))),
    ...dump.slots.flatMap(storageLines),
    ...[...tableNotes(table), ...inhabitants(table.rows).notes].map((note) => field("note", note)),
    field("updates", printable(updates)),
    field("starts", startText(dump)),
  ];
}

// --- All -------------------------------------------------------------------------------------------------------------

function imageClaimLines({ url, size, storage, fsverity, sha256 }: NonNullable<Claims["image"]>): string[] {
  return [
    field("image", printable(`${url}, ${size} bytes`)),
    ...(storage ? [field("storage", printable(storageText(storage)))] : []),
    field("digest", printable(`fsverity-${fsverity}`)),
    ...(sha256 ? [field("SHA-256", printable(sha256))] : []),
  ];
}

function manifestLines(report: Report & { kind: "manifest" }): string[] {
  if (!report.token) return [];
  const { header, claims } = report.token;
  const signed = (kid: unknown, bytes: number) =>
    field("signed by", `${printable(String(kid))}, ${bytes} bytes, not checked (see verify)`);
  return [
    signed(header.kid, report.signatureBytes),
    ...(report.second ? [signed(report.second.header.kid, report.second.signatureBytes)] : []),
    field("project", printable(`${claims.project} ${claims.version}`)),
    field("chip", printable(claims.chip + (claims.board === undefined ? "" : `, board ${claims.board}`))),
    field("sequence", String(claims.sequence)),
    field("signed at", dateText(claims.iat)),
    field("expires", claims.exp === undefined ? "never" : dateText(claims.exp)),
    ...(claims.rollout ? [field("rollout", rolloutText(claims.rollout))] : []),
    ...(claims.image ? imageClaimLines(claims.image) : []),
    ...(claims.files ? [field("files", printable(filesText(claims))), field("release", releaseId(claims) ?? "")] : []),
    ...fileTable(claims),
  ];
}

function bodyLines(report: Report): string[] {
  switch (report.kind) {
    case "image":
    case "bootloader":
      return [
        ...imageLines(report.image, report.espruino),
        field("digest", `fsverity-${report.fsverity}`),
        field("whole file", `SHA-256 ${report.sha256OfFile}`),
      ];
    case "manifest":
      return manifestLines(report);
    case "table":
      return [
        ...tableLines(report.table.rows),
        field("MD5", md5Text(report.table)),
        field("board", boardText(report.boards)),
        field("updates", printable(report.updates)),
        ...tableNotes(report.table).map((note) => field("note", note)),
        ...inhabitantLines(report.table.rows),
      ];
    case "otadata":
      return report.entries.map((entry, i) => entryLine(entry, i, report.active === i, []));
    case "storage":
      return storedLines(report.storage);
    case "dump":
      return dumpLines(report);
  }
}

/** A merged image (esptool merge-bin) is a flash that ends with its app. */
function kindText(report: Report): string {
  const part = report.kind === "dump" && report.size < report.dump.flashSize;
  return part ? "merged image or first part of a flash" : KINDS[report.kind];
}

export function renderReport(report: Report): string[] {
  const head = `${printable(report.file)}: ${pc.bold(kindText(report))}, ${sizeText(report.size)}`;
  return [head, ...bodyLines(report), ...report.problems.map(failure)];
}
