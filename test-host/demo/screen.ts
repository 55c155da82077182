// What a person sees: lines on stdout and one progress bar, or, where stdout is no terminal, a line now and then.

import { SingleBar } from "cli-progress";
import pc from "picocolors";

export interface Progress {
  /** `total` is -1 while it is unknown. */
  update(bytes: number, total: number, deviceMs: number): void;
  stop(): void;
}

export interface Screen {
  heading(text: string): void;
  /** As it is: pictures and rows. */
  line(text: string): void;
  /** Sentences, which are wrapped. */
  text(text: string): void;
  success(text: string): void;
  /** What was refused or went wrong, where it happened. */
  failure(text: string): void;
  /** Lines of the bootloader. */
  log(lines: readonly string[]): void;
  /** `from`: bytes of the file that an earlier start has left in flash. */
  progress(from: number): Progress;
}

const LINES_PER_DOWNLOAD = 4;
const BYTES_PER_LINE = 256 * 1024;
/** 80 columns have room for images of 99 MB. */
const BAR_SIZE = 20;
const FORMAT = `  ${pc.green("{bar}")} {percentage}%  {value}/{total} bytes  {rate} KB/s  flash {seconds} s`;

const rateOf = (bytes: number, deviceMs: number) =>
  deviceMs > 0 ? (Math.max(0, bytes) / 1.024 / deviceMs).toFixed(0) : "0";
const secondsOf = (deviceMs: number) => (deviceMs / 1000).toFixed(1);

function createBar(from: number): Progress {
  const bar = new SingleBar({
    format: FORMAT,
    barsize: BAR_SIZE,
    barCompleteChar: "█",
    barIncompleteChar: "░",
    fps: 30,
    hideCursor: true,
  });
  let started = false;
  return {
    update(bytes, total, deviceMs) {
      const payload = { rate: rateOf(bytes - from, deviceMs), seconds: secondsOf(deviceMs) };
      if (!started) bar.start(Math.max(total, bytes), bytes, payload);
      started = true;
      bar.setTotal(Math.max(total, bytes));
      bar.update(bytes, payload);
    },
    // whatever is printed next gets a line of its own; the next update draws the bar anew
    stop() {
      if (started) bar.stop();
      started = false;
    },
  };
}

function createLines(print: (text: string) => void, from: number): Progress {
  let nextAt = 0;
  return {
    update(bytes, total, deviceMs) {
      const step = total > 0 ? total / LINES_PER_DOWNLOAD : BYTES_PER_LINE;
      nextAt ||= step;
      if (bytes < nextAt && bytes !== total) return;
      nextAt = (Math.floor(bytes / step) + 1) * step;
      const part = total > 0 ? `${String(Math.floor((bytes * 100) / total)).padStart(3)} %  ` : "";
      const counts = `${bytes}${total > 0 ? `/${total}` : ""} bytes`;
      print(`  ${part}${counts}  ${rateOf(bytes - from, deviceMs)} KB/s  flash ${secondsOf(deviceMs)} s`);
    },
    stop() {},
  };
}

const INDENT = "  ";
const LEAST_COLUMNS = 80;

/** `text` in lines of `width` characters at most, broken at blanks; a word that is longer stays whole. */
export function wrap(text: string, width: number): string[] {
  const lines = [""];
  for (const word of text.match(/ *[^ ]+/g) ?? []) {
    const last = lines.length - 1;
    if (lines[last] !== "" && lines[last].length + word.length > width) lines.push(word.trimStart());
    else lines[last] += word;
  }
  return lines;
}

/** The size of a segment in hexadecimal is enough, and 80 columns have no room for both. */
const shortLog = (text: string) => text.replace(/(size=[0-9a-f]+h) \( *\d+\)/, "$1");

export function createScreen(): Screen {
  let bar: Progress | undefined;
  function print(text: string): void {
    bar?.stop();
    console.log(text);
  }
  const width = Math.max(LEAST_COLUMNS, process.stdout.columns ?? 0);
  /** Lines below the first begin where the text of the first does. */
  function block(mark: string, text: string, paint: (line: string) => string): void {
    const lines = wrap(text, width - INDENT.length - (mark ? 2 : 0));
    lines.forEach((line, i) => void print(`${INDENT}${mark && (i ? "  " : `${mark} `)}${paint(line)}`));
  }
  const asIs = (text: string) => text;
  return {
    heading: (text) => print(`\n${wrap(text, width).map(pc.bold).join("\n")}`),
    line: (text) => print(`${INDENT}${text}`),
    text: (text) => block("", text, asIs),
    success: (text) => block(pc.green("✔"), text, asIs),
    failure: (text) => block(pc.red("✘"), text, pc.red),
    log: (lines) => lines.forEach((text) => void block("", shortLog(text), /^[EW] /.test(text) ? pc.red : pc.dim)),
    progress(from) {
      if (!process.stdout.isTTY) return createLines(print, from);
      bar = createBar(from);
      return bar;
    },
  };
}

/** Shows nothing: for --json. */
export function createSilence(): Screen {
  const nothing = () => {};
  return {
    heading: nothing,
    line: nothing,
    text: nothing,
    success: nothing,
    failure: nothing,
    log: nothing,
    progress: () => ({ update: nothing, stop: nothing }),
  };
}
