// The live list: server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html) of what devices do.
import type { ServerResponse } from "node:http";
import type { Activity } from "./activity.ts";

/** open at the same time: each of them is a connection and gets every event */
const MOST_STREAMS = 32;
/** ms: a connection on which nothing moves is closed, by us and by what lies between */
const HEARTBEAT = 15_000;
/** ms between two looks at the releases */
const LOOK = 1000;
/** bytes that a peer may leave unread */
const MOST_UNREAD = 1 << 20;

export interface Streams {
  isFull(): boolean;
  /** Sends events behind the headers. Resolves when the peer has gone. */
  run(response: ServerResponse): Promise<void>;
}

/** Looks while somebody listens, once for all of them. */
function createWatch(stamp: () => string) {
  const listeners = new Set<() => void>();
  let timer: NodeJS.Timeout | undefined;
  let known = "";
  function stampNow(): string {
    try {
      return stamp();
    } catch {
      return known; // a file has changed between two looks at it: the next look sees it
    }
  }
  function look(): void {
    const next = stampNow();
    if (next !== known) for (const listener of listeners) listener();
    known = next;
  }
  return (listener: () => void): (() => void) => {
    if (!listeners.size) {
      known = stampNow();
      timer = setInterval(look, LOOK);
    }
    listeners.add(listener);
    return () => {
      listeners.delete(listener);
      if (!listeners.size) clearInterval(timer);
    };
  };
}

/** `stamp`: changes when the releases do. */
export function createStreams(activity: Activity, stamp: () => string): Streams {
  const watch = createWatch(stamp);
  let open = 0;
  async function run(response: ServerResponse): Promise<void> {
    const { socket } = response.req;
    const write = (text: string) => {
      response.write(text);
      if (response.writableLength > MOST_UNREAD) socket.destroy();
    };
    // JSON.stringify leaves no line end in it
    const send = (name: string, data: unknown) => write(`event: ${name}\ndata: ${JSON.stringify(data)}\n\n`);
    send("snapshot", activity.snapshot());
    const stop = activity.subscribe(send);
    const forget = watch(() => send("releases", null));
    const heartbeat = setInterval(() => write(":\n\n"), HEARTBEAT);
    open++;
    try {
      await new Promise<void>((resolve) => {
        if (socket.destroyed) resolve();
        else socket.once("close", resolve);
      });
    } finally {
      open--;
      stop();
      forget();
      clearInterval(heartbeat);
    }
  }
  return { isFull: () => open >= MOST_STREAMS, run };
}
