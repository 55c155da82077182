// The set of files of a release, as Storage keeps it: docs/formats.md#set-of-files. Pure.
// Each file is stored under a name that is computed from its content, and so is the list of the files. A file with such a
// name is never changed.

/** A name that is computed from the content. */
const enum Name {
  MARK = "~",
  /** characters of base64url: 120 bits of the SHA-256 */
  DIGITS = 20,
}

/** A file of a set. */
export interface StoredFile {
  /** as the program knows it, such as "app.js" */
  name: string;
  /** in bytes; an empty file is not stored, because Storage cannot hold one */
  size: number;
  /** its name in Storage */
  stored: string;
}

/** What a release installs in Storage. */
export interface FileSet {
  /** id of the release, see releaseText() */
  id: string;
  version: string;
  /** name of the program */
  entry: string;
  files: StoredFile[];
}

/** The first Name.DIGITS characters of `base64`, with the alphabet of base64url (RFC 4648 5). */
function urlSafe(base64: string): string {
  let text = "";
  for (let i = 0; i < Name.DIGITS; i++) {
    const at = "+/".indexOf(base64[i]);
    text += at < 0 ? base64[i] : "-_"[at];
  }
  return text;
}

/** The name in Storage of a file whose SHA-256 is this, in base64. */
export function storedName(base64: string): string {
  return Name.MARK + urlSafe(base64);
}

/** Is `name` one that storedName() can return? Files with other names are never touched. */
export function isStoredName(name: string): boolean {
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  let ok = name.length === Name.DIGITS + 1 && name[0] === Name.MARK;
  for (let i = 1; i < name.length; i++) if (alphabet.indexOf(name[i]) < 0) ok = false;
  return ok;
}

/** The SHA-256 of this text is the id of a release: manifests that install the same image and files have the same id. */
export function releaseText(
  image: { fsverity: string } | undefined,
  entry: string,
  files: { name: string; sha256: string }[],
): string {
  let text = (image ? image.fsverity.toLowerCase() : "") + "\n" + entry;
  for (let i = 0; i < files.length; i++) text += "\n" + files[i].sha256.toLowerCase() + " " + files[i].name;
  return text;
}

/** The list of the set as it is stored, JSON. */
export function setText(set: FileSet): string {
  return JSON.stringify([set.id, set.version, set.entry, set.files.map((file) => [file.name, file.size, file.stored])]);
}

/** Parses a text of setText(). */
export function parseSet(text: string): FileSet {
  const fields = JSON.parse(text);
  return {
    id: fields[0],
    version: fields[1],
    entry: fields[2],
    files: fields[3].map((file: any[]) => ({ name: file[0], size: file[1], stored: file[2] })),
  };
}

/**
 * The name with which a program requires a file; "" for a file that is not a module: the program itself, and data. A file
 * is a module if its name ends in .js or has no dot.
 */
export function moduleName(set: { entry: string }, name: string): string {
  if (name === set.entry) return "";
  if (name.substr(-3) === ".js") return name.substr(0, name.length - 3);
  return name.indexOf(".") < 0 ? name : "";
}
