// How the command says no: one line that names what and where, and an exit code. Everything else that is thrown is a
// fault of this program.

/** What main() prints as one line: 1 is wrong input, 2 is wrong usage. */
export type Refusal = Error & { exitCode: 1 | 2 };

function refusal(text: string, exitCode: 1 | 2): Refusal {
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

/** Text from a file must not steer the terminal: control characters are shown by their code. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\u2028\u2029]/gu, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}`);
}

/** `text` on one line, whatever it quotes. */
export function oneLine(text: string): string {
  return printable(text.trim().replace(/\s*\n\s*/g, " "));
}

const SYSTEM: Record<string, string> = {
  ENOENT: "no such file or folder",
  EACCES: "permission denied",
  EPERM: "not permitted",
  EISDIR: "is a folder, wanted a file",
  ENOTDIR: "a part of the path is no folder",
  EEXIST: "exists already, and is not overwritten",
  EADDRINUSE: "the port is in use",
  EADDRNOTAVAIL: "this computer has no such address",
  ENOTFOUND: "no such host",
  ENOSPC: "no space left",
};

/** What the operating system says, in words. */
export function systemReason(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return (code && SYSTEM[code]) || code || message;
}
