// Commands over the console of Espruino, on a line that loses, damages and interleaves characters.
//
//   to the device    DLE otaPush.line(ID,"KIND",N,CRC,"BASE64") LF
//   from the device  <ota:TOKEN:CRC:BASE64 of JSON>, anywhere between what its program prints
//
// DLE at the start of a line turns the echo off for that line only, so a cable that is pulled leaves no setting behind. A
// line counts when its CRC holds. It is sent again until the device acknowledges it; the device obeys each ID once.
import { refusal } from "../ui/errors.ts";
import { crc32 } from "./crc32.ts";
import { deviceProgram } from "./device-program.ts";
import { type Link, Lost } from "./port.ts";

/** Evaluate, write a part of the module, answer the source with bytes, answer it with an error. */
export type Kind = "e" | "w" | "p" | "x";

/** What the update on the device waits for, or how it has ended. */
export type Event =
  | { k: "ask"; n: number; offset: number; file: string }
  | { k: "end"; upToDate?: boolean; waiting?: boolean; slot?: string; name?: string; error?: string; retry?: boolean };

interface Reply {
  id: number;
  v?: unknown;
  bad?: 1;
  error?: string;
}

export interface Console {
  /** What the device answers. Rejects with Lost when it does not answer, with an Error that it has thrown. */
  command(kind: Kind, text: string, n?: number): Promise<unknown>;
  /** The next event of the update. Asks for it again when none comes. */
  nextEvent(): Promise<Event>;
  /** how many lines had to be sent again */
  readonly repeats: number;
}

const FRAME = /<ota:([0-9a-f]{8}):([0-9a-f]{1,8}):([A-Za-z0-9+/=]*)>/;
const DLE = "\x10";
const INTERRUPT = "\x03";
/** Clears the input line, whatever has arrived of it (Espruino jsinteractive.c). It does not interrupt a program. */
const ESC = "\x1b";
const CLEAR = `${ESC}[2H`;
/** ms. A device may erase flash, or check a signature, before it answers. */
const REPLY_TIME = 3000;
const REPLY_TRIES = 5;
const EVENT_TIME = 5000;
/** ms for the first answer: a board that the opening of its port has reset starts in some 2 s */
const HELLO_TIME = 1500;
const HELLO_TRIES = 7;
/** before this try the program is interrupted: it may be in a loop. Linux builds end at two interrupts within 5 s. */
const INTERRUPT_AT = [2, 6];
/** of what was received and is not understood */
const LONGEST = 16384;

export const lineOf = (id: number, kind: Kind, n: number, text: string): string =>
  `${DLE}otaPush.line(${id},"${kind}",${n},${(crc32(text) ^ id ^ n) >>> 0},"${btoa(text)}")\n`;

/** The line that makes `otaPush`, in the same way: a damaged one does nothing. */
function helloLine(token: string): string {
  const program = deviceProgram(token);
  return `${DLE}(function(t){if(E.CRC32(t)===${crc32(program)})eval(t);})(atob("${btoa(program)}"))\n`;
}

/** What waits for the device; undefined comes when the time is over. */
function createMailbox<T>(): {
  put(value: T): void;
  take(ms: number): Promise<T | undefined>;
  fail(error: Error): void;
} {
  const box: T[] = [];
  let wake: (() => void) | undefined;
  let failure: Error | undefined;
  return {
    put(value) {
      box.push(value);
      wake?.();
    },
    fail(error) {
      failure ??= error;
      wake?.();
    },
    async take(ms) {
      if (!box.length && !failure)
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, ms);
          wake = () => {
            clearTimeout(timer);
            resolve();
          };
        });
      wake = undefined;
      if (!box.length && failure) throw failure;
      return box.shift();
    },
  };
}

/** What moves the cursor of a terminal. */
const ESCAPES = new RegExp(`${ESC}\\[[0-9;]*[A-Za-z]`, "g");

/** The last line that the device's program has printed, for errors. */
function lastLine(text: string): string {
  const lines = text.replace(ESCAPES, "").split(/[\r\n]+/);
  const shown = lines.map((line) => line.replace(/[^ -~]/g, "").trim()).filter((line) => line && line !== ">");
  return shown.at(-1) ?? "";
}

export interface Receiver {
  onData(text: string): void;
  onClose(why: string): void;
  /** Makes the console of an open link. Rejects with Lost when nothing answers that is Espruino. */
  attach(link: Link, interrupt: boolean): Promise<Console>;
}

export function createReceiver(token: string): Receiver {
  const replies = createMailbox<Reply | "error">();
  const events = createMailbox<Event>();
  let received = "";
  let repeats = 0;
  let id = 0;

  function frame(crc: string, text: string): void {
    if (Number.parseInt(crc, 16) !== crc32(text)) return;
    const value = JSON.parse(atob(text));
    if ("k" in value) events.put(value);
    else replies.put(value);
  }

  function onData(text: string): void {
    received += text;
    for (let match = FRAME.exec(received); match; match = FRAME.exec(received)) {
      received = received.slice(0, match.index) + received.slice(match.index + match[0].length);
      if (match[1] === token) frame(match[2], match[3]);
    }
    // a damaged line is often a syntax error: do not wait for an answer to it
    if (id && /Uncaught /.test(text)) replies.put("error");
    received = received.slice(-LONGEST);
  }

  /** The reply to `wanted`; null when the line has to be sent again. */
  async function replyTo(wanted: number, ms: number): Promise<Reply | null> {
    const end = performance.now() + ms;
    for (;;) {
      const reply = await replies.take(Math.max(0, end - performance.now()));
      if (reply === undefined || reply === "error") return null;
      if (reply.id === wanted) return reply.bad ? null : reply;
    }
  }

  async function hello(link: Link, interrupt: boolean): Promise<void> {
    for (let round = 0; round < HELLO_TRIES; round++) {
      if (interrupt && INTERRUPT_AT.includes(round)) await link.write(INTERRUPT);
      await link.write(CLEAR + helloLine(token));
      if (await replyTo(0, HELLO_TIME)) return;
      if (/password>\s*$/.test(received))
        throw refusal("the console asks for a password (E.setPassword): log in with a terminal first", 1);
    }
    const printed = lastLine(received);
    throw new Lost(`no Espruino answers${printed ? `, the last line from there is: ${printed}` : ""}`);
  }

  async function attach(link: Link, interrupt: boolean): Promise<Console> {
    await hello(link, interrupt);
    async function command(kind: Kind, text: string, n = 0): Promise<unknown> {
      const mine = ++id;
      for (let tries = 0; tries < REPLY_TRIES; tries++) {
        if (tries) repeats++;
        await link.write((tries ? CLEAR : "") + lineOf(mine, kind, n, text));
        const reply = await replyTo(mine, REPLY_TIME);
        if (reply?.error) throw new Error(reply.error);
        if (reply) return reply.v;
      }
      throw new Lost(`the device does not answer; its last line is: ${lastLine(received)}`);
    }
    async function nextEvent(): Promise<Event> {
      for (;;) {
        const event = await events.take(EVENT_TIME);
        if (event) return event;
        await command("e", "otaPush.again()");
      }
    }
    return {
      command,
      nextEvent,
      get repeats() {
        return repeats;
      },
    };
  }

  function onClose(why: string): void {
    replies.fail(new Lost(why));
    events.fail(new Lost(why));
  }
  return { onData, onClose, attach };
}
