// The passphrase of a private key: from the environment, or asked for on a terminal without echo. Never from the command
// line, where other users of the computer can read it.
import { createInterface } from "node:readline";
import { Writable } from "node:stream";
import { misuse, printable, refuse } from "./errors.ts";

export const PASSPHRASE = "HTTPS_OTA_PASSPHRASE";
/** A thief of a key file tries passphrases by machine. Node's PKCS#8 makes each try cheap (PBKDF2, 2048 rounds). */
const LEAST = 12;

export interface Passphrase {
  text: string;
  /** for messages: where it was found */
  from: string;
}

const nothing = () => new Writable({ write: (_bytes, _encoding, done) => done() });

/** Standard output may be the manifest. Null when the terminal was closed instead of an answer: Ctrl-C, Ctrl-D. */
function askFor(question: string): Promise<string | null> {
  return new Promise((resolve) => {
    let answer: string | null = null;
    // `terminal` turns the echo of the terminal off, and what readline itself would show goes nowhere
    const lines = createInterface({ input: process.stdin, output: nothing(), terminal: true, historySize: 0 });
    process.stderr.write(question);
    lines.once("line", (line) => {
      answer = line;
      lines.close();
    });
    lines.once("close", () => {
      process.stderr.write("\n");
      resolve(answer);
    });
  });
}

const hasTerminal = () => Boolean(process.stdin.isTTY && process.stderr.isTTY);

const fromEnvironment = (): Passphrase | null => {
  const text = process.env[PASSPHRASE];
  return text ? { text, from: PASSPHRASE } : null;
};

/** Of the encrypted key in `file`. */
export async function passphraseOf(file: string): Promise<Passphrase> {
  const known = fromEnvironment();
  if (known) return known;
  if (!hasTerminal())
    refuse(file, `the key is encrypted: set ${PASSPHRASE}, or run the command in a terminal, where it asks`);
  const text = await askFor(`Passphrase of ${printable(file)}: `);
  return text ? { text, from: "the terminal" } : refuse(file, "the key is encrypted, and no passphrase was given");
}

/** For a new key. What is typed without being seen is asked for twice. */
export async function newPassphrase(): Promise<string> {
  const known = fromEnvironment();
  if (!known && !hasTerminal())
    misuse(`--passphrase: set ${PASSPHRASE}, or run the command in a terminal, where it asks`);
  const text = known?.text ?? (await askFor("Passphrase of the new key: ")) ?? "";
  const length = [...text].length;
  const where = known?.from ?? "passphrase";
  if (length < LEAST) refuse(where, `${length} characters, expected at least ${LEAST}: several words are easy to keep`);
  if (!known && (await askFor("The same again: ")) !== text) refuse(where, "the second one differs, no key was made");
  return text;
}
