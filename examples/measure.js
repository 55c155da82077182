// Measures flash, hashes, interpreter and network of a board, and prints the table of docs/timing.md with the results.
//   measure()                                              reads only
//   measure({ url: "http://192.168.1.10:8080/any.bin" })   the network too; a file of some 200 KB is enough
//   measure({ eraseOtherSlot: true })                      flash too: THE IMAGE IN THE OTHER SLOT IS LOST
// The running slot, otadata and Storage are never written. It takes a few seconds, and the download.

var SECTOR = 4096;
var SECTORS = 14; // that are erased and programmed, behind the first one of the other slot
var HALF = 7; // of them are programmed in whole pages, the others in pieces
var WHOLE = 1024; // bytes of a call that programs whole pages
var PIECE = 536; // bytes of a call as the network brings them
var TIMES = 10; // of what is short
var PATIENCE = 120000; // ms for the download

/** What is measured, what was found published, what the model says. A test compares this with docs/timing.md. */
var ROWS = {
  erase: ["erase of a sector, ms", "23 to 54", "45"],
  whole: ["program a sector, whole pages, ms", "3.8 to 10", "11.2"],
  pieces: ["program a sector, pieces of 536 bytes, ms", "-", "16.1"],
  read: ["read 4096 bytes, ms", "0.5 to 0.6", "0.5"],
  sha: ["SHA-256 of 4096 bytes, ms", "0.05 to 1.5", "-"],
  crc: ["E.CRC32 of 4096 bytes, ms", "-", "-"],
  loop: ["loop of 1000 turns, ms", "-", "-"],
  speed: ["HTTP download, KB/s", "10 to 573", "100"],
  piece: ["HTTP download, bytes in a piece", "-", "536"],
  free: ["free JsVars", "-", "-"]
};

/** Milliseconds of one call of `act`, which gets 0, 1, 2... */
function timed(times, act) {
  var began = getTime();
  for (var i = 0; i < times; i++) act(i);
  return ((getTime() - began) * 1000) / times;
}

/** The same with a pause after each call, for what takes long. `check` is called after each, and takes no time. */
function timedSlowly(times, act, check) {
  return new Promise(function (resolve, reject) {
    var sum = 0;
    var i = 0;
    function next() {
      if (i === times) return resolve((sum * 1000) / times);
      try {
        var began = getTime();
        act(i);
        sum += getTime() - began;
        check(i);
      } catch (error) {
        return reject(error);
      }
      i++;
      setTimeout(next, 5);
    }
    next();
  });
}

/** The slot that may be erased. Throws where there is none, and where its image is still needed. */
function otherSlot() {
  var ota = require("https-ota");
  var running = ota.getRunningPartition();
  var other = ota.getNextUpdatePartition();
  var status = ota.getStatus();
  if (other.address < running.address + running.size && running.address < other.address + other.size)
    throw new Error("there is no other slot");
  if (other.size < SECTOR * (SECTORS + 1))
    throw new Error("slot " + other.label + " is too small: " + other.size + " bytes");
  if (status.boot !== status.running)
    throw new Error("slot " + status.boot + " is selected for the next start, and " + status.running + " runs: restart first");
  if (status.trial)
    throw new Error("the running image is on trial and may need slot " + status.trial.previous + ": confirm it first");
  ota.abort(); // an update would write to the same slot
  return other;
}

/** Byte `i` of what is programmed: as in an image, no run of 0xff. */
function patterned(i) {
  return (i * 37) & 255;
}

function blank() {
  return 255;
}

function pattern(length) {
  var bytes = new Uint8Array(length);
  for (var i = 0; i < length; i++) bytes[i] = patterned(i);
  return bytes;
}

/** Throws when the first bytes at `address` are not as expected: Espruino's erase and write do not say that they failed. */
function expect(expected, address) {
  var found = require("Flash").read(16, address);
  for (var i = 0; i < 16; i++)
    if (found[i] !== expected(i)) throw new Error("flash at 0x" + address.toString(16) + " did not take an erase or a write");
}

/** The other slot. Its first sector is erased and stays so: nothing can take the rest for an image. */
function measureSlot(results, slot) {
  var flash = require("Flash");
  var bytes = pattern(WHOLE);
  var piece = pattern(PIECE);
  var end = pattern(SECTOR % PIECE);

  // erasePage refuses an address that is a float: only sums and products of integers here
  function addressOf(i) {
    return slot.address + (1 + i) * SECTOR;
  }
  function erase(i) {
    flash.erasePage(addressOf(i));
  }
  function isBlank(i) {
    expect(blank, addressOf(i));
  }
  function programWhole(i) {
    var address = addressOf(i);
    for (var at = 0; at < SECTOR; at += WHOLE) flash.write(bytes, address + at);
  }
  function programPieces(i) {
    var address = addressOf(HALF + i);
    var at = 0;
    for (; at + PIECE <= SECTOR; at += PIECE) flash.write(piece, address + at);
    flash.write(end, address + at);
  }

  erase(-1);
  isBlank(-1);
  return timedSlowly(SECTORS, erase, isBlank).then(function () {
    return timedSlowly(HALF, programWhole, function (i) {
      expect(patterned, addressOf(i));
    });
  }).then(function (ms) {
    results.whole = ms;
    return timedSlowly(SECTORS - HALF, programPieces, function (i) {
      expect(patterned, addressOf(HALF + i));
    });
  }).then(function (ms) {
    results.pieces = ms;
    // now every sector holds something: some chips skip a blank one
    return timedSlowly(SECTORS, erase, isBlank);
  }).then(function (ms) {
    results.erase = ms;
  });
}

function measureMemory(results) {
  var flash = require("Flash");
  results.free = process.memory().free;
  results.loop = timed(1, function () {
    for (var i = 0; i < 1000; i++);
  });
  results.read = timed(TIMES, function (i) {
    flash.read(SECTOR, 0x10000 + i * SECTOR);
  });
  var bytes = flash.read(SECTOR, 0x10000);
  results.crc = timed(TIMES, function () {
    E.CRC32(bytes);
  });
  // some builds have no crypto
  try {
    var crypto = require("crypto");
    results.sha = timed(TIMES, function () {
      crypto.SHA256(bytes);
    });
  } catch (error) {
    console.log("no SHA-256: " + error.message);
  }
}

/** The download is thrown away. */
function measureNetwork(results, url) {
  return new Promise(function (resolve, reject) {
    var began = getTime();
    var bytes = 0;
    var pieces = 0;
    var patience = setTimeout(reject, PATIENCE, new Error("no end of the download within " + PATIENCE + " ms"));

    function ended() {
      var seconds = getTime() - began;
      clearTimeout(patience);
      console.log(url + ": " + bytes + " bytes in " + seconds.toFixed(2) + " s and " + pieces + " pieces");
      if (bytes) results.piece = bytes / pieces;
      if (bytes && seconds > 0) results.speed = bytes / 1000 / seconds;
      resolve();
    }
    function failed(error) {
      clearTimeout(patience);
      reject(new Error("no download: " + error.message));
    }
    function answered(response) {
      if (response.statusCode !== "200") return failed(new Error("HTTP status " + response.statusCode));
      response.on("data", function (data) {
        bytes += data.length;
        pieces++;
      });
      response.on("close", ended);
    }
    require("http").get(url, answered).on("error", failed);
  });
}

/** As in the table: two digits are enough. */
function rounded(value) {
  return value === undefined ? "not measured" : String(Math.round(value * 100) / 100);
}

function show(results) {
  console.log(process.env.BOARD + ", Espruino " + process.env.VERSION);
  console.log("| what | field | model | measured |");
  console.log("|---|---|---|---|");
  for (var name in ROWS) console.log("| " + ROWS[name].concat(rounded(results[name])).join(" | ") + " |");
}

/** Resolves with the results, in the units of the table. What could not be measured is said and left out. */
function measure(options) {
  var results = {};
  var wanted = options || {};
  var erases = wanted.eraseOtherSlot === true;

  function failed(error) {
    console.log("not measured: " + error.message);
  }
  return Promise.resolve().then(function () {
    measureMemory(results);
    if (erases) {
      var slot = otherSlot();
      console.log("slot " + slot.label + " is erased now: its image is lost");
      return measureSlot(results, slot);
    }
    console.log("nothing is erased: eraseOtherSlot is not true");
  }).then(null, failed).then(function () {
    if (wanted.url) return measureNetwork(results, wanted.url);
  }).then(null, failed).then(function () {
    show(results);
    return results;
  });
}
