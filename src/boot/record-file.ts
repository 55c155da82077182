// A file of records that are appended and never changed: docs/formats.md, "Boot record". Pure: it works on the text of
// the file. A record is a whole number of units. Its first character is this number. Then come the CRC-32 of the rest as
// eight hexadecimal digits, and JSON padded with blanks. A record of "+" alone counts one more start since the record
// before. If a loss of power has torn a record, its CRC is wrong: it is skipped, and the next one is written behind it.

/** In bytes. */
export const enum RecordFile {
  SIZE = 4096,
  UNIT = 64,
  /** the number of units, and the CRC */
  HEAD = 9,
  /** what Storage puts before each file (JsfFileHeader, src/jsflash.h) */
  FILE_HEADER = 32,
}

/** What a file of records says. */
export interface Found {
  /** the last whole record; null if the file has none */
  fields_: any[] | null;
  /** starts that are counted after it */
  ticks_: number;
  /** offset of the next record */
  end_: number;
}

function crcDigits(text: string): string {
  return ("0000000" + E.CRC32(text).toString(16)).substr(-8);
}

/** The record with this text. */
export function sealRecord(text: string): string {
  const units = Math.ceil((RecordFile.HEAD + text.length) / RecordFile.UNIT);
  let padded = text;
  while (padded.length < units * RecordFile.UNIT - RecordFile.HEAD) padded += " ";
  return String.fromCharCode(units) + crcDigits(padded) + padded;
}

/** Reads `file`, which may be "", from its beginning to its end. */
export function readRecords(file: string): Found {
  const found: Found = { fields_: null, ticks_: 0, end_: 0 };
  let blank = String.fromCharCode(255); // the Web IDE's minifier turns an escape into a character that is not ASCII
  while (blank.length < RecordFile.UNIT) blank += blank;
  let offset = 0;
  while (offset < file.length) {
    const length = file.charCodeAt(offset) * RecordFile.UNIT;
    const text = file.substr(offset + RecordFile.HEAD, length ? length - RecordFile.HEAD : 0);
    if (length && offset + length <= file.length && crcDigits(text) === file.substr(offset + 1, 8)) {
      if (text[0] === "+") found.ticks_++;
      else {
        found.fields_ = JSON.parse(text);
        found.ticks_ = 0;
      }
      offset += length;
      found.end_ = offset;
    } else {
      // torn, or not written
      if (file.substr(offset, RecordFile.UNIT) !== blank) found.end_ = offset + RecordFile.UNIT;
      offset += RecordFile.UNIT;
    }
  }
  return found;
}
