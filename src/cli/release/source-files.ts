// The files of a folder that become files of a release, and those that do not: found, named and read.
import { type Dirent, readdirSync, realpathSync, statSync } from "node:fs";
import path from "node:path";
import { isReportFile } from "../formats/report-file.ts";
import { printable, refuse, systemReason } from "../ui/errors.ts";
import { MAX_FLASH, readLimited } from "../ui/files.ts";
import { globOf } from "./glob.ts";
import { secretIn } from "./secrets.ts";

/** --file NAME=PATH */
export interface NamedFile {
  name: string;
  path: string;
}

/** Where the files of a release come from. */
export interface Source {
  /** --files */
  files?: string;
  /** --file */
  file?: NamedFile[];
  /** --ignore */
  ignore?: string[];
}

export interface SourceFile extends NamedFile {
  bytes: Buffer;
}

export interface Collected {
  /** by name */
  files: SourceFile[];
  /** paths in the folder that are not part of the release; a folder ends with "/" */
  leftOut: string[];
}

/** What a folder of sources holds besides the program. */
export const IGNORED: readonly string[] = [
  ".*",
  "node_modules",
  "*.map",
  "*.jws",
  "*.pem",
  "*.jwk",
  "README*",
  "LICENSE*",
];

/** entries of folders that are read */
const MAX_ENTRIES = 10_000;

/** What messages call a release of files. */
export function sourceName({ files, file }: Source): string {
  return files ?? file?.[0]?.path ?? "--files";
}

const byName = (a: { name: string }, b: { name: string }) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);

// --- Finding ---------------------------------------------------------------------------------------------------------

function entriesOf(folder: string): Dirent[] {
  try {
    return readdirSync(folder, { withFileTypes: true }).sort(byName);
  } catch (error) {
    return refuse(folder, systemReason(error));
  }
}

/** A link may name a file inside of the folder, and nothing else: what lies outside may be anything. */
function checkLink(realRoot: string, link: string): void {
  let end: string;
  try {
    end = realpathSync(link);
  } catch (error) {
    return refuse(link, `a symbolic link: ${systemReason(error)}`);
  }
  const inside = path.relative(realRoot, end);
  if (inside.split(path.sep)[0] === ".." || path.isAbsolute(inside))
    refuse(link, `a symbolic link that leaves the folder (to ${printable(end)}): give the file by --file NAME=PATH`);
  if (!statSync(end).isFile())
    refuse(link, "a symbolic link to a folder, expected one to a file: give its files by --file NAME=PATH");
}

interface Found {
  /** names, which are paths below the folder with "/" */
  names: string[];
  leftOut: string[];
}

/** `replaced`: names that --file gives. They are not looked at in the folder. */
function findFiles(root: string, ignore: readonly string[], replaced: ReadonlySet<string>): Found {
  const isIgnored = [...IGNORED.map((one) => globOf(one, "i")), ...ignore.map((one) => globOf(one))];
  const found: Found = { names: [], leftOut: [] };
  const realRoot = realpathSync(root);
  const folders = [""];
  let seen = 0;
  for (const below of folders)
    for (const entry of entriesOf(path.join(root, below))) {
      if (++seen > MAX_ENTRIES) refuse(root, `more than ${MAX_ENTRIES} files: give the folder of the program alone`);
      const name = below + entry.name;
      const file = path.join(root, name);
      if (replaced.has(name)) continue;
      if (isIgnored.some((ignores) => ignores(name))) found.leftOut.push(entry.isDirectory() ? `${name}/` : name);
      else if (entry.isDirectory()) folders.push(`${name}/`);
      else {
        if (entry.isSymbolicLink()) checkLink(realRoot, file);
        else if (!entry.isFile()) refuse(file, "neither a file nor a folder: leave it out by --ignore");
        found.names.push(name);
      }
    }
  return found;
}

function checkFolder(folder: string): void {
  let isFolder = false;
  try {
    isFolder = statSync(folder).isDirectory();
  } catch (error) {
    refuse(folder, systemReason(error));
  }
  if (!isFolder) refuse(folder, "is a file, expected a folder: --file NAME=PATH gives a single file");
}

// --- Reading ---------------------------------------------------------------------------------------------------------

/** Is it the module of an installed https-ota? It may be a file of a release. */
const isOwnModule = (file: string) => /(^|[\\/])node_modules[\\/]https-ota[\\/]build[\\/][^\\/]+$/.test(file);

/** What the list of ignored files keeps out of a folder, and --file may bring in. */
function checkKind({ name, path: file, bytes }: SourceFile): void {
  const bundle = "make one file of the program and its packages (rollup, esbuild), and sign that";
  const foreign = /(^|[\\/])node_modules([\\/]|$)/;
  if (foreign.test(name) || (foreign.test(file) && !isOwnModule(file)))
    refuse(file, `file ${printable(name)}: from node_modules, which no device resolves: ${bundle}`);
  const text = bytes.subarray(0, 4096).toString("latin1");
  if (/\.map$/i.test(name) || (/^\s*\{/.test(text) && /"mappings"\s*:/.test(text) && /"sources"\s*:/.test(text)))
    refuse(file, `file ${printable(name)}: a source map, which a device only stores: leave it out (--ignore)`);
}

function readFile(name: string, file: string): SourceFile {
  const bytes = readLimited(file, MAX_FLASH, (found) => `${found}, a flash chip has at most ${MAX_FLASH}`);
  const read = { name, path: file, bytes };
  const secret = secretIn(bytes);
  if (secret !== null)
    refuse(
      file,
      `file ${printable(name)}: ${secret}, and everybody can read a release: take it out, or leave the file out (--ignore)`,
    );
  if (isReportFile(bytes))
    refuse(
      file,
      `file ${printable(name)}: reports of devices (serve --collect), and everybody can read a release: leave it out (--ignore)`,
    );
  checkKind(read);
  return read;
}

/** What `source` names, without reading it. The files are in no order. */
export function listSource(source: Source): { files: NamedFile[]; leftOut: string[] } {
  const { files: folder, file: named = [], ignore = [] } = source;
  const replaced = new Map(named.map((one) => [one.name, one.path]));
  if (folder === undefined) return { files: [...named], leftOut: [] };
  checkFolder(folder);
  const { names, leftOut } = findFiles(folder, ignore, new Set(replaced.keys()));
  return { files: [...names.map((name) => ({ name, path: path.join(folder, name) })), ...named], leftOut };
}

/** Reads all files that `source` names. */
export function collectFiles(source: Source): Collected {
  const { files: found, leftOut } = listSource(source);
  const files = found.map((one) => readFile(one.name, one.path));
  if (!files.length) {
    const left = leftOut.length ? `, ${leftOut.length} left out: ${leftOut.join(", ")}` : "";
    refuse(sourceName(source), printable(`no file for a release in it${left}`));
  }
  return { files: files.sort(byName), leftOut: leftOut.sort() };
}

/** Reads the files that a manifest names. The folder may hold more. */
export function readNamed(source: Source, names: readonly string[]): SourceFile[] {
  const { files: folder, file: named = [] } = source;
  const given = new Map(named.map((one) => [one.name, one.path]));
  return names.map((name) => {
    const file = given.get(name) ?? (folder === undefined ? undefined : path.join(folder, name));
    return file === undefined
      ? refuse(sourceName(source), `file ${name} of the manifest is not here: give --files DIR or --file ${name}=PATH`)
      : readFile(name, file);
  });
}
