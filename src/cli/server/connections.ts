// The connections to `serve`. Everybody on the network can connect and then neither send nor read, so their number is
// bounded: when it is reached, a new connection closes the one that has been idle for the longest time.
import type { Socket } from "node:net";

/** Requests on one connection that wait for the answer to an earlier one. Devices do not pipeline requests. */
const MOST_AHEAD = 8;

export interface Connections {
  /** A connection that was just accepted. */
  add(socket: Socket): void;
  /** Something went forward on it. For HTTPS also with the TLS socket on top of the one that was added. */
  touch(socket: Socket): void;
  /**
   * Runs `job` when those given before for this connection are done. Ends the connection when too many wait, or when it
   * rejects. Never rejects.
   */
  inTurn(socket: Socket, job: () => Promise<void>): Promise<void>;
}

/** by the peer's address and port, the longest idle one first */
type Open = Map<string, Socket>;

/** The jobs of one connection. */
interface Queue {
  last: Promise<void>;
  length: number;
}

const nameOf = ({ remoteAddress, remotePort }: Socket) => `${remoteAddress} ${remotePort}`;

/** The longest idle connection of the address that has most of them: one flood drives out itself. */
function victim(open: Open): Socket | undefined {
  const counts = new Map<string | undefined, number>();
  for (const { remoteAddress: from } of open.values()) counts.set(from, (counts.get(from) ?? 0) + 1);
  const highest = Math.max(...counts.values());
  return [...open.values()].find(({ remoteAddress: from }) => counts.get(from) === highest);
}

function add(open: Open, most: number, socket: Socket): void {
  const name = nameOf(socket);
  open.set(name, socket);
  socket.once("close", () => {
    if (open.get(name) === socket) open.delete(name);
  });
  if (open.size > most) victim(open)?.destroy();
}

function touch(open: Open, socket: Socket): void {
  const name = nameOf(socket);
  const known = open.get(name);
  if (!known) return;
  open.delete(name);
  open.set(name, known);
}

function enqueue(queue: Queue, socket: Socket, job: () => Promise<void>): Promise<void> {
  if (queue.length > MOST_AHEAD) {
    socket.destroy();
    return Promise.resolve();
  }
  queue.length++;
  const failed = () => void socket.destroy();
  queue.last = queue.last.then(job).catch(failed);
  void queue.last.then(() => queue.length--);
  return queue.last;
}

/** `most`: when one more is added, one of them is closed. */
export function createConnections(most: number): Connections {
  const open: Open = new Map();
  const queues = new WeakMap<Socket, Queue>();
  return {
    add: (socket) => add(open, most, socket),
    touch: (socket) => touch(open, socket),
    inTurn(socket, job) {
      const queue = queues.get(socket) ?? { last: Promise.resolve(), length: 0 };
      queues.set(socket, queue);
      return enqueue(queue, socket, job);
    },
  };
}
