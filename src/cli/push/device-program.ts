// What `push` runs on the device: it answers checked lines, and is the source of the bytes of an update. ES5 for
// Espruino, with nothing hoisted and a semicolon behind each statement: its lines are joined before they are sent.
// The protocol: console.ts.

const PROGRAM = `
global.otaPush = (function (token) {
  var last = -1, reply, event = {}, done, asked = 0, busy = false;
  function say(value) {
    var text = btoa(JSON.stringify(value));
    print("<ota:" + token + ":" + E.CRC32(text).toString(16) + ":" + text + ">");
    return value;
  }
  function end(value) {
    busy = false;
    value.k = "end";
    event = say(value);
  }
  function source(offset, answer, file) {
    done = answer;
    event = say({ k: "ask", n: ++asked, offset: offset, file: file });
  }
  function obey(kind, n, text) {
    var answer = done;
    if (kind === "e") return eval(text);
    if (kind === "w") return require("Storage").write(otaPush.name, text, n, otaPush.size);
    if (n !== asked || !answer) return 0;
    done = 0;
    if (kind === "p") setTimeout(answer, 0, null, text);
    else setTimeout(answer, 0, text);
  }
  return {
    line: function (id, kind, n, crc, text) {
      if (id !== last) {
        text = atob(text);
        if (((E.CRC32(text) ^ id ^ n) >>> 0) !== crc) {
          say({ id: id, bad: 1 });
          return;
        }
        last = id;
        try {
          reply = { id: id, v: obey(kind, n, text) };
        } catch (e) {
          reply = { id: id, error: "" + e };
        }
      }
      say(reply);
    },
    again: function () { say(event); },
    start: function () {
      var config = otaPush.config;
      delete otaPush.config;
      config.source = source;
      busy = true;
      require("https-ota").update(config).then(function (r) {
        end({ upToDate: r.upToDate, waiting: r.waiting, slot: r.partition && r.partition.label });
      }, function (e) {
        end({ name: e.name, error: e.message, retry: e.retry });
      });
    },
    stop: function () {
      if (!busy) return 0;
      require("https-ota").abort();
      return 1;
    }
  };
})`;

const compact = (code: string) =>
  code
    .split("\n")
    .map((line) => line.trim())
    .join("");

/** Ends what an earlier connection has left, then makes `otaPush` for this one. */
export function deviceProgram(token: string): string {
  return `try{otaPush.stop();}catch(e){}${compact(PROGRAM)}("${token}");otaPush.line(0,"e",0,0,"");`;
}

/** Every 512 bytes change the sum: E.CRC32 takes no start value, and a small board has no room for the whole file. */
export const SUM_PIECE = 512;

/** An expression: what the device is, as Info of device.ts. `load`: the module is tried. */
export function inspection(load: boolean): string {
  const trial = 'try { i.works = !!require("https-ota").update; } catch (e) { i.why = "" + e; }';
  return compact(`(function () {
    var s = require("Storage"), i = { board: process.env.BOARD, version: process.env.VERSION, size: 0, sum: 0 }, p;
    i.esp32 = typeof ESP32 !== "undefined";
    try { i.flash = !!require("Flash").erasePage; } catch (e) {}
    i.loaded = Modules.getCached().indexOf("https-ota") >= 0;
    while ((p = s.read("https-ota", i.size, ${SUM_PIECE}))) {
      i.size += p.length;
      i.sum = (((i.sum << 1) | (i.sum >>> 31)) ^ E.CRC32(p)) >>> 0;
    }
    ${load ? trial : ""}
    return i;
  })()`);
}

/** An expression: a file of Storage, as StoredInfo of storage-file.ts. `begins`: whose file it is. */
export function fileInspection(name: string, begins: string): string {
  return compact(`(function () {
    var s = require("Storage"), i = { size: 0, sum: 0, free: s.getStats().freeBytes }, p;
    while ((p = s.read("${name}", i.size, ${SUM_PIECE}))) {
      if (!i.size) {
        i.own = p.substr(0, ${begins.length}) === "${begins}";
        i.blank = p.charCodeAt(0) === 255;
      }
      i.size += p.length;
      i.sum = (((i.sum << 1) | (i.sum >>> 31)) ^ E.CRC32(p)) >>> 0;
      i.torn = p.charCodeAt(p.length - 1) === 255;
    }
    return i;
  })()`);
}

/** A statement: the file is created by the next line of kind "w". */
export const fileStart = (name: string, size: number): string =>
  `require("Storage").erase("${name}"),otaPush.name="${name}",otaPush.size=${size}`;
