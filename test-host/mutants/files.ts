// The module, or the loader, without a guard of releases with files: each has to be caught in the cell that is named.
// A list of its own: its mutants are caught by the campaign of releases with files, whose cells have other names than those of
// mutants.ts.

import type { Edit } from "../support/mutate.ts";

export type FilesMutant = { guard: string; edits: Edit[]; cell: string; says: RegExp };

export const FILES_MUTANTS: readonly FilesMutant[] = [
  {
    guard: "a file is verified in Storage before a record points to it",
    edits: [
      {
        file: "update/files.ts",
        from: "if (bytes === size && isWhole(stored, size)) return end(null);",
        to: "return end(null);",
      },
      {
        file: "boot/release-files.ts",
        from: "text.length === size && nameOf(text) === stored",
        to: "text.length === size",
      },
    ],
    cell: "single/plain/update",
    says: /runs|ends|comes to no end/,
  },
  {
    guard: "the record is written when all files are there",
    edits: [
      {
        file: "update/files.ts",
        from: "const index = files.missing_[next++];",
        to: "const index = files.missing_[next++];\n        if (next === 1) return done(null, writeSet(set));",
      },
    ],
    cell: "single/plain/update",
    says: /runs|ends|comes to no end/,
  },
  {
    guard: "the files before stay until the new ones are confirmed",
    edits: [
      { file: "boot/release-files.ts", from: 'names.push(one.before || "");', to: "" },
      { file: "boot/release-files.ts", from: 'const names = [runningSet() || ""];', to: "const names: string[] = [];" },
      {
        file: "boot/ota-ops.ts",
        from: "const running = readLayout(true).running_;",
        to: "const running = readLayout(true).running_;\n      eraseUnused(null);",
      },
    ],
    cell: "single/plain/rollback",
    says: /runs|ends|comes to no end/,
  },
  {
    guard: "a rollback moves the pointer back",
    edits: [{ file: "boot/boot-record.ts", from: "bind(record, label, before);", to: "" }],
    cell: "single/plain/rollback",
    says: /ends with 2|comes to no end/,
  },
  {
    guard: "what was rolled back is refused",
    edits: [
      { file: "update/offer.ts", from: "checkNotRolledBack(plan);", to: "" },
      { file: "update/finish.ts", from: "checkNotRolledBack(plan);", to: "" },
    ],
    cell: "single/plain/rollback",
    says: /comes to no end/,
  },
  {
    guard: "the loader counts a start before it runs a program",
    edits: [
      {
        file: "loader/loader.ts",
        from: "if (record && record.boots !== -2) {",
        to: "if (record && record.boots > 99) {",
      },
    ],
    cell: "single/plain/unconfirmed",
    says: /comes to no end/,
  },
  {
    guard: "a slot keeps its own set while the other one is on trial",
    edits: [
      {
        file: "boot/boot-record.ts",
        from: "bind(record, running.label, set);",
        to: "bind(record, running.label, image.set_ || set);",
      },
    ],
    cell: "classic/plain/both-rollback",
    says: /runs|ends|comes to no end/,
  },
  {
    guard: "files alone give up another slot that was selected and not started",
    edits: [{ file: "update/finish.ts", from: "select(layout, target, State.VALID);", to: "{}" }],
    cell: "classic/plain/instead",
    says: /ends with 2|comes to no end/,
  },
  {
    guard: "room is looked at before a file is created",
    edits: [{ file: "boot/storage-file.ts", from: "if (free < needed)", to: "if (false)" }],
    cell: "single/full/unconfirmed",
    says: /a page of Storage is erased|corrupt|is not what it was/,
  },
  {
    guard: "a created file is looked for",
    edits: [
      { file: "boot/storage-file.ts", from: "if (readPart(name, size - 1, 1).length) return;", to: "return;" },
      {
        file: "boot/release-files.ts",
        from: "if (readPart(stored, offset, text.length) !== text)",
        to: "if (false)",
      },
      {
        file: "boot/release-files.ts",
        from: "text.length === size && nameOf(text) === stored",
        to: "text.length === size",
      },
      {
        file: "update/files.ts",
        from: "if (bytes === size && isWhole(stored, size)) return end(null);",
        to: "return end(null);",
      },
    ],
    cell: "single/torn/update",
    says: /runs|ends|no end|Unable/,
  },
];
