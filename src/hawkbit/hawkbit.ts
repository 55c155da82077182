// A client of Eclipse hawkBit's Direct Device Integration API, version 1: docs/hawkbit.md. A bundle of its own, which
// requires https-ota for the update. hawkBit says when something is to be installed and where it lies. Whether it may run
// is decided by the signature of the manifest alone.
//
// Nothing is kept over a restart. After one, what has become of an action is worked out from three things:
//
//   hawkBit's history of the action   did this device write INSTALLED there?
//   getStatus()                       is something on trial, and why was the last image rolled back?
//   update()                          does what the manifest names run already?
//
//   state       marked by                left by
//   idle        no updating_             a deployment that may begin: to updating
//   updating    updating_                the end of update(), or a "no" of ready(): to idle; a cancellation: to cancelled
//   cancelled   updating_, cancelled_    the end of update(): to idle. When it failed, the cancellation is confirmed
//   stopped     stopped_                 nothing: no poll comes, and the end of an update is not told
//
// A timer polls in the first three. An action that has brought an image into flash is installed_ until the restart: it is not
// begun again, and its cancellation is rejected.

import { boardName, freeVars, serialNumber, spread } from "../platform/engine";
import { actionOf, feedback, field, findManifests, isString, parseSleep, wasTold } from "./ddi";
import { exchange, type HawkbitError, hawkbitError, parseServer, sameServer, type Server } from "./request";

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

/** JsVars that must be free for an exchange beside an update */
const ROOM = 1200;
/** characters of an attribute's value: a limit of hawkBit */
const MAX_VALUE = 128;
/** messages of this device that hawkBit is asked for: INSTALLED, and what may have come after it */
const HISTORY = 8;
/** What hawkBit's history says of an action whose release is in flash. */
const INSTALLED = "installed; the restart starts it";

const OWN = "url tenant controller token gatewayToken attributes ready installed failed headers source push manifest";

interface Client {
  readonly options_: HawkbitOptions;
  /** where hawkBit is, and this device there */
  server_: Server;
  timer_?: number;
  /** ms between two polls; polls that were scheduled; requests that failed since the last good poll */
  sleep_: number;
  rounds_: number;
  failures_: number;
  stopped_?: boolean;
  /** the action whose update runs, "" for none; cancelled meanwhile? */
  updating_: string;
  cancelled_?: boolean;
  /** the action whose update is installed and waits for the restart */
  installed_: string;
  /** what was told last, so that it is not told at each poll */
  told_: string;
  /** what the timer calls */
  poll_(): void;
}

function ota(): any {
  return require("https-ota");
}

function getStatus(): any {
  return ota().getStatus();
}

function toError(thrown: any): HawkbitError {
  return thrown && thrown.retry !== undefined
    ? thrown
    : hawkbitError("" + ((thrown && thrown.message) || thrown), false);
}

/** Calls a callback of the program, where it has one. */
function callUser(client: Client, name: "installed" | "failed", value: any): void {
  const options = client.options_;
  try {
    if (options[name]) options[name](value);
  } catch (thrown) {
    // printed by the engine, as any uncaught error
    setTimeout(() => {
      throw thrown;
    }, 0);
  }
}

function fail(client: Client, error: HawkbitError): void {
  callUser(client, "failed", error);
}

function schedule(client: Client, ms: number): void {
  if (client.timer_ !== undefined) clearTimeout(client.timer_);
  client.timer_ = client.stopped_ ? undefined : setTimeout(client.poll_, ms);
}

/** The next poll, at a time that differs from device to device. */
function scheduleNext(client: Client, ms: number): void {
  schedule(client, Math.max(ms, Ms.LEAST) * (0.9 + 0.2 * spread(++client.rounds_)));
}

/** Sends something about `action`, and gives both, the action and the answer, to `done`; nothing after stop(). */
function ask(
  client: Client,
  method: string,
  path: string,
  body: object | null,
  action: string,
  done: (client: Client, action: string, answer: any) => void,
): void {
  exchange(client.server_, method, path, body, (error, answer) => {
    if (client.stopped_) return;
    if (!error) {
      try {
        return done(client, action, answer);
      } catch (thrown) {
        error = toError(thrown);
      }
    }
    fail(client, error);
    const sleep = client.sleep_;
    scheduleNext(client, error.retry ? Math.min(sleep, Ms.FIRST * 2 ** client.failures_++) : sleep);
  });
}

/**
 * Tells hawkBit how far `action` is. `kind`: deploymentBase or cancelAction. `then` comes when hawkBit was told, or could not
 * be: the next poll works it out again.
 */
function tell(
  client: Client,
  action: string,
  execution: string,
  finished: string,
  text: string,
  then?: (() => void) | null,
  kind?: string,
): void {
  const news = action + execution + text;
  if (news === client.told_ && !kind) {
    if (then) then();
    return;
  }
  const path = "/" + (kind || "deploymentBase") + "/" + action + "/feedback";
  exchange(client.server_, "POST", path, feedback(action, execution, finished, text), (error) => {
    if (!error) client.told_ = news;
    // 410: it is closed already
    else if (error.status !== 410) fail(client, error);
    if (then) then();
  });
}

/** Answers a cancellation of `action`. */
function confirmCancel(client: Client, action: string, execution: string, finished: string, text: string): void {
  tell(client, action, execution, finished, text, null, "cancelAction");
}

function refuse(client: Client, action: string, text: string): void {
  tell(client, action, "closed", "failure", text);
}

function proceed(client: Client, action: string, text: string, then?: () => void): void {
  tell(client, action, "proceeding", "none", text, then);
}

/** update() has done what the manifest of `action` names. */
function onResult(client: Client, action: string, result: any): void {
  client.updating_ = "";
  if (client.stopped_) return;
  if (result.upToDate) return tell(client, action, "closed", "success", "runs, and is confirmed");
  if (result.waiting) return proceed(client, action, INSTALLED);
  if (result.due) return proceed(client, action, "the rollout of the manifest has not reached this device");
  client.installed_ = action;
  proceed(client, action, INSTALLED, () => callUser(client, "installed", result));
}

/** The update of `action` failed, or was cancelled. */
function onError(client: Client, action: string, thrown: unknown): void {
  const error: any = toError(thrown);
  client.updating_ = "";
  if (client.stopped_) return;
  if (client.cancelled_) return confirmCancel(client, action, "closed", "success", "the update was ended");
  fail(client, error);
  let text: string = error.name + ": " + error.message;
  const later = error.code === Code.OTA_ALREADY_IN_PROGRESS || error.code === Code.OTA_ROLLBACK_INVALID_STATE;
  if (error.retry || later) return proceed(client, action, text);
  try {
    const reason = getStatus().rollbackReason;
    if (reason) text += "; last rollback: " + reason;
  } catch (_) {}
  refuse(client, action, text);
}

/** What update() is given to install what the manifest at `link` names. */
function updateConfig(client: Client, link: string): any {
  const options = client.options_;
  const server = client.server_;
  const target = parseServer(link);
  const config: { [name: string]: unknown } = {};
  Object.keys(options).forEach((name) => {
    if (OWN.split(" ").indexOf(name) < 0) config[name] = options[name];
  });
  config.url = link;
  // no other server gets the token, whatever hawkBit's link says
  if (target && sameServer(target, server)) config.headers = () => ({ Authorization: server.authorization_ });
  return config;
}

/** Installs what the manifest at `link` names. `again`: it was installed by this action before. */
// More than 30 lines: each step waits for a promise or an exchange, and what they call then has to be closures.
function install(client: Client, action: string, link: string, again: boolean): void {
  const options = client.options_;
  const config = updateConfig(client, link);
  const failed = (thrown: unknown) => onError(client, action, thrown);
  client.updating_ = action;
  client.cancelled_ = false;

  function begin(): void {
    if (client.cancelled_ || client.stopped_) return failed(null);
    ota()
      .update(config)
      .then((result: any) => onResult(client, action, result), failed);
  }
  /** `yes`: may it begin now? */
  function decide(yes: unknown): void {
    if (client.cancelled_) return failed(null);
    if (!yes) {
      client.updating_ = "";
      return proceed(client, action, "the program has postponed it");
    }
    if (again) begin();
    else proceed(client, action, "update begins", begin);
  }
  if (!options.ready) return decide(true);
  ota()
    .checkForUpdate(config)
    .then((offer: any) => {
      try {
        if (!offer.available || client.cancelled_) return decide(true);
        const answer: any = options.ready!(offer);
        if (answer && typeof answer.then === "function") answer.then(decide, failed);
        else decide(answer);
      } catch (thrown) {
        failed(thrown);
      }
    }, failed);
}

/** What hawkBit wants of this device, in `action`. */
function onDeployment(client: Client, action: string, answer: any): void {
  const deployment = field(answer, "deployment");
  const manifests = findManifests(deployment, client.server_.protocol_ === "https:");
  if (client.updating_ || client.installed_ === action) return;
  if (field(deployment, "maintenanceWindow") === "unavailable" || field(deployment, "download") === "skip")
    return tell(client, action, "scheduled", "none", "waits for the maintenance window");
  if (field(deployment, "update") === "skip")
    return refuse(client, action, "a download without an update is not supported");
  if (manifests.length !== 1) return refuse(client, action, "expected one artifact *.jws, found " + manifests.length);
  const status = getStatus();
  if (status.trial) return proceed(client, action, "on trial, start " + status.trial.boots);
  // rollbackReason is emptied by each update, so it is of this action when this action has installed the last one
  const again = wasTold(answer, INSTALLED);
  if (again && status.rollbackReason) return refuse(client, action, "rolled back: " + status.rollbackReason);
  install(client, action, manifests[0], again);
}

/** Asks what `action` wants, unless there is none or an update runs. */
function askDeployment(client: Client, action: string): void {
  if (action && !client.updating_)
    ask(client, "GET", "/deploymentBase/" + action + "?actionHistory=" + HISTORY, null, action, onDeployment);
}

function onCancel(client: Client, action: string): void {
  if (client.updating_ === action) {
    client.cancelled_ = true;
    return ota().abort();
  }
  const status = getStatus();
  // what is selected is not taken back: the trial decides
  if (client.installed_ === action || status.trial || status.boot !== status.running)
    confirmCancel(client, action, "rejected", "none", "it is installed already");
  else confirmCancel(client, action, "closed", "success", "nothing was begun");
}

/** What hawkBit is told of this device. `more`: what the program adds. */
function attributes(more: { [name: string]: string }): { [name: string]: string } {
  const status = getStatus();
  const all: any = {
    serial: serialNumber(),
    board: boardName(),
    firmware: status.version,
    release: status.release ? status.release.version : "",
    sequence: status.sequence,
  };
  const values: { [name: string]: string } = {};
  for (const name in more) all[name] = more[name];
  for (const name in all) {
    const value = "" + all[name];
    if (value) values[name] = value.substr(0, MAX_VALUE);
  }
  return values;
}

/** The answer to a poll. */
function onBase(client: Client, _action: string, answer: any): void {
  const links = field(answer, "_links");
  const cancel = actionOf(links, "cancelAction");
  const action = actionOf(links, "deploymentBase");
  const more = client.options_.attributes || {};
  client.failures_ = 0;
  client.sleep_ = parseSleep(field(field(field(answer, "config"), "polling"), "sleep")) || Ms.SLEEP;
  scheduleNext(client, client.sleep_);
  if (cancel) onCancel(client, cancel);
  else if (field(links, "configData") && !client.updating_)
    ask(client, "PUT", "/configData", { mode: "merge", data: attributes(more) }, action, askDeployment);
  else askDeployment(client, action);
}

/** Checks the options, and makes of them what each request needs. Throws what is wrong with them. */
function configure(client: Client): void {
  const given = client.options_;
  const server = parseServer(given.url);
  const controller = given.controller === undefined ? serialNumber() : given.controller;
  const tenant = given.tenant === undefined ? "DEFAULT" : given.tenant;
  const name = given.token ? "TargetToken " : "GatewayToken ";
  const token = given.token || given.gatewayToken;
  const more: { [name: string]: unknown } = {};
  if (!server) throw hawkbitError("url must be an http or https URL", false);
  if (!token || !isString(token)) throw hawkbitError("token or gatewayToken is missing", false);
  if (!Array.isArray(given.keys)) throw hawkbitError("keys are missing", false);
  ["ca", "cert", "key"].forEach((one) => {
    if (given[one]) more[one] = given[one];
  });
  server.authorization_ = name + token;
  server.more_ = more;
  server.path_ += "/" + encodeURIComponent("" + tenant) + "/controller/v1/" + encodeURIComponent("" + controller);
  client.server_ = server;
}

/**
 * Asks hawkBit for work again and again, does it, and tells what became of it. Never throws: what is wrong is told to
 * `failed`. Restarts nothing by itself, and keeps nothing over a restart.
 */
// More than 30 lines: its table of fields.
export function start(options: HawkbitOptions): { stop(): void } {
  const client = {
    options_: options || {},
    sleep_: Ms.SLEEP,
    rounds_: 0,
    failures_: 0,
    updating_: "",
    installed_: "",
    told_: "",
  } as unknown as Client;
  client.poll_ = () => {
    client.timer_ = undefined;
    // first of all: if memory ends below, the next poll comes nevertheless
    scheduleNext(client, client.sleep_);
    // beside an update there is no room for a second TLS connection
    if (!client.updating_ || (client.server_.protocol_ === "http:" && freeVars() > ROOM))
      ask(client, "GET", "", null, "", onBase);
  };
  try {
    configure(client);
    schedule(client, Ms.FIRST * spread(0));
  } catch (thrown) {
    fail(client, toError(thrown));
  }
  return {
    stop: () => {
      client.stopped_ = true;
      schedule(client, 0);
    },
  };
}
