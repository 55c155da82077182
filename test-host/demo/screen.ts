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
  line(text: string): void;
  success(text: string): void;
  /** Lines of the bootloader. */
  log(lines: readonly string[]): void;
  /** `from`: bytes of the file that an earlier start has left in flash. */
  progress(from: number): Progress;
}

const LINES_PER_DOWNLOAD = 4;
const BYTES_PER_LINE = 256 * 1024;
const FORMAT = "  {bar} {percentage}%  {value}/{total} bytes  {rate} KB/s  device {seconds} s";

const rateOf = (bytes: number, deviceMs: number) =>
  deviceMs > 0 ? (Math.max(0, bytes) / 1.024 / deviceMs).toFixed(0) : "0";
const secondsOf = (deviceMs: number) => (deviceMs / 1000).toFixed(1);

function createBar(from: number): Progress {
  const bar = new SingleBar({
    format: FORMAT,
    barsize: 32,
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
      print(`  ${part}${counts}  ${rateOf(bytes - from, deviceMs)} KB/s  device ${secondsOf(deviceMs)} s`);
    },
    stop() {},
  };
}

export function createScreen(): Screen {
  let bar: Progress | undefined;
  function print(text: string): void {
    bar?.stop();
    console.log(text);
  }
  return {
    heading: (text) => print(`\n${pc.bold(text)}`),
    line: (text) => print(`  ${text}`),
    success: (text) => print(`  ${pc.green("✔")} ${text}`),
    log: (lines) => lines.forEach((text) => void print(`  ${/^[EW] /.test(text) ? pc.red(text) : pc.dim(text)}`)),
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
    success: nothing,
    log: nothing,
    progress: () => ({ update: nothing, stop: nothing }),
  };
}
