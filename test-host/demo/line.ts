// A line that breaks: the connection is cut at places spread over the download, in turn by a reset, by a close and by
// silence, and at a third and at two thirds of it the power goes, in the middle of a write.

import { type Behaviour, type Cut, cutAt, serveFile, type Server } from "../server.ts";

export interface BadLine {
  server: Server;
  behaviour: Behaviour;
  /** Connections that broke on the device. */
  readonly cuts: number;
  /** Bytes in flash at which the power goes next, or Infinity. */
  readonly powerAt: number;
  /** The power went when the device had taken `bytes`: a cut behind them has not happened. */
  powerLost(bytes: number): void;
}

const WAYS: Cut[] = ["reset", "close", "stall"];

/** `onCut` is told of each cut when the device is back: its number, the byte, and how. */
export function createBadLine(
  server: Server,
  image: Uint8Array,
  count: number,
  onCut: (number: number, offset: number, how: Cut) => void,
): BadLine {
  const offsets = Array.from({ length: count }, (_, i) => Math.floor(((i + 0.6) * image.length) / (count + 0.2)));
  const power = [1, 2].map((part) => Math.floor((part * image.length) / 3));
  let next = 0;
  let started = false;
  let pending: (() => void) | null = null;
  return {
    server,
    behaviour(req, io) {
      const start = req.range?.start ?? 0;
      // a look at the first bytes of a file that is resumed is over before anything can happen to it
      const look = started && start === 0;
      started = true;
      if (!look) pending?.();
      if (!look) pending = null;
      if (look || next === count) return serveFile(image)(req, io);
      const offset = offsets[next++];
      const number = next;
      const how = WAYS[next % WAYS.length];
      pending = () => onCut(number, offset, how);
      return cutAt(image, offset - start, how)(req, io);
    },
    get cuts() {
      return next;
    },
    get powerAt() {
      return power[0] ?? Number.POSITIVE_INFINITY;
    },
    powerLost(bytes) {
      power.shift();
      if (next === 0 || offsets[next - 1] <= bytes) return;
      next--;
      pending = null;
    },
  };
}
