// require("http") as a client. The state of a request lies in ordinary properties of the request
// (httpCRq) and the response (httpCRs), under the interpreter's own short names, because programs can see and set
// them: `clsNow` is how a download is cut. One idle pass sends, reads and delivers at most 536 bytes per connection.

import { bytesOf, type Core, type Fn, isObject, textOf, toInt, typeName } from "./core.ts";
import { PREFIX, STREAM_BUFFER } from "./events.ts";
import { CLOSED, canConnect, type Handle, openPlain, openTls, resolveHost, type TlsBuffer } from "./socket.ts";
import { describe } from "./text.ts";
import { cut, parseUrl } from "./url.ts";

const CHUNK = 536;
const STREAM_MAX = 512;
const HOST_MAX = 127; // a C buffer of 128
const UNSENT = -8;
const NO_RESPONSE = -15;
const TYPE_HTTP = 1;
const TYPE_TLS = 4;

const ERRORS = [
  "connection closed",
  "out of memory",
  "timeout",
  "no route",
  "busy",
  "not found",
  "max sockets",
  "unsent data",
  "connection reset",
  "unknown error",
  "no connection",
  "bad argument",
  "SSL handshake failed",
  "invalid SSL data",
  "no response",
];

export interface Http {
  readonly library: Record<string, Fn>;
  /** One idle pass over all connections; true when something moved. */
  idle(): boolean;
  connections(): { req: any; res: any }[];
  closeAll(): void;
}

/** Another network below plain connections, as fast as a function call; undefined refuses. For campaigns. */
export type Connect = (address: string, port: number, wake: () => void) => Handle | undefined;

export type HttpOptions = {
  version: string;
  hosts: Record<string, string>;
  connect?: Connect;
  tlsBuffer?: TlsBuffer;
};

/** The first key equal to `name` whatever its case. */
function getNoCase(object: any, name: string): any {
  const key = Object.keys(object).find((k) => k.toLowerCase() === name.toLowerCase());
  return key === undefined ? undefined : object[key];
}

function isChunkedCoding(value: unknown): boolean {
  return typeof value === "string" && value.toLowerCase() === "chunked";
}

/** End of the header: after CR LF CR LF and nothing else. A bare LF never ends a line. */
function findHeaderEnd(text: string): number {
  let state = 0;
  for (let i = 0; i < text.length; i++) {
    const ch = text[i];
    if (ch === "\r") {
      if (state === 0 || state === 2) state++;
    } else if (ch === "\n") {
      if (state === 1) state = 2;
      else if (state === 3) return i + 1;
    } else state = 0;
  }
  return -1;
}

type Marks = { firstSpace: number; secondSpace: number; firstEol: number };

/** Walks the text as the interpreter does, body included: it does not stop at the end of the header. */
function scanHeaders(text: string, add: (name: string, value: string) => void): Marks {
  const marks: Marks = { firstSpace: -1, secondSpace: -1, firstEol: -1 };
  let line = 0;
  let lineStart = 0;
  let colon = 0;
  let valueStart = 0;
  for (let i = 0; i < text.length; i++) {
    const ch = text[i];
    if (ch === " " || ch === "\r") {
      if (marks.firstSpace < 0) marks.firstSpace = i;
      else if (marks.secondSpace < 0) marks.secondSpace = i;
    }
    if (ch === ":" && colon < 0) colon = i;
    else if (colon > 0 && !valueStart && !" \t\n\r\v\f".includes(ch)) valueStart = i;
    if (ch === "\r") {
      if (marks.firstEol < 0) marks.firstEol = i;
      if (line > 0 && colon > lineStart && valueStart > lineStart) {
        add(text.slice(lineStart, colon), text.slice(valueStart, i));
      }
      line++;
      colon = -1;
      valueStart = 0;
    }
    if (ch === "\r" || ch === "\n") lineStart = i + 1;
  }
  return marks;
}

export function createHttp(core: Core, options: HttpOptions): Http {
  const { realm } = core;
  const handles = new Map<number, Handle>();
  const lost = new WeakSet<object>();
  /** Data waits for a listener: the loop must not rest, because every pass counts that data again. */
  let blocked = false;
  let list: any[] = [];
  let nextSocket = 1;
  const requestProto = new realm.Object();
  const responseProto = new realm.Object();

  function method(proto: any, className: string, name: string, fn: Fn): void {
    const value = core.native(`${className}.${name}`, fn);
    Object.defineProperty(proto, name, { value, enumerable: false, writable: true, configurable: true });
  }

  // --- the request

  function headerText(req: any): string {
    const opt = req.opt;
    let text = `${describe(core, opt.method)} ${describe(core, opt.path)} HTTP/1.1\r\n`;
    text += `User-Agent: Espruino ${options.version}\r\nConnection: close\r\n`;
    const headers = opt.headers;
    let hasHost = false;
    if (isObject(core, headers)) {
      hasHost = getNoCase(headers, "Host") !== undefined;
      for (const key of Object.keys(headers)) text += `${key}: ${describe(core, headers[key])}\r\n`;
      if (isChunkedCoding(headers["Transfer-Encoding"])) req.chunked = true;
    }
    if (!hasHost) {
      const port = toInt(opt.port);
      text += `Host: ${describe(core, opt.host)}${port > 0 && port !== 80 ? `:${port}` : ""}\r\n`;
    }
    return `${text}\r\n`;
  }

  function open(req: any, address: string, port: number): Handle | undefined {
    if (options.connect && !(req.type & TYPE_TLS)) return options.connect(address, port, core.wake);
    if (!canConnect(address, port)) {
      core.print("ERROR: Connect failed (err 111)\n");
      return undefined;
    }
    return req.type & TYPE_TLS
      ? openTls(address, port, req.opt, core.wake, options.tlsBuffer)
      : openPlain(address, port, core.wake);
  }

  function connect(req: any): void {
    if (req.sckt > 0) return;
    const host = req.opt.host;
    const name = host === undefined ? "127.0.0.1" : describe(core, host).slice(0, HOST_MAX);
    const address = resolveHost(name, options.hosts);
    if (address === undefined) {
      req.clsNow = true;
      throw core.error("InternalError", "Unable to locate host");
    }
    const port = toInt(req.opt.port) & 0xffff || (req.type & TYPE_TLS ? 443 : 80);
    let handle: Handle | undefined;
    let message = "Unable to create socket";
    try {
      handle = open(req, address, port);
    } catch (error) {
      message = (error as Error).message; // the first exception is the one that counts
    }
    if (!handle) {
      req.clsNow = true;
      throw core.error("InternalError", message);
    }
    req.sckt = nextSocket++;
    handles.set(req.sckt, handle);
  }

  function write(req: any, data: unknown): void {
    core.wake();
    if (req.clsNow || req.cls) throw core.error("Error", "This socket is closed");
    if (req.dSnd === undefined) req.dSnd = req.sckt > 0 ? "" : headerText(req);
    if (data !== undefined) {
      const text = describe(core, data);
      req.dSnd += req.chunked ? `${text.length.toString(16)}\r\n${text}\r\n` : text;
    }
    connect(req);
  }

  function end(req: any): void {
    try {
      write(req, req.chunked ? "" : undefined);
    } finally {
      req.cls = true;
    }
  }

  function checkCallback(callback: unknown): boolean {
    if (callback === undefined || typeof callback === "function") return true;
    core.print(`ERROR: Expecting Callback Function but got ${typeName(core, callback)}\n`);
    return false;
  }

  function create(target: any, callback: unknown): any {
    const opt = typeof target === "string" ? parseUrl(core, target, false) : target;
    if (!isObject(core, opt)) {
      core.print(`ERROR: Expecting Options to be an Object but it was ${typeName(core, opt)}\n`);
      return undefined;
    }
    if (!checkCallback(callback)) return undefined;
    const req = Object.create(requestProto);
    req.type = TYPE_HTTP | (opt.protocol === "https:" ? TYPE_TLS : 0);
    if (callback !== undefined) req[`${PREFIX}connect`] = callback;
    req.res = Object.create(responseProto);
    req.opt = opt;
    list.push(req);
    core.wake();
    return req;
  }

  method(requestProto, "httpCRq", "write", function (this: any, data) {
    write(this, data);
    return false;
  });
  method(requestProto, "httpCRq", "end", function (this: any, data) {
    if (data !== undefined) write(this, data);
    end(this);
  });

  // --- the response as a stream

  method(responseProto, "httpCRs", "available", function (this: any) {
    return typeof this[STREAM_BUFFER] === "string" ? this[STREAM_BUFFER].length : 0;
  });
  method(responseProto, "httpCRs", "read", function (this: any, chars) {
    const buffer = this[STREAM_BUFFER];
    if (typeof buffer !== "string") return "";
    const n = toInt(chars);
    if (n <= 0 || n >= buffer.length) {
      delete this[STREAM_BUFFER];
      return buffer;
    }
    this[STREAM_BUFFER] = buffer.slice(n);
    return buffer.slice(0, n);
  });

  /** False when the data has to wait; with `force` it is thrown away instead. */
  function pushData(res: any, data: string, force: boolean): boolean {
    if (Object.hasOwn(res, `${PREFIX}data`)) {
      if (!core.execute(res, res[`${PREFIX}data`], [data])) {
        core.print("ERROR: Error processing Serial data handler - removing it.\n");
        delete res[`${PREFIX}data`];
      }
      return true;
    }
    const buffer = res[STREAM_BUFFER];
    if (typeof buffer !== "string") {
      res[STREAM_BUFFER] = data;
      return true;
    }
    const fits = buffer.length + data.length <= STREAM_MAX;
    if (!fits && force) {
      core.errorFlag("BUFFER_FULL");
      if (!lost.has(res)) core.problems.push(`data lost: no "data" listener, ${data.length} bytes`);
      lost.add(res);
    }
    if ((fits || force) && buffer.length < STREAM_MAX) {
      res[STREAM_BUFFER] = buffer + data.slice(0, STREAM_MAX - buffer.length);
    }
    if (!fits) blocked = true;
    return fits;
  }

  /** Takes one chunk off the front. Undefined: wait for more. `rest` undefined: that was the last chunk. */
  function takeChunk(res: any, text: string): { data: string; rest: string | undefined; again: boolean } | undefined {
    if (text.length < 5) return undefined;
    const length = parseHex(text);
    res.cRcv = length ? 1 : 0;
    if (!length) return { data: "", rest: undefined, again: false };
    const start = text.indexOf("\r\n") + 2;
    const next = (start + length + 2) >>> 0;
    const data = length < 0 ? text.slice(start) : text.slice(start, start + length);
    if (next < text.length) return { data, rest: text.slice(next), again: true };
    if (next === text.length) return { data, rest: undefined, again: false };
    if (next - text.length < 3) return undefined; // only the CR LF is missing
    return { data, rest: `${(next - text.length - 2).toString(16)}\r\n`, again: false };
  }

  /** Hands what can be handed of `received` to the program; returns what stays. */
  function pushReceived(res: any, received: string | undefined, force: boolean): string | undefined {
    let left = received;
    for (;;) {
      if (!left) return left;
      let data = left;
      let rest: string | undefined;
      let again = false;
      if (res.chunked) {
        const chunk = takeChunk(res, left);
        if (!chunk) return left;
        if (chunk.data === "" && chunk.rest === undefined && res.cRcv === 0) return undefined;
        ({ data, rest, again } = chunk);
      } else {
        res.cRcv = toInt(res.cRcv) - left.length;
      }
      if (data !== "" && !pushData(res, data, force)) return data;
      left = rest;
      if (!again) return left;
    }
  }

  /** Parses the header when it is complete; returns the text after it, or undefined. */
  function parseHeaders(res: any, text: string): string | undefined {
    const headerEnd = findHeaderEnd(text);
    if (headerEnd < 0) return undefined;
    const headers = new realm.Object();
    res.headers = headers;
    const { firstSpace, secondSpace, firstEol } = scanHeaders(text, (name, value) => {
      if (!Object.hasOwn(headers, name)) headers[name] = value;
    });
    const chunked = isChunkedCoding(getNoCase(headers, "Transfer-Encoding"));
    if (chunked) res.chunked = true;
    res.cRcv = chunked ? 1 : toInt(getNoCase(headers, "Content-Length"));
    res.httpVersion = cut(text, 5, firstSpace - 5);
    res.statusCode = cut(text, firstSpace + 1, secondSpace - firstSpace - 1);
    res.statusMessage = cut(text, secondSpace + 1, firstEol - secondSpace - 1);
    return text.slice(headerEnd);
  }

  // --- the idle pass

  function sendPart(req: any, handle: Handle): number {
    const part = req.dSnd.slice(0, CHUNK);
    const sent = handle.send(bytesOf(part));
    if (handle.handshakeError) reportHandshake(handle);
    if (sent > 0) {
      req.dSnd = req.dSnd.slice(sent);
      if (req.dSnd === "" && !req.cls) core.queueEvent(req, "drain", [req]);
    }
    return sent;
  }

  function reportHandshake(handle: Handle): void {
    core.reportError(core.error("InternalError", `mbedtls_ssl_handshake returned ${handle.handshakeError}`));
  }

  function queueEnd(res: any): void {
    if (res.endd) return;
    res.endd = true;
    core.queueEvent(res, "end", []);
  }

  /** Nothing to send: decides whether the answer is complete. */
  function checkComplete(req: any, res: any, hadHeaders: boolean): boolean {
    if (toInt(res.cRcv) > 0 || !hadHeaders) return false;
    queueEnd(res);
    return Boolean(req.cls);
  }

  /** `before`: what was left of earlier deliveries. Returns what is left now. */
  function receive(req: any, before: string | undefined, bytes: Uint8Array): string | undefined {
    const res = req.res;
    let text: string | undefined = (before ?? "") + textOf(bytes);
    if (!res.hdrs) {
      const rest = parseHeaders(res, text);
      if (rest !== undefined) {
        text = rest;
        core.queueEvent(req, "connect", [res]);
      }
      res.hdrs = rest !== undefined;
    }
    if (res.hdrs) text = pushReceived(res, text, false);
    return text;
  }

  function closeCode(code: number, res: any, hadHeaders: boolean): number {
    if (code !== CLOSED) return code;
    if (!hadHeaders) return NO_RESPONSE;
    return toInt(res.cRcv) > 0 ? CLOSED : 0;
  }

  function closeConnection(req: any, res: any, code: number): void {
    const error = code === CLOSED && req.dSnd ? UNSENT : code;
    kill(req);
    list = list.filter((one) => one !== req);
    const hadError = error < 0 && error !== CLOSED;
    if (hadError) {
      const details = new realm.Object();
      details.code = error;
      details.message = ERRORS[-1 - error] ?? ERRORS[9];
      core.queueEvent(req, "error", [details]);
    }
    queueEnd(res);
    core.queueEvent(res, "close", [hadError]);
  }

  function kill(req: any): void {
    const handle = handles.get(req.sckt);
    if (!handle) return;
    handle.close();
    handles.delete(req.sckt);
    delete req.sckt;
    req.conn = false;
    req.cls = true;
  }

  /** True when something moved. */
  function idleOne(req: any): boolean {
    const res = req.res;
    const handle = handles.get(req.sckt);
    let moved = false;
    let close = Boolean(req.clsNow);
    let code = 0;
    let received: string | undefined;
    if (handle) {
      const hadHeaders = Boolean(res.hdrs);
      received = req.dRcv;
      // here, before reading: the callback that adds the listener has run by now
      if (hadHeaders) received = pushReceived(res, received, false);
      if (!close) {
        const before = { endd: res.endd };
        if (req.dSnd) {
          const sent = sendPart(req, handle);
          if (sent > 0) moved = true;
          if (sent < 0) {
            close = true;
            code = sent;
          }
        } else {
          close = checkComplete(req, res, hadHeaders);
        }
        if (res.endd !== before.endd) moved = true;
        const got = handle.recv(CHUNK);
        if (typeof got !== "number") {
          moved = true;
          received = receive(req, received, got);
          req.dRcv = received; // only here: what was handed over above is still in it when nothing came
        } else if (got < 0) {
          if (handle.handshakeError) reportHandshake(handle);
          close = true;
          const final = closeCode(got, res, hadHeaders);
          if (final !== 0) code = final;
        }
      }
    }
    if (close) {
      received = pushReceived(res, received, true);
      if (!received) {
        closeConnection(req, res, code);
        moved = true;
      }
    }
    return moved;
  }

  const request = core.native("http.request", create);
  const get = core.native("http.get", (target, callback) => {
    if (isObject(core, target)) target.method = "GET";
    const req = create(target, callback);
    if (req) end(req);
    return req;
  });

  return {
    library: { request, get },
    idle() {
      let moved = false;
      blocked = false;
      for (const req of list) {
        if (core.stopped) break;
        if (list.includes(req) && idleOne(req)) moved = true;
      }
      return moved || blocked;
    },
    connections: () => list.map((req) => ({ req, res: req.res })),
    closeAll() {
      for (const handle of handles.values()) handle.close();
      handles.clear();
      list = [];
    },
  };
}

/** The interpreter's parseInt(text, 16): optional sign, optional 0x, as many digits as there are; else 0. */
function parseHex(text: string): number {
  const n = Number.parseInt(text.slice(0, 40), 16);
  return Number.isNaN(n) ? 0 : n | 0;
}
