// The buffer between the network and the consumer of a download. It is the hot path of an update: the data listener
// (http.ts) puts each piece here, and no other function sees it until a block is full.

export interface Inbox {
  /** bytes of the block that have arrived */
  filled_: number;
  /** A listener may add a piece by itself while `filled_` stays below this. 0: it must pass on every piece. */
  room_: number;
  /** what has arrived of the block: binary strings, and parts of them */
  pieces_: (string | Uint8Array)[];
  /** offset of the block in the file. The consumer moves it on; it becomes 0 when the server sends the file from byte 0 */
  offset_: number;
  /** offset in the file where the arriving body ends, Body.ENDLESS when it is unknown */
  end_: number;
  /** bytes of a block; 0 while no consumer reads in blocks */
  block_: number;
  /** what has arrived behind the block, a binary string */
  buffered_: string;
  /** Takes the piece that fills the block, and reads the block; false: the piece must be passed on. */
  full_?: (piece: string) => boolean;
}

export const enum Body {
  ENDLESS = 0x7fffffff,
}

export function createInbox(): Inbox {
  return { filled_: 0, room_: 0, pieces_: [], offset_: 0, end_: 0, block_: 0, buffered_: "" };
}
