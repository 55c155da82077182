// A virtual ESP32 for the real Espruino interpreter: only flash, the memory map, ESP32 and the board's name are
// replaced; http, TLS, timers, promises, memory and crypto are the engine's own. Runs before a scenario, with SETUP
// (see engine.ts) declared above it. Flash is a file, so that the test can prepare it and look at it afterwards.
// The Linux build begins with few variables and gets more on demand, but not for the two pieces of 16 KB that TLS
// wants in one: make it ask for them now. A device has its fixed number from the start.
var grow = [];
if (process.memory().total === 4096) for (var g = 0; g < 16000; g++) grow.push(g);
grow = undefined;

/** What a device has in its firmware. Run from Storage, where the engine needs no copy of it. */
function device() {
  // global what a module uses: its function does not see the scope around it
  global.flashFile = E.openFile(SETUP.flash, "r+");
  var mappings = SETUP.mappings;
  var registers = require("Storage").read(".registers");
  global.counts = { reads: 0, writes: 0, erases: 0 };
  global.engineProcess = process;

  global.flashRead = (length, addr) => {
    flashFile.seek(addr);
    return flashFile.read(length);
  };
  // In pieces: a device reads into one block and writes from it, so that no copy of a sector takes memory here either.
  Modules.addCached("Flash", () => {
    exports.read = (length, addr) => {
      counts.reads++;
      var bytes = new Uint8Array(length);
      for (var i = 0; i < length; i += 256) bytes.set(flashRead(Math.min(256, length - i), addr + i), i);
      return bytes;
    };
    exports.write = (data, addr) => {
      counts.writes++;
      var pieces = Array.isArray(data) ? data : [data];
      for (var n = 0; n < pieces.length; n++)
        for (var i = 0; i < pieces[n].length; i += 256) {
          var bytes = E.toUint8Array(pieces[n].slice(i, i + 256));
          var old = E.toUint8Array(flashRead(bytes.length, addr));
          // NOR: a write only clears bits
          if (E.sum(old) !== 255 * old.length) bytes = bytes.map((b, j) => b & old[j]);
          flashFile.seek(addr);
          flashFile.write(E.toString(bytes));
          addr += bytes.length;
        }
    };
    exports.erasePage = (addr) => {
      counts.erases++;
      var blank = E.toString(new Uint8Array(256).fill(255));
      flashFile.seek(addr - (addr % 4096));
      for (var i = 0; i < 4096; i += 256) flashFile.write(blank);
    };
  });

  E.memoryArea = (addr, length) => {
    for (var i = 0; i < mappings.length; i++) {
      var m = mappings[i];
      if (addr >= m.addr && addr + length <= m.addr + m.length) return flashRead(length, m.flash + addr - m.addr);
    }
    throw new Error("memory area 0x" + addr.toString(16) + " is not mapped: the chip would reset here");
  };
  global.peek32 = (addr) => {
    for (var i = 0; i < registers.length; i += 20)
      if (parseInt(registers.substr(i, 10)) === addr) return parseInt(registers.substr(i + 10, 10));
    throw new Error("peek32 of 0x" + addr.toString(16) + " is not modelled");
  };
  global.process = {
    env: { BOARD: SETUP.board, VERSION: engineProcess.env.VERSION },
    memory: () => engineProcess.memory(),
  };
  global.ESP32 = {
    reboot: () => {
      report({ reboot: true });
      finish();
    },
  };

  global.report = (value) => {
    print("REPORT " + JSON.stringify(value));
  };
  global.finish = () => {
    report({ counts: counts });
    quit();
  };
  global.reportError = (error) => {
    report({
      error: error.message,
      name: error.name,
      code: error.code,
      retry: error.retry,
      stack: error.retry === undefined ? error.stack : undefined,
    });
  };
}

// in pieces, for interpreters with little memory; and only when it is another one, or Storage would fill up
(() => {
  var storage = require("Storage");
  function store(name, size, piece) {
    var old = storage.read(name);
    var same = old !== undefined && old.length === size;
    old = undefined;
    for (var at = 0; same && at < size; at += 512) same = storage.read(name, at, 512) === piece(at);
    if (same) return;
    storage.erase(name);
    for (at = 0; at < size; at += 512) storage.write(name, piece(at), at, size);
  }
  function storeText(name, text) {
    store(name, text.length, (at) => text.substr(at, 512));
  }
  storeText(".device", "(" + device + ")()");
  device = undefined;
  var rows = "";
  var pad = "          ";
  for (var addr in SETUP.registers) rows += (addr + pad).substr(0, 10) + (SETUP.registers[addr] + pad).substr(0, 10);
  storeText(".registers", rows);
  rows = undefined;
  if (SETUP.module) {
    var file = E.openFile(SETUP.module, "r");
    store("https-ota", require("fs").statSync(SETUP.module).size, (at) => {
      file.seek(at);
      return file.read(512);
    });
    file.close();
  }
  eval(storage.read(".device"));
  SETUP = undefined;
})();
