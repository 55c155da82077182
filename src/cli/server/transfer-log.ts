// What `serve` prints about requests: a line for each of them, and the progress of each download.
import { MultiBar, type SingleBar } from "cli-progress";
import pc from "picocolors";

/** in bytes: an answer below it is sent before anybody could read its bar */
const LEAST_BAR = 65536;
const QUARTERS = 4;

export interface Transfer {
  update(sent: number): void;
  /** `text`: how it ended */
  end(text: string): void;
}

export interface Log {
  line(text: string): void;
  transfer(label: string, length: number): Transfer;
}

const clock = () => new Date().toTimeString().slice(0, 8);

function plainLog(): Log {
  const line = (text: string) => console.log(`${pc.dim(clock())} ${text}`);
  return {
    line,
    transfer(label, length) {
      let quarter = 1;
      return {
        update(sent) {
          if (length < LEAST_BAR || sent * QUARTERS < quarter * length || sent >= length) return;
          quarter = Math.floor((sent * QUARTERS) / length) + 1;
          line(`${label} ${Math.floor((sent * 100) / length)} %`);
        },
        end: (text) => line(`${label} ${text}`),
      };
    },
  };
}

/** The bars at the bottom of the terminal. `screen` is there only while one of them is: it hides the cursor. */
interface Bars {
  screen: MultiBar | undefined;
  open: number;
}

function addBar(bars: Bars, label: string, length: number): SingleBar {
  bars.screen ??= new MultiBar({
    format: "{label} {bar} {percentage} % {value}/{total}",
    hideCursor: true,
    clearOnComplete: true,
  });
  bars.open++;
  return bars.screen.create(length, 0, { label });
}

function removeBar(bars: Bars, bar: SingleBar): void {
  bars.screen?.remove(bar);
  if (--bars.open) return;
  bars.screen?.stop();
  bars.screen = undefined;
}

/** Bars at the bottom of the terminal, lines above them. */
function barLog(): Log {
  const plain = plainLog();
  const bars: Bars = { screen: undefined, open: 0 };
  const line = (text: string) => {
    if (bars.screen) bars.screen.log(`${pc.dim(clock())} ${text}\n`);
    else plain.line(text);
  };
  return {
    line,
    transfer(label, length) {
      if (length < LEAST_BAR) return { update() {}, end: (text) => line(`${label} ${text}`) };
      const bar = addBar(bars, label, length);
      return {
        update: (sent) => bar.update(sent),
        end(text) {
          removeBar(bars, bar);
          line(`${label} ${text}`);
        },
      };
    },
  };
}

export function createLog(): Log {
  return process.stdout.isTTY ? barLog() : plainLog();
}
