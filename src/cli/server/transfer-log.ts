// What `serve` shows while devices come and go: a line per request, and how far each download is.
import { MultiBar, type SingleBar } from "cli-progress";
import pc from "picocolors";

/** Smaller answers are over before a bar is read. */
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

/** Bars at the bottom of the terminal, lines above them. */
function barLog(): Log {
  const plain = plainLog();
  let bars: MultiBar | undefined;
  let open = 0;
  const line = (text: string) => {
    if (bars) bars.log(`${pc.dim(clock())} ${text}\n`);
    else plain.line(text);
  };
  function close(bar: SingleBar): void {
    bars?.remove(bar);
    if (--open) return;
    bars?.stop();
    bars = undefined;
  }
  return {
    line,
    transfer(label, length) {
      if (length < LEAST_BAR) return { update() {}, end: (text) => line(`${label} ${text}`) };
      bars ??= new MultiBar({
        format: "{label} {bar} {percentage} % {value}/{total}",
        hideCursor: true,
        clearOnComplete: true,
      });
      open++;
      const bar = bars.create(length, 0, { label });
      return {
        update: (sent) => bar.update(sent),
        end(text) {
          close(bar);
          line(`${label} ${text}`);
        },
      };
    },
  };
}

export function createLog(): Log {
  return process.stdout.isTTY ? barLog() : plainLog();
}
