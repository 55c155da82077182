// Where the bytes of a file wait for who reads it. The hot path of an update: each piece that comes from the network is
// put here by its listener (http.ts) and passes nothing else until a block is full.

export interface Inbox {
  /** bytes of the block that have come */
  filled_: number;
  /** Below this many a listener may add a piece by itself. 0: it hands on what comes. */
  room_: number;
  /** what has come of the block: binary strings, and parts of such */
  pieces_: (string | Uint8Array)[];
  /** where the block begins in the file: its reader moves it on; falls back to 0 when the server begins again */
  offset_: number;
  /** where the body that is arriving ends in the file, Body.ENDLESS when nobody knows */
  end_: number;
  /** bytes of a block; 0 while nobody reads in blocks */
  block_: number;
  /** what has arrived behind the block and was not taken, a binary string */
  buffered_: string;
  /** Takes the piece that fills the block, and reads the block; false: it hands on the piece. */
  full_?: (piece: string) => boolean;
}

export const enum Body {
  ENDLESS = 0x7fffffff,
}

export function createInbox(): Inbox {
  return { filled_: 0, room_: 0, pieces_: [], offset_: 0, end_: 0, block_: 0, buffered_: "" };
}
