// hawkBit, as far as its devices see it: a small fake for ordinary tests. hawkbit-server.ts starts the real one, with the
// same functions, and hawkbit-real.test.ts runs the same steps against that one. ddi.ts checks each request and each answer.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import type { TestContext } from "node:test";
import { certificate } from "./certificate.ts";
import { createCheck } from "./ddi.ts";

/** One entry of an action's history, the newest last. */
export type Entry = { type: string; message: string };

export type AssignOptions = {
  /** A maintenance window that begins in an hour. */
  window?: boolean;
};

/** What an operator does. */
export interface Hawkbit {
  readonly url: string;
  addTarget(controller: string, token: string): Promise<void>;
  /** A distribution set with one software module, which has these artifacts. Gives its number. */
  addRelease(name: string, files: Record<string, Uint8Array | string>): Promise<number>;
  /** Gives the number of the action. */
  assign(controller: string, release: number, options?: AssignOptions): Promise<number>;
  cancel(controller: string, action: number): Promise<void>;
  history(controller: string, action: number): Promise<Entry[]>;
  attributes(controller: string): Promise<Record<string, string>>;
}

type Action = {
  id: number;
  release: number;
  state: "running" | "canceling" | "finished" | "error" | "canceled";
  window: boolean;
  entries: Entry[];
};
type Target = { token: string; attributes: Record<string, string>; asked: boolean; actions: Action[] };

/** The fake, and what a test sets in it. */
export interface Fake extends Hawkbit {
  readonly requests: { method: string; path: string; authorization: string; body: any }[];
  sleep: string;
  /** Answers each request that it takes itself: true. */
  override: ((req: IncomingMessage, res: ServerResponse, path: string) => boolean) | null;
  openWindow(action: number): void;
  /** What a request or an answer had that hawkBit's document does not allow. The test fails when there is any at its end. */
  readonly faults: string[];
  /** Changes links, as a server behind a proxy or with a CDN gives them. */
  link: (href: string) => string;
}

function readBody(req: IncomingMessage): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    req.on("data", (data) => {
      text += data;
    });
    req.on("end", () => resolve(text));
    req.on("error", reject);
  });
}

type Answer = { status: number; answer?: unknown };

function json(res: ServerResponse, value: unknown): Answer {
  const text = JSON.stringify(value);
  res.writeHead(200, { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(text) }).end(text);
  return { status: 200, answer: JSON.parse(text) };
}

function empty(res: ServerResponse, status: number): Answer {
  res.writeHead(status, { "Content-Length": 0 }).end();
  return { status };
}

/** A file, whole or a range, with the headers of hawkBit. */
function serve(req: IncomingMessage, res: ServerResponse, bytes: Buffer): Answer {
  const range = /^bytes=(\d+)-(\d*)$/.exec(req.headers.range ?? "");
  const start = range ? Number(range[1]) : 0;
  const end = range?.[2] ? Math.min(Number(range[2]), bytes.length - 1) : bytes.length - 1;
  const headers: Record<string, string | number> = {
    "Content-Type": "application/octet-stream",
    "Accept-Ranges": "bytes",
    // without quotes, as hawkBit has it
    ETag: "f572d396fae9206628714fb2ce00f72e94f2258f",
    "Content-Length": end - start + 1,
  };
  if (range) headers["Content-Range"] = `bytes ${start}-${end}/${bytes.length}`;
  const status = range ? 206 : 200;
  res.writeHead(status, headers).end(bytes.subarray(start, end + 1));
  return { status };
}

function hashesOf(bytes: Buffer): Record<string, string> {
  const names = ["sha1", "md5", "sha256"];
  return Object.fromEntries(names.map((name) => [name, createHash(name).update(bytes).digest("hex")]));
}

/** `strangers`: a client that others wrote may send fields that hawkBit ignores. */
export async function startFake(t: Pick<TestContext, "after">, tls = false, strangers = false): Promise<Fake> {
  const check = createCheck(strangers);
  const targets = new Map<string, Target>();
  const releases: Map<string, Buffer>[] = [];
  const actions: Action[] = [];
  let url = "";

  function base(target: Target, root: string): object {
    const action = target.actions.find(({ state }) => state === "running" || state === "canceling");
    const links: Record<string, { href: string }> = {};
    const kind = action?.state === "canceling" ? "cancelAction" : "deploymentBase";
    // as hawkBit: a client may append "/feedback" to the link of a cancellation
    const query = kind === "deploymentBase" ? "?c=-12345" : "";
    if (action) links[kind] = { href: fake.link(`${url}${root}/${kind}/${action.id}${query}`) };
    if (target.asked) links.configData = { href: fake.link(`${url}${root}/configData`) };
    return { config: { polling: { sleep: fake.sleep } }, _links: links };
  }

  function deployment(action: Action, root: string, history: number): object {
    const window = action.window ? { maintenanceWindow: "unavailable" } : {};
    const artifacts = [...releases[action.release]].map(([filename, bytes]) => {
      const href = fake.link(`${url}${root}/softwaremodules/${action.release}/artifacts/${filename}`);
      return {
        filename,
        hashes: hashesOf(bytes),
        size: bytes.length,
        // over TLS hawkBit gives both
        _links: tls
          ? { download: { href }, "download-http": { href: href.replace("https:", "http:") } }
          : { "download-http": { href }, "md5sum-http": { href: `${href}.MD5SUM` } },
      };
    });
    const messages = action.entries
      .map(({ message }) => message)
      .filter((message) => !message.startsWith("Update Server:"))
      .reverse()
      .slice(0, history);
    return {
      id: String(action.id),
      deployment: {
        download: "forced",
        update: action.window ? "skip" : "forced",
        chunks: [{ part: "os", version: "1", name: "fw", artifacts }],
        ...window,
      },
      ...(messages.length ? { actionHistory: { status: "RUNNING", messages } } : {}),
    };
  }

  /** The types are those that hawkBit's management API gives. */
  function feedback(action: Action, body: any, cancel: boolean): number {
    if (String(body?.id) !== String(action.id)) return 404;
    if (!["running", "canceling"].includes(action.state)) return 410;
    const { execution, result, details } = body.status;
    if (!["success", "failure", "none"].includes(result.finished) || !Array.isArray(details)) return 400;
    let type = execution === "scheduled" || execution === "proceeding" ? "running" : execution;
    if (execution === "closed" && cancel) type = result.finished === "failure" ? "error" : "canceled";
    else if (execution === "closed") type = result.finished === "failure" ? "error" : "finished";
    else if (cancel && execution === "rejected") type = "cancel_rejected";
    if (type === "finished" || type === "error" || type === "canceled") action.state = type;
    if (type === "cancel_rejected") action.state = "running";
    for (const message of details) action.entries.push({ type, message });
    return 200;
  }

  function route(req: IncomingMessage, res: ServerResponse, path: string, body: any): Answer {
    const match = /^\/DEFAULT\/controller\/v1\/([^/?]+)(\/[^?]*)?(?:\?(.*))?$/.exec(path);
    const controller = decodeURIComponent(match?.[1] ?? "");
    const target = targets.get(controller);
    if (!match || !target) return empty(res, 401);
    if (req.headers.authorization !== `TargetToken ${target.token}`) return empty(res, 401);
    const root = `/DEFAULT/controller/v1/${match[1]}`;
    const rest = (match[2] ?? "").split("/").slice(1);
    const action = actions[Number(rest[1])];
    if (!rest.length && req.method === "GET") return json(res, base(target, root));
    if (rest[0] === "configData" && req.method === "PUT") {
      target.asked = false;
      Object.assign(target.attributes, body.data);
      return empty(res, 200);
    }
    if (rest[0] === "softwaremodules") {
      const bytes = releases[Number(rest[1])]?.get(rest[3]);
      return bytes ? serve(req, res, bytes) : empty(res, 404);
    }
    if (!action || !target.actions.includes(action)) return empty(res, 404);
    if (rest[2] === "feedback" && req.method === "POST") {
      const code = feedback(action, body, rest[0] === "cancelAction");
      if (action.state === "finished") target.asked = true;
      return empty(res, code);
    }
    if (rest[0] === "cancelAction" && req.method === "GET")
      return action.state === "canceling"
        ? json(res, { id: String(action.id), cancelAction: { stopId: String(action.id) } })
        : empty(res, 404);
    if (rest[0] === "deploymentBase" && req.method === "GET") {
      const history = Number(new URLSearchParams(match[3] ?? "").get("actionHistory") ?? 0);
      return action.state === "running" ? json(res, deployment(action, root, history)) : empty(res, 404);
    }
    return empty(res, 405);
  }

  const serveOne = async (req: IncomingMessage, res: ServerResponse): Promise<void> => {
    const text = await readBody(req);
    const path = req.url ?? "";
    const body = text ? JSON.parse(text) : undefined;
    const method = req.method ?? "";
    fake.requests.push({ method, path, authorization: req.headers.authorization ?? "", body });
    if (fake.override?.(req, res, path)) return;
    fake.faults.push(...check({ method, path, body, ...route(req, res, path, body) }));
  };
  const server = tls ? createTlsServer(await certificate(), serveOne) : createServer(serveOne);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
    assert.deepEqual(fake.faults, []);
  });
  url = `${tls ? "https" : "http"}://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const fake: Fake = {
    url,
    requests: [],
    faults: [],
    sleep: "00:05:00",
    override: null,
    link: (href) => href,
    openWindow: (action) => {
      actions[action].window = false;
    },
    async addTarget(controller, token) {
      targets.set(controller, { token, attributes: {}, asked: true, actions: [] });
    },
    async addRelease(_name, files) {
      releases.push(new Map(Object.entries(files).map(([name, bytes]) => [name, Buffer.from(bytes as string)])));
      return releases.length - 1;
    },
    async assign(controller, release, options = {}) {
      const action: Action = {
        id: actions.length,
        release,
        state: "running",
        window: options.window === true,
        entries: [],
      };
      actions.push(action);
      (targets.get(controller) as Target).actions.push(action);
      return action.id;
    },
    async cancel(_controller, action) {
      actions[action].state = "canceling";
    },
    history: async (_controller, action) => actions[action].entries,
    attributes: async (controller) => (targets.get(controller) as Target).attributes,
  };
  return fake;
}
