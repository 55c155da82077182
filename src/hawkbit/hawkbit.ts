// A client of Eclipse hawkBit's Direct Device Integration API, version 1: docs/hawkbit.md. A bundle of its own, which
// requires https-ota for the update. hawkBit says when something is to be installed and where it lies. Whether it may run
// is decided by the signature of the manifest alone.
//
// Nothing is kept over a restart. After one, what has become of an action is worked out from three things:
//
//   hawkBit's history of the action   did this device write INSTALLED there?
//   getStatus()                       is something on trial, and why was the last image rolled back?
//   update()                          does what the manifest names run already?

import { boardName, serialNumber, spread } from "../platform/engine";
import { exchange, hasRoom, type HawkbitError, hawkbitError, parseServer, sameServer, type Server } from "./request";

export interface HawkbitOptions {
  /** of the hawkBit server: "https://hawkbit.example.com" */
  url: string;
  /** @default "DEFAULT" */
  tenant?: string;
  /**
   * What this device is called in hawkBit.
   * @default getSerial()
   */
  controller?: string;
  /** hawkBit's security token of this device. It or `gatewayToken` is needed. */
  token?: string;
  /** hawkBit's token for all devices of a tenant. */
  gatewayToken?: string;
  /** Trusted public keys (JWK), for `update()`. */
  keys: object[];
  /** Told to hawkBit beside serial, board, firmware, release and sequence. */
  attributes?: { [name: string]: string };
  /** Asked before an update begins, with what is offered; false, or a promise of false, postpones it to the next poll. */
  ready?: (offer: any) => boolean | Promise<boolean>;
  /** Called when an update is installed, and hawkBit was told so: `restart()` starts it. */
  installed?: (result: any) => void;
  /** Called with each failure, of a poll or of an update. */
  failed?: (error: HawkbitError) => void;
  /** Any other field of a configuration of `update()`, such as `threshold`, `allowEarly`, `onEvent`. */
  [field: string]: unknown;
}

/** ms */
const enum Ms {
  /** the first poll comes within this time */
  FIRST = 60000,
  /** between two polls, until hawkBit says how long */
  SLEEP = 300000,
  /** least time between two polls, whatever hawkBit says: its own lower bound */
  LEAST = 30000,
}

const enum Code {
  OTA_ROLLBACK_INVALID_STATE = 0x1506,
  OTA_ALREADY_IN_PROGRESS = 0x1507,
}

/** characters of an attribute's value, and of a message: limits of hawkBit */
const MAX_VALUE = 128;
const MAX_MESSAGE = 400;
/** messages of this device that hawkBit is asked for: INSTALLED, and what may have come after it */
const HISTORY = 8;
/** What hawkBit's history says of an action whose release is in flash. */
const INSTALLED = "installed; the restart starts it";

const OWN = "url tenant controller token gatewayToken attributes ready installed failed headers source push manifest";

function isObject(value: unknown): boolean {
  return typeof value === "object" && !!value;
}

/** The field of an object that a stranger sent; undefined unless there is one. */
function field(value: any, name: string): any {
  return isObject(value) ? value[name] : undefined;
}

/** "HH:MM:SS" in ms; 0 for anything else. */
function parseSleep(text: unknown): number {
  if (typeof text !== "string" || text.length !== 8) return 0;
  const seconds = +text.substr(0, 2) * 3600 + +text.substr(3, 2) * 60 + +text.substr(6, 2);
  return seconds > 0 ? seconds * 1000 : 0;
}

/** The number of the action that link `name` of an answer names, "" when there is none: paths are built here. */
function actionOf(links: unknown, name: string): string {
  const href = field(field(links, name), "href");
  if (typeof href !== "string") return "";
  const query = href.indexOf("?");
  const path = query < 0 ? href : href.substr(0, query);
  const id = path.substr(path.lastIndexOf("/") + 1);
  return "" + +id === id ? id : "";
}

/** URLs of the signed manifests, *.jws, among the artifacts of all software modules. */
function findManifests(chunks: unknown, secure: boolean): string[] {
  const found: string[] = [];
  if (!Array.isArray(chunks)) return found;
  chunks.forEach((chunk) => {
    const artifacts = field(chunk, "artifacts");
    if (Array.isArray(artifacts))
      artifacts.forEach((artifact) => {
        const name = field(artifact, "filename");
        const links = field(artifact, "_links");
        const href =
          (secure && field(field(links, "download"), "href")) ||
          field(field(links, "download-http"), "href") ||
          field(field(links, "download"), "href");
        if (typeof name === "string" && name.substr(-4) === ".jws" && typeof href === "string") found.push(href);
      });
  });
  return found;
}

/**
 * Asks hawkBit for work again and again, does it, and tells what became of it. Never throws: what is wrong is told to
 * `failed`. Restarts nothing by itself, and keeps nothing over a restart.
 * More than 60 lines: a closure, whose functions share the timer and what is under way.
 */
export function start(options: HawkbitOptions): { stop(): void } {
  const given: HawkbitOptions = options || ({} as HawkbitOptions);
  let timer: number | undefined;
  let stopped = false;
  let sleep: number = Ms.SLEEP;
  let rounds = 0;
  let failures = 0;
  /** the action whose update runs, "" for none; cancelled meanwhile? */
  let busy = "";
  let cancelled = false;
  /** the action whose update is installed and waits for the restart */
  let waiting = "";
  /** what was told last, so that it is not told at each poll */
  let told = "";
  let server: Server;
  let base = "";
  let look: () => void;

  function ota(): any {
    return require("https-ota");
  }
  function call(callback: () => void): void {
    try {
      callback();
    } catch (thrown) {
      // printed by the engine, as any uncaught error
      setTimeout(() => {
        throw thrown;
      }, 0);
    }
  }
  function fail(error: HawkbitError): void {
    call(() => given.failed && given.failed(error));
  }
  function toError(thrown: any): HawkbitError {
    return thrown && thrown.retry !== undefined
      ? thrown
      : hawkbitError("" + ((thrown && thrown.message) || thrown), false);
  }
  function schedule(ms: number): void {
    if (timer !== undefined) clearTimeout(timer);
    timer = stopped ? undefined : setTimeout(look, ms);
  }
  /** The next poll, at a time that differs from device to device. */
  function next(ms: number): void {
    schedule(Math.max(ms, Ms.LEAST) * (0.9 + 0.2 * spread(++rounds)));
  }
  /** Sends something; an answer that comes after stop() is dropped. */
  function ask(method: string, path: string, body: object | null, done: (answer: any) => void): void {
    exchange(server, method, base + path, body, (error, answer) => {
      if (stopped) return;
      if (!error) {
        try {
          return done(answer);
        } catch (thrown) {
          error = toError(thrown);
        }
      }
      fail(error);
      next(error.retry ? Math.min(sleep, Ms.FIRST * 2 ** failures++) : sleep);
    });
  }
  /**
   * Tells hawkBit how far `action` is. `kind`: deploymentBase or cancelAction. `then` comes when hawkBit was told, or could not
   * be: the next poll works it out again.
   */
  function tell(
    action: string,
    execution: string,
    finished: string,
    text: string,
    then?: (() => void) | null,
    kind?: string,
  ): void {
    const news = action + execution + text;
    if (news === told && !kind) {
      if (then) then();
      return;
    }
    const path = base + "/" + (kind || "deploymentBase") + "/" + action + "/feedback";
    const body = {
      id: action,
      status: { execution: execution, result: { finished: finished }, details: [text.substr(0, MAX_MESSAGE)] },
    };
    exchange(server, "POST", path, body, (error) => {
      if (!error) told = news;
      // 410: it is closed already
      else if (error.status !== 410) fail(error);
      if (then) then();
    });
  }
  /** Answers a cancellation of `action`. */
  function confirmCancel(action: string, execution: string, finished: string, text: string): void {
    tell(action, execution, finished, text, null, "cancelAction");
  }
  function succeed(action: string, text: string): void {
    tell(action, "closed", "success", text);
  }
  function refuse(action: string, text: string): void {
    tell(action, "closed", "failure", text);
  }
  function proceed(action: string, text: string, then?: () => void): void {
    tell(action, "proceeding", "none", text, then);
  }

  function onResult(action: string, result: any): void {
    busy = "";
    if (stopped) return;
    if (result.upToDate) return succeed(action, "runs, and is confirmed");
    if (result.waiting) return proceed(action, INSTALLED);
    if (result.due) return proceed(action, "the rollout of the manifest has not reached this device");
    waiting = action;
    proceed(action, INSTALLED, () => call(() => given.installed && given.installed(result)));
  }
  function onError(action: string, thrown: unknown): void {
    const error: any = toError(thrown);
    busy = "";
    if (stopped) return;
    if (cancelled) return confirmCancel(action, "closed", "success", "the update was ended");
    fail(error);
    let text: string = error.name + ": " + error.message;
    const later = error.code === Code.OTA_ALREADY_IN_PROGRESS || error.code === Code.OTA_ROLLBACK_INVALID_STATE;
    if (error.retry || later) return proceed(action, text);
    try {
      const reason = ota().getStatus().rollbackReason;
      if (reason) text += "; last rollback: " + reason;
    } catch (_) {}
    refuse(action, text);
  }
  /** Installs what the manifest at `link` names. `again`: it was installed by this action before. */
  function install(action: string, link: string, again: boolean): void {
    const fields: { [name: string]: unknown } = {};
    const target = parseServer(link);
    Object.keys(given).forEach((name) => {
      if (OWN.split(" ").indexOf(name) < 0) fields[name] = given[name];
    });
    fields.url = link;
    // no other server gets the token, whatever hawkBit's link says
    if (target && sameServer(target, server)) fields.headers = () => ({ Authorization: server.authorization_ });
    busy = action;
    cancelled = false;
    const failed = (thrown: unknown) => onError(action, thrown);
    function update(yes: unknown): void {
      if (cancelled) return failed(null);
      if (!yes) {
        busy = "";
        return proceed(action, "the program has postponed it");
      }
      function begin(): void {
        if (cancelled || stopped) return failed(null);
        ota()
          .update(fields)
          .then((result: any) => onResult(action, result), failed);
      }
      if (again) begin();
      else proceed(action, "update begins", begin);
    }
    if (!given.ready) return update(true);
    ota()
      .checkForUpdate(fields)
      .then((offer: any) => {
        try {
          if (!offer.available || cancelled) return update(true);
          const answer: any = given.ready!(offer);
          if (answer && typeof answer.then === "function") answer.then(update, failed);
          else update(answer);
        } catch (thrown) {
          failed(thrown);
        }
      }, failed);
  }
  /** Is `text` among the messages of the action that hawkBit has kept? */
  function wasTold(answer: unknown, text: string): boolean {
    const messages = field(field(answer, "actionHistory"), "messages");
    return Array.isArray(messages) && messages.indexOf(text) >= 0;
  }
  function onDeployment(action: string, answer: any): void {
    const deployment = field(answer, "deployment");
    const manifests = findManifests(field(deployment, "chunks"), server.protocol_ === "https:");
    if (busy || waiting === action) return;
    const window = field(deployment, "maintenanceWindow");
    if (window === "unavailable" || field(deployment, "download") === "skip")
      return tell(action, "scheduled", "none", "waits for the maintenance window");
    if (field(deployment, "update") === "skip") return refuse(action, "a download without an update is not supported");
    if (manifests.length !== 1) return refuse(action, "expected one artifact *.jws, found " + manifests.length);
    const status = ota().getStatus();
    if (status.trial) return proceed(action, "on trial, start " + status.trial.boots);
    // rollbackReason is emptied by each update, so it is of this action when this action has installed the last one
    const again = wasTold(answer, INSTALLED);
    if (again && status.rollbackReason) return refuse(action, "rolled back: " + status.rollbackReason);
    install(action, manifests[0], again);
  }
  function onCancel(action: string): void {
    if (busy === action) {
      cancelled = true;
      return ota().abort();
    }
    const status = ota().getStatus();
    // what is selected is not taken back: the trial decides
    if (waiting === action || status.trial || status.boot !== status.running)
      confirmCancel(action, "rejected", "none", "it is installed already");
    else confirmCancel(action, "closed", "success", "nothing was begun");
  }
  function attributes(): { [name: string]: string } {
    const status = ota().getStatus();
    const all: any = {
      serial: serialNumber(),
      board: boardName(),
      firmware: status.version,
      release: status.release ? status.release.version : "",
      sequence: status.sequence,
    };
    const values: { [name: string]: string } = {};
    const more = given.attributes || {};
    Object.keys(more).forEach((name) => {
      all[name] = more[name];
    });
    Object.keys(all).forEach((name) => {
      const value = "" + all[name];
      if (value) values[name] = value.substr(0, MAX_VALUE);
    });
    return values;
  }
  function onBase(answer: any): void {
    const links = field(answer, "_links");
    const cancel = actionOf(links, "cancelAction");
    const action = actionOf(links, "deploymentBase");
    function deploy(): void {
      if (action && !busy)
        ask("GET", "/deploymentBase/" + action + "?actionHistory=" + HISTORY, null, (found) =>
          onDeployment(action, found),
        );
    }
    failures = 0;
    sleep = parseSleep(field(field(field(answer, "config"), "polling"), "sleep")) || Ms.SLEEP;
    next(sleep);
    if (cancel) onCancel(cancel);
    else if (field(links, "configData") && !busy)
      ask("PUT", "/configData", { mode: "merge", data: attributes() }, deploy);
    else deploy();
  }
  look = () => {
    timer = undefined;
    // first of all: if memory ends below, the next poll comes nevertheless
    next(sleep);
    // beside an update there is no room for a second TLS connection
    if (!busy || (server.protocol_ === "http:" && hasRoom())) ask("GET", "", null, onBase);
  };
  try {
    const found = parseServer(given.url);
    const controller = given.controller === undefined ? serialNumber() : given.controller;
    const tenant = given.tenant === undefined ? "DEFAULT" : given.tenant;
    const name = given.token ? "TargetToken " : "GatewayToken ";
    const token = given.token || given.gatewayToken;
    if (!found) throw hawkbitError("url must be an http or https URL", false);
    if (!token || typeof token !== "string") throw hawkbitError("token or gatewayToken is missing", false);
    if (!Array.isArray(given.keys)) throw hawkbitError("keys are missing", false);
    server = found;
    base =
      found.path_ + "/" + encodeURIComponent("" + tenant) + "/controller/v1/" + encodeURIComponent("" + controller);
    server.authorization_ = name + token;
    server.more_ = {};
    ["ca", "cert", "key"].forEach((one) => {
      if (given[one]) server.more_![one] = given[one];
    });
    schedule(Ms.FIRST * spread(0));
  } catch (thrown) {
    fail(toError(thrown));
  }
  return {
    stop: () => {
      stopped = true;
      schedule(0);
    },
  };
}
