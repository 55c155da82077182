// How the command refuses: one line that names the place and the problem, and an exit code. Any other exception is a bug
// of this program.

/** What main() prints as one line: 1 is wrong input, 2 is wrong usage. */
export type Refusal = Error & { exitCode: 1 | 2 };

export function refusal(text: string, exitCode: 1 | 2): Refusal {
  return Object.assign(new Error(text), { exitCode });
}

/** Wrong input: `where` names the file, and the line, offset or claim in it. */
export function refuse(where: string, what: string): never {
  throw refusal(`${where}: ${what}`, 1);
}

/** Wrong usage: options that do not go together. */
export function misuse(what: string): never {
  throw refusal(`error: ${what}`, 2);
}

export function isRefusal(error: unknown): error is Refusal {
  return error instanceof Error && "exitCode" in error;
}

// --- Text of others --------------------------------------------------------------------------------------------------

/**
 * What a terminal obeys or does not show: control characters, direction and zero-width characters, line separators,
 * private and unassigned ones, halves of surrogate pairs, fillers.
 */
const UNPRINTABLE = /[\p{C}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu;

function escaped(char: string): string {
  const code = char.codePointAt(0) as number;
  const digits = code.toString(16);
  if (code > 0xffff) return `\\u{${digits}}`;
  return code > 0xff ? `\\u${digits.padStart(4, "0")}` : `\\x${digits.padStart(2, "0")}`;
}

/** Text from a file must not steer the terminal, nor hide in it: a character that the terminal would not show is printed as its code. */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, escaped);
}

/** JSON for people and machines: JSON.stringify alone leaves most unprintable characters as they are. */
export function jsonText(value: unknown): string {
  const unit = (half: string) => `\\u${half.charCodeAt(0).toString(16).padStart(4, "0")}`;
  // every line end is between members: inside of a string JSON.stringify has escaped it
  const units = (char: string) => (char === "\n" ? char : char.split("").map(unit).join(""));
  return JSON.stringify(value, null, 2).replace(UNPRINTABLE, units);
}

const LONGEST_LINE = 500;
const GAP = " ... ";
const TAIL = 150;

/** The start says where, the end says what was expected. */
function shorten(text: string): string {
  if (text.length <= LONGEST_LINE) return text;
  return text.slice(0, LONGEST_LINE - GAP.length - TAIL) + GAP + text.slice(-TAIL);
}

/** `text` on one line of at most 500 characters, safe for a terminal. The time is linear in its length. */
export function oneLine(text: string): string {
  const lines = shorten(text.trim()).split("\n");
  const line = lines
    .map((one) => one.trim())
    .filter(Boolean)
    .join(" ");
  return shorten(printable(line));
}

// --- The operating system --------------------------------------------------------------------------------------------

const SYSTEM: Record<string, string> = {
  ENOENT: "no such file or folder",
  EACCES: "permission denied",
  EPERM: "not permitted",
  EISDIR: "is a folder, expected a file",
  ENOTDIR: "a part of the path is not a folder",
  EEXIST: "exists already, and is not overwritten",
  EADDRINUSE: "the port is in use: --port takes another",
  EADDRNOTAVAIL: "this computer has no such address",
  ENOTFOUND: "no such host",
  ECONNREFUSED: "connection refused",
  ECONNRESET: "connection reset",
  EHOSTUNREACH: "the host cannot be reached",
  ETIMEDOUT: "the host does not answer",
  ENOSPC: "no space left",
};

/** What the operating system says, in words. */
export function systemReason(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return (code && SYSTEM[code]) || code || message;
}
