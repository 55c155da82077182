// A line that breaks: the connection is cut at places spread over the download, in turn by a reset, by a close and by
// silence, and at a third and at two thirds of it the power goes, in the middle of a write.

import { type Behaviour, fileAnswer, type Io, type Request, serveFile, type Server } from "../support/server.ts";

export interface BadLine {
  server: Server;
  behaviour: Behaviour;
  /** Connections that broke under the device. */
  readonly cuts: number;
  /** The bytes of the file at which they broke. */
  readonly cutAt: number[];
  /** Bytes in flash at which the power goes next, or Infinity. */
  readonly powerAt: number;
  /** The first byte of the file that the device has not taken; whoever starts the device says it. */
  position: () => number;
  powerLost(): void;
}

const WAYS = ["reset", "close", "stall"] as const;
type Cut = (typeof WAYS)[number];
const POLL_MS = 2;
/** The longest that setTimeout takes. */
const FOR_EVER_MS = 0x7fffffff;

/** `onCut` is told of each cut as it happens: its number, the byte, and how. */
export function createBadLine(
  server: Server,
  image: Uint8Array,
  count: number,
  onCut: (number: number, offset: number, how: Cut) => void,
): BadLine {
  const offsets = Array.from({ length: count }, (_, i) => Math.floor(((i + 0.6) * image.length) / (count + 0.2)));
  const power = [1, 2].map((part) => Math.floor((part * image.length) / 3));
  let cuts = 0;

  async function breakAt(offset: number, how: Cut, req: Request, io: Io): Promise<void> {
    const { status, headers, body } = fileAnswer(req, image);
    await io.head(status, [...headers, ["Content-Length", body.length], ["Connection", "close"]]);
    await io.write(body.subarray(0, offset - (req.range?.start ?? 0)));
    // a device that only looks at the first bytes, to go on elsewhere, is gone before: there is nothing to cut then
    while (line.position() < offset) await io.sleep(POLL_MS);
    onCut(++cuts, offset, how);
    if (how === "close") io.end();
    else if (how === "reset") io.reset();
    else await io.sleep(FOR_EVER_MS);
  }

  const line: BadLine = {
    server,
    behaviour: (req, io) =>
      cuts === count ? serveFile(image)(req, io) : breakAt(offsets[cuts], WAYS[(cuts + 1) % WAYS.length], req, io),
    get cuts() {
      return cuts;
    },
    get cutAt() {
      return offsets.slice(0, cuts);
    },
    get powerAt() {
      return power[0] ?? Number.POSITIVE_INFINITY;
    },
    position: () => 0,
    powerLost() {
      power.shift();
    },
  };
  return line;
}
