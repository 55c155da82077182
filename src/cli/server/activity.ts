// What devices do: who asked for what, how far each download is, what was refused. All of it in memory and bounded, because
// everybody on the network can ask.
import { oneLine } from "../ui/errors.ts";
import type { Device, Download, Events, Refusal, Snapshot } from "./api.ts";

const MOST_DEVICES = 100;
const MOST_DOWNLOADS = 200;
const MOST_REFUSALS = 100;
const MOST_POINTS = 200;
/** characters of what a device says about itself */
const MOST_SAID = 120;
/** ms between two events of one download; more when many of them run */
const QUIET = 150;
const FEW = 8;

export interface Visitor {
  address: string;
  serial: string | undefined;
  userAgent: string | undefined;
}

/** What is sent of which file. */
export interface Sending {
  path: string;
  etag: string;
  size: number;
  start: number;
  length: number;
}

export interface Tracker {
  /** `sent`: bytes of this request */
  update(sent: number): void;
  end(sent: number): void;
}

type Name = keyof Omit<Events, "snapshot">;
export type Listener = <N extends Name>(name: N, data: Events[N]) => void;

export interface Activity {
  sending(visitor: Visitor, sending: Sending): Tracker;
  refused(visitor: Visitor, path: string, status: number, reason: string): void;
  /** Tells the listeners what others keep. */
  tell: Listener;
  snapshot(): Snapshot;
  /** Returns what ends it. */
  subscribe(listener: Listener): () => void;
}

interface Running {
  download: Download;
  etag: string;
  begunAt: number;
  toldAt: number;
}

interface State {
  devices: Map<string, Device>;
  downloads: Running[];
  refusals: Refusal[];
  listeners: Set<Listener>;
  lastId: number;
}

const now = () => new Date().toISOString();

function said(text: string | undefined): string | null {
  const line = oneLine(text ?? "");
  return line.length > MOST_SAID ? `${line.slice(0, MOST_SAID)}...` : line || null;
}

function tell<N extends Name>({ listeners }: State, name: N, data: Events[N]): void {
  for (const listener of listeners) listener(name, data);
}

function deviceOf(state: State, { address, serial, userAgent }: Visitor): Device {
  const about = { address, serial: said(serial), userAgent: said(userAgent) };
  const key = JSON.stringify(about);
  const known = state.devices.get(key);
  const device = { id: known?.id ?? ++state.lastId, ...about, seenAt: now() };
  // the one that was seen last is the last one of the map
  state.devices.delete(key);
  state.devices.set(key, device);
  if (state.devices.size > MOST_DEVICES) state.devices.delete(state.devices.keys().next().value as string);
  tell(state, "device", device);
  return device;
}

/** When there are too many, half of them say the same. */
function addPoint({ points }: Download, ms: number, position: number): void {
  if (points.length > 1 && points.at(-1)?.[0] === ms) points.pop();
  if (points.length >= MOST_POINTS) points.splice(0, points.length, ...points.filter((_, i) => i % 2 === 0));
  points.push([ms, position]);
}

function tellDownload(state: State, running: Running): void {
  running.toldAt = performance.now();
  const { download } = running;
  tell(state, "download", { ...download, points: download.points.slice(-1) });
}

/**
 * A request for a later part of the same file goes on with its download. Also when all of it was sent: what was handed to
 * the network may be lost there.
 */
function find(state: State, device: Device, { path, etag, start }: Sending): Running | undefined {
  if (start === 0) return undefined;
  const same = ({ download, etag: tag }: Running) =>
    download.device === device.id && download.path === oneLine(path) && tag === etag;
  return state.downloads.filter(same).at(-1);
}

function begin(state: State, device: Device, { path, etag, size, start }: Sending): Running {
  const download: Download = {
    id: ++state.lastId,
    device: device.id,
    path: oneLine(path),
    size,
    position: start,
    sent: 0,
    requests: 0,
    state: "running",
    startedAt: now(),
    duration: 0,
    points: [],
  };
  const running = { download, etag, begunAt: performance.now(), toldAt: 0 };
  state.downloads.push(running);
  if (state.downloads.length > MOST_DOWNLOADS) state.downloads.shift();
  return running;
}

function move(running: Running, position: number, sent: number): void {
  const { download } = running;
  download.position = position;
  download.sent = sent;
  download.duration = Math.round(performance.now() - running.begunAt);
  const [ms = -QUIET] = download.points.at(-1) ?? [];
  if (download.duration - ms >= QUIET || position === download.size) addPoint(download, download.duration, position);
}

function sending(state: State, visitor: Visitor, what: Sending): Tracker {
  const device = deviceOf(state, visitor);
  const running = find(state, device, what) ?? begin(state, device, what);
  const { download } = running;
  const before = download.sent;
  const { start, length, size } = what;
  download.requests++;
  download.state = "running";
  move(running, start, before);
  tellDownload(state, running);
  return {
    update(sent) {
      move(running, start + sent, before + sent);
      const many = Math.max(1, state.downloads.filter(({ download }) => download.state === "running").length / FEW);
      if (performance.now() - running.toldAt >= QUIET * many) tellDownload(state, running);
    },
    end(sent) {
      move(running, start + sent, before + sent);
      if (download.points.at(-1)?.[1] !== download.position) addPoint(download, download.duration, download.position);
      if (sent < length) download.state = "cut";
      else download.state = start + length < size ? "part" : "complete";
      tellDownload(state, running);
    },
  };
}

function refused(state: State, visitor: Visitor, path: string, status: number, reason: string): void {
  const { id: device } = deviceOf(state, visitor);
  const refusal = { id: ++state.lastId, device, path: oneLine(path), status, reason: oneLine(reason), at: now() };
  state.refusals.push(refusal);
  if (state.refusals.length > MOST_REFUSALS) state.refusals.shift();
  tell(state, "refusal", refusal);
}

export function createActivity(): Activity {
  const state: State = { devices: new Map(), downloads: [], refusals: [], listeners: new Set(), lastId: 0 };
  return {
    sending: (visitor, what) => sending(state, visitor, what),
    refused: (visitor, path, status, reason) => refused(state, visitor, path, status, reason),
    tell: (name, data) => tell(state, name, data),
    snapshot: () => ({
      devices: [...state.devices.values()],
      downloads: state.downloads.map(({ download }) => download),
      refusals: state.refusals,
    }),
    subscribe(listener) {
      state.listeners.add(listener);
      return () => void state.listeners.delete(listener);
    },
  };
}
