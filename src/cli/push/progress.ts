// How far a transfer is: a bar on a terminal, a line for each quarter elsewhere.
import { SingleBar } from "cli-progress";
import pc from "picocolors";

const QUARTERS = 4;

export interface Progress {
  update(done: number): void;
  stop(): void;
}

function bar(label: string, total: number): Progress {
  const one = new SingleBar({
    format: "{label} {bar} {percentage} % {value}/{total} bytes",
    hideCursor: true,
    clearOnComplete: true,
  });
  one.start(total, 0, { label });
  return { update: (done) => one.update(done), stop: () => one.stop() };
}

function lines(label: string, total: number): Progress {
  let quarter = 1;
  return {
    update(done) {
      if (done * QUARTERS < quarter * total || done >= total) return;
      quarter = Math.floor((done * QUARTERS) / total) + 1;
      console.log(pc.dim(`${label} ${Math.floor((done * 100) / total)} %`));
    },
    stop() {},
  };
}

export function createProgress(label: string, total: number): Progress {
  return process.stdout.isTTY ? bar(label, total) : lines(label, total);
}
