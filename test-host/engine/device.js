// A virtual ESP32 for the real Espruino interpreter: only flash, the memory map, ESP32 and the board's name are
// replaced; http, TLS, timers, promises, memory and crypto are the engine's own. Runs before a scenario, with SETUP
// (see engine.ts) declared above it. Flash is a file, so that the test can prepare it and look at it afterwards.
// The Linux build begins with few variables and gets more on demand, but not for the two pieces of 16 KB that TLS
// wants in one: make it ask for them now. A device has its fixed number from the start.
var grow = [];
if (process.memory().total === 4096) for (var g = 0; g < 16000; g++) grow.push(g);
grow = undefined;

var flashFile = E.openFile(SETUP.flash, "r+");
var BLANK = E.toString(new Uint8Array(256).fill(255));
var counts = { reads: 0, writes: 0, erases: 0 };

function flashRead(length, addr) {
  flashFile.seek(addr);
  return flashFile.read(length);
}
// In pieces: a device reads into one block and writes from it, so that no copy of a sector takes memory here either.
var PIECE = 256;
Modules.addCached("Flash", () => {
  exports.read = (length, addr) => {
    counts.reads++;
    var bytes = new Uint8Array(length);
    for (var i = 0; i < length; i += PIECE) bytes.set(flashRead(Math.min(PIECE, length - i), addr + i), i);
    return bytes;
  };
  exports.write = (data, addr) => {
    counts.writes++;
    for (var i = 0; i < data.length; i += PIECE) {
      var bytes = E.toUint8Array(data.slice(i, i + PIECE));
      var old = E.toUint8Array(flashRead(bytes.length, addr + i));
      // NOR: a write only clears bits
      if (E.sum(old) !== 255 * old.length) bytes = bytes.map((b, j) => b & old[j]);
      flashFile.seek(addr + i);
      flashFile.write(E.toString(bytes));
    }
  };
  exports.erasePage = (addr) => {
    counts.erases++;
    flashFile.seek(addr - (addr % 4096));
    for (var i = 0; i < 4096; i += BLANK.length) flashFile.write(BLANK);
  };
});

E.memoryArea = (addr, length) => {
  for (var i = 0; i < SETUP.mappings.length; i++) {
    var m = SETUP.mappings[i];
    if (addr >= m.addr && addr + length <= m.addr + m.length) return flashRead(length, m.flash + addr - m.addr);
  }
  throw new Error("memory area 0x" + addr.toString(16) + " is not mapped: the chip would reset here");
};
global.peek32 = (addr) => {
  var value = SETUP.registers["" + addr];
  if (value === undefined) throw new Error("peek32 of 0x" + addr.toString(16) + " is not modelled");
  return value;
};
var engineProcess = process;
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

function report(value) {
  print("REPORT " + JSON.stringify(value));
}
function finish() {
  report({ counts: counts });
  quit();
}
function reportError(error) {
  report({
    error: error.message,
    name: error.name,
    code: error.code,
    retry: error.retry,
    stack: error.retry === undefined ? error.stack : undefined,
  });
}

// in pieces, for interpreters with little memory; and only when it is another one, or Storage would fill up
(() => {
  var storage = require("Storage");
  var size = require("fs").statSync(SETUP.module).size;
  var old = storage.read("https-ota");
  var same = old !== undefined && old.length === size;
  old = undefined;
  function pieces(use) {
    var file = E.openFile(SETUP.module, "r");
    for (var at = 0; at < size; at += 512) use(file.read(512), at);
    file.close();
  }
  if (same)
    pieces((piece, at) => {
      if (storage.read("https-ota", at, 512) !== piece) same = false;
    });
  if (same) return;
  storage.erase("https-ota");
  pieces((piece, at) => {
    storage.write("https-ota", piece, at, size);
  });
})();
