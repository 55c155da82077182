// An update over the console: the device asks for bytes, and this side answers. When the line is lost, the device is
// looked for again and its update is started again; the module goes on behind the last whole sector.
import { randomBytes } from "node:crypto";
import { oneLine, printable, refusal, refuse } from "../ui/errors.ts";
import { type Console, createReceiver, type Event } from "./console.ts";
import { provideModule } from "./module.ts";
import { type Link, Lost, openPort, remedyFor } from "./port.ts";
import { createProgress, type Progress } from "./progress.ts";
import { type Release, sizeOf } from "./release.ts";

/** How a device is reached. */
export interface Line {
  port: string;
  baud: number;
  signal: AbortSignal;
}

export interface PushOptions extends Line {
  /** seconds that a lost line has to come back */
  wait: number;
  /** bytes of the image in one line */
  piece: number;
  replaceModule: boolean;
  restart: boolean;
  /** fields of the device's configuration, without `keys` */
  config: Record<string, unknown>;
  /** JSON of the trusted keys */
  keys: string[];
  say(text: string): void;
}

export interface Session {
  link: Link;
  console: Console;
}

/** The update as a whole, over as many connections as it takes. */
interface Job {
  release: Release;
  options: PushOptions;
  progress: Progress | undefined;
  /** the end of what the device has asked for, of the image and of each file */
  reached: Map<string, number>;
  /** bytes of pieces that were sent */
  sent: number;
  repeats: number;
}

/** ms between two tries to open a port that is gone */
const REOPEN = 500;
/** Lost lines in a row without a new byte before this gives up. */
const MOST_LOST = 5;
/** Updates that failed, but are worth another try as the module says. */
const MOST_FAILED = 3;
/** ms for the device to end its update, and to begin a restart */
const ABORT_TIME = 3000;
const RESET_TIME = 1000;

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/** Rejects as soon as the user interrupts. */
function unlessAborted<T>(signal: AbortSignal, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason);
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
  });
}

// --- Connections -----------------------------------------------------------------------------------------------------

async function connect({ port, baud, signal }: Line): Promise<Session> {
  const receiver = createReceiver(randomBytes(4).toString("hex"));
  const link = await openPort(port, baud, receiver);
  // an open port would keep this process alive
  const giveUp = () => link.close();
  signal.addEventListener("abort", giveUp, { once: true });
  try {
    signal.throwIfAborted();
    return { link, console: await receiver.attach(link, true) };
  } catch (error) {
    link.close();
    throw error;
  } finally {
    signal.removeEventListener("abort", giveUp);
  }
}

/** The first connection: what is wrong is told at once. */
export async function connectFirst(options: Line): Promise<Session> {
  const { port, baud } = options;
  try {
    return await connect(options);
  } catch (error) {
    if (error instanceof Lost)
      return refuse(
        port,
        `${printable(error.message)}: is it at ${baud} baud (--baud), and is the console there (E.setConsole)?`,
      );
    if (error instanceof Error && "exitCode" in error) throw error;
    return refuse(port, printable(await remedyFor(port, error)));
  }
}

/** A later connection: the port may be away for a while. */
async function connectAgain(options: PushOptions, why: string): Promise<Session> {
  const { port, wait, signal, say } = options;
  const end = performance.now() + wait * 1000;
  say(`${port}: lost (${printable(why)}). Waiting up to ${wait} s for it to come back.`);
  for (;;) {
    try {
      return await unlessAborted(signal, connect(options));
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof Error && "exitCode" in error) throw error;
      if (performance.now() > end)
        refuse(port, `lost, and not back within ${wait} s (--wait): push again, and the update goes on where it was`);
    }
    await pause(REOPEN);
  }
}

// --- The update ------------------------------------------------------------------------------------------------------

/** What a device calls `file`: the manifest is "", and without keys so is the image. undefined when there is none. */
function bytesOf({ release, options }: Job, file: string): Buffer | undefined {
  const { manifest, image, files } = release;
  if (!manifest || !options.keys.length) return file === "" ? image?.bytes : undefined;
  if (file === "") return Buffer.from(manifest.text, "latin1");
  return file === manifest.claims.image?.url ? image?.bytes : files.get(file);
}

/** The line for what the device asked for. */
function answerFor(job: Job, { offset, file, n }: Event & { k: "ask" }): ["p" | "x", string, number] {
  const bytes = bytesOf(job, file);
  if (!bytes) return ["x", `push has no file ${file}`, n];
  return ["p", bytes.subarray(offset, offset + job.options.piece).toString("latin1"), n];
}

const reachedOf = ({ reached }: Job): number => [...reached.values()].reduce((sum, end) => sum + end, 0);

/** Counts a piece that was sent. */
function advance(job: Job, { file, offset }: Event & { k: "ask" }, length: number): void {
  const { release, options, reached } = job;
  // progress counts image and files, and not the manifest
  if (options.keys.length && file === "") return;
  reached.set(file, Math.max(reached.get(file) ?? 0, offset + length));
  job.progress ??= createProgress(release.files.size ? "release" : "image", sizeOf(release));
  job.progress.update(Math.min(sizeOf(release), reachedOf(job)));
}

async function start(console: Console, { config, keys }: PushOptions): Promise<void> {
  await console.command("e", `otaPush.config=${JSON.stringify(config)},0`);
  if (keys.length) await console.command("e", "otaPush.config.keys=[],0");
  for (const key of keys) await console.command("e", `otaPush.config.keys.push(${key})`);
  await console.command("e", "otaPush.start()");
}

/** Serves the device until its update has ended. */
async function serve(console: Console, job: Job): Promise<Event & { k: "end" }> {
  const { options } = job;
  await start(console, options);
  for (;;) {
    const event = await unlessAborted(options.signal, console.nextEvent());
    if (event.k === "end") return event;
    const [kind, bytes, n] = answerFor(job, event);
    await console.command(kind, bytes, n);
    if (kind === "x") continue;
    job.sent += bytes.length;
    advance(job, event, bytes.length);
  }
}

/** Ends the update on the device. Says what remains. */
async function interrupted(console: Console, job: Job): Promise<never> {
  const end = (async () => {
    if (!(await console.command("e", "otaPush.stop()"))) return;
    for (;;) if ((await console.nextEvent()).k === "end") return;
  })();
  const ended = await Promise.race([end.then(() => true), pause(ABORT_TIME).then(() => false)]).catch(() => false);
  const device = ended ? "the device has ended its update" : "the device did not confirm that it ended its update";
  throw refusal(
    `interrupted at ${reachedOf(job)} of ${sizeOf(job.release)} bytes: ${device}, and starts as before; ` +
      "the next push goes on behind the last whole sector",
    1,
  );
}

async function prepare(session: Session, job: Job): Promise<Session> {
  const { options } = job;
  let current = session;
  const bars: Progress[] = [];
  const device = await provideModule(session.console, {
    port: options.port,
    replace: options.replaceModule,
    say: options.say,
    progress(total) {
      const one = createProgress("module", total);
      bars.push(one);
      return (done) => {
        options.signal.throwIfAborted();
        one.update(done);
      };
    },
    async reset() {
      await session.console.command("e", "setTimeout(reset,50),0");
      session.link.close();
      await pause(RESET_TIME);
      current = await connect(options);
      return current.console;
    },
  }).finally(() => {
    for (const one of bars) one.stop();
  });
  return { link: current.link, console: device };
}

function failed(port: string, { name, error }: Event & { k: "end" }): never {
  const busy = name === "ESP_ERR_OTA_ALREADY_IN_PROGRESS";
  const remedy = busy ? ": the program of the device updates itself now; wait, or call its abort()" : "";
  return refuse(port, oneLine(`the device says ${name}: ${error}${remedy}`));
}

/** One connection: module, update, result. Rejects with Lost when the line is gone. */
async function session(first: Session, job: Job): Promise<Event & { k: "end" }> {
  const { options } = job;
  let { link, console } = first;
  try {
    ({ link, console } = await prepare(first, job));
    for (let tries = 1; ; tries++) {
      const end = await serve(console, job);
      if (!end.error) {
        await finish(console, options);
        return end;
      }
      if (!end.retry || tries >= MOST_FAILED) failed(options.port, end);
      options.say(oneLine(`${options.port}: the device says ${end.name}: ${end.error}; it starts again`));
    }
  } catch (error) {
    if (options.signal.aborted && error === options.signal.reason) await interrupted(console, job);
    throw error;
  } finally {
    job.repeats += console.repeats;
    link.close();
  }
}

/** Removes `otaPush`, unless another push has begun meanwhile. */
export async function leave(console: Console): Promise<void> {
  const remove = "(function(o){setTimeout(function(){if(global.otaPush===o)delete global.otaPush;},50);})(otaPush),0";
  await console.command("e", remove).catch(() => {});
}

async function finish(console: Console, { restart }: PushOptions): Promise<void> {
  if (restart) {
    // the answer may not come any more
    await console.command("e", 'setTimeout(function(){require("https-ota").restart();},100),0').catch(() => {});
    await pause(RESET_TIME / 2);
  } else await leave(console);
}

export interface Pushed {
  end: Event & { k: "end" };
  /** of pieces that were sent, in bytes and ms */
  sent: number;
  time: number;
  repeats: number;
}

export async function push(release: Release, given: PushOptions): Promise<Pushed> {
  const options: PushOptions = {
    ...given,
    say(text) {
      // a bar is drawn again below the line
      job.progress?.stop();
      job.progress = undefined;
      given.say(text);
    },
  };
  const job: Job = { release, options, progress: undefined, reached: new Map(), sent: 0, repeats: 0 };
  const begun = performance.now();
  let lost = 0;
  let current = await unlessAborted(options.signal, connectFirst(options));
  try {
    for (;;) {
      const reached = reachedOf(job);
      try {
        const end = await session(current, job);
        return { end, sent: job.sent, time: performance.now() - begun, repeats: job.repeats };
      } catch (error) {
        if (!(error instanceof Lost)) throw error;
        lost = reachedOf(job) > reached ? 1 : lost + 1;
        if (lost > MOST_LOST)
          refuse(options.port, `lost ${lost} times without a new byte (${printable(error.message)})`);
        current = await connectAgain(options, error.message);
      }
    }
  } finally {
    job.progress?.stop();
  }
}
