// The files of a release, in the order in which a device registers them: docs/formats.md#files-and-entry.
import { createHash } from "node:crypto";
import { moduleName, releaseText } from "../../boot/file-set.ts";
import { type ManifestFile, parseManifest } from "../../trust/manifest.ts";
import { printable, refuse } from "../ui/errors.ts";
import { checkRequires, inOrder, noteOf, readCode } from "./modules.ts";
import { minified } from "./requires.ts";
import { collectFiles, readNamed, type Source, type SourceFile, sourceName } from "./source-files.ts";

/** What the options of `sign` and `serve` say about the files of a release. */
export interface ProgramOptions extends Source {
  entry?: string;
  minify?: boolean;
  filesUrl?: string;
}

export interface Program {
  /** the folder, for messages */
  where: string;
  entry: string;
  /** in the order of the manifest */
  files: SourceFile[];
  /** facts that a person who signs it should know */
  notes: string[];
}

/** What of the claims is about files. */
export type Claimed = { image?: { fsverity: string }; files?: ManifestFile[]; entry?: string; version: string };

export const sha256Of = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

// --- Names -----------------------------------------------------------------------------------------------------------

/** What a device says in fewer words. */
const NAMES =
  "ASCII characters with its folders, without \\, ., .. and the names of Espruino (.boot, .varimg) and https-ota";

/** Why a device refuses a file of this name, or null. The device's own rule decides. */
function nameRefusal(name: string): string | null {
  const files = [{ name, size: 1, sha256: "0".repeat(64) }];
  const manifest = { format: 2, project: "p", version: "v", chip: "c", sequence: 0, iat: 0, files, entry: name };
  try {
    parseManifest(JSON.stringify(manifest));
    return null;
  } catch (error) {
    return (error as Error).message.replace(/^manifest: /, "").replace(/printable characters, no \. or \.\.$/, NAMES);
  }
}

function checkNames(files: readonly SourceFile[], entry: string): void {
  const modules = new Map<string, string>();
  for (const { name, path: file } of files) {
    const problem = nameRefusal(name);
    if (problem !== null)
      refuse(file, printable(`${problem}: rename it, give it by --file NAME=PATH, or leave it out (--ignore)`));
    const module = moduleName({ entry }, name);
    const other = modules.get(module);
    if (module && other !== undefined)
      refuse(file, `file ${name}: ${other} is the module "${module}" too: rename one of them`);
    modules.set(module, name);
  }
}

/** Characters that a URL's path may have as they are (RFC 3986 3.3), without ":", which would end a scheme. */
const PLAIN_NAME = /^[A-Za-z0-9\-._~!$&'()*+,;=@/]+$/;

/** Where a file will be; undefined when that is its name. */
export function urlOf(name: string, prefix?: string): string | undefined {
  const encoded = PLAIN_NAME.test(name) ? name : name.split("/").map(encodeURIComponent).join("/");
  return prefix === undefined ? (encoded === name ? undefined : encoded) : prefix + encoded;
}

// --- Notes ----------------------------------------------------------------------------------------------------------

function contentNotes(files: readonly SourceFile[]): string[] {
  const notes: string[] = [];
  for (const { name, bytes } of files) {
    const text = /\.js$/.test(name) ? bytes.toString("latin1") : "";
    const at = text.search(/\/[/*][#@] ?sourceMappingURL=/);
    if (at >= 0) notes.push(noteOf(name, `has a sourceMappingURL comment: a device stores its bytes for nothing`));
    if (!bytes.length) notes.push(noteOf(name, "is empty: a device does not store it"));
  }
  return notes;
}

/** As many as fit into a line. */
const MOST_NAMED = 8;

function leftOutNote(where: string, leftOut: readonly string[]): string[] {
  if (!leftOut.length) return [];
  const more = leftOut.length > MOST_NAMED ? ` and ${leftOut.length - MOST_NAMED} more` : "";
  return [printable(`left out of ${where}: ${leftOut.slice(0, MOST_NAMED).join(", ")}${more}`)];
}

// --- All -------------------------------------------------------------------------------------------------------------

async function minifyAll(files: readonly SourceFile[]): Promise<SourceFile[]> {
  return Promise.all(
    files.map(async (file) => {
      if (!/\.js$/.test(file.name)) return file;
      const small = await minified(file.bytes.toString("utf8")).catch((error: Error) =>
        refuse(file.path, `file ${file.name} cannot be minified: ${printable(error.message)}`),
      );
      return { ...file, bytes: Buffer.from(small) };
    }),
  );
}

function checkEntry(where: string, files: readonly SourceFile[], entry: string, leftOut: readonly string[]): void {
  const program = files.find(({ name }) => name === entry);
  if (!program) {
    if (leftOut.includes(entry))
      refuse(
        where,
        printable(`entry ${entry} is left out, by its name or by --ignore: rename it, or give it by --file NAME=PATH`),
      );
    const names = files.map(({ name }) => name).filter((name) => name.endsWith(".js"));
    const some = names.length ? ` (there is ${names.slice(0, MOST_NAMED).join(", ")})` : "";
    refuse(where, printable(`entry ${entry} is not one of its files${some}: --entry names the program`));
  } else if (!program.bytes.length) refuse(program.path, `file ${entry}: the entry is empty, expected a program`);
}

/** Reads, checks and orders the files of a release. */
export async function readProgram(options: ProgramOptions): Promise<Program> {
  const where = sourceName(options);
  const entry = options.entry as string;
  const { files: read, leftOut } = collectFiles(options);
  checkNames(read, entry);
  checkEntry(where, read, entry, leftOut);
  const notes: string[] = leftOutNote(where, leftOut);
  // before they are minified, which drops the comments
  if (!options.minify) notes.push(...contentNotes(read));
  const files = options.minify ? await minifyAll(read) : read;
  checkEntry(where, files, entry, leftOut);
  const code = readCode(files, entry, notes);
  checkRequires(code, entry, notes);
  const modules = inOrder(
    code.filter(({ module }) => module),
    where,
  ).map(({ file }) => file);
  const program = files.filter(({ name }) => name === entry);
  const data = files.filter((file) => !modules.includes(file) && file.name !== entry);
  return { where, entry, files: [...modules, ...program, ...data], notes };
}

/** The files of a release that is signed already, read from here. */
export async function readAgain(options: ProgramOptions, { files, entry }: Claimed): Promise<Program> {
  const names = (files ?? []).map(({ name }) => name);
  const read = readNamed(options, names);
  const same = options.minify ? await minifyAll(read) : read;
  return { where: sourceName(options), entry: entry as string, files: same, notes: [] };
}

/** The claims `files` and `entry`. */
export function fileClaims({ files, entry }: Program, prefix?: string): { files: ManifestFile[]; entry: string } {
  return {
    files: files.map(({ name, bytes }) => {
      const url = urlOf(name, prefix);
      return { name, size: bytes.length, sha256: sha256Of(bytes), ...(url === undefined ? {} : { url }) };
    }),
    entry,
  };
}

/** Refuses files that are not those that a manifest names. */
export function checkFilesMatch(where: string, { files = [] }: Claimed, program: Program): void {
  for (const [i, { name, size, sha256 }] of files.entries()) {
    const { path: file, bytes } = program.files[i];
    if (bytes.length !== size) refuse(where, `file ${name} has ${size} bytes, ${file} has ${bytes.length}`);
    const digest = sha256Of(bytes);
    if (digest !== sha256.toLowerCase()) refuse(where, `file ${name} has SHA-256 ${sha256}, ${file} has ${digest}`);
  }
}

/** The id of what a manifest installs; null for an image alone. */
export function releaseId({ image, files, entry }: Claimed): string | null {
  return files && entry !== undefined ? sha256Of(Buffer.from(releaseText(image, entry, files))) : null;
}

/** "entry", "module lib/sensor" or "data" */
export function roleOf(entry: string | undefined, name: string): string {
  if (name === entry) return "entry";
  const module = moduleName({ entry: entry ?? "" }, name);
  return module ? `module ${module}` : "data";
}
