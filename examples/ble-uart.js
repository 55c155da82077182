// An update over Bluetooth LE, without Wi-Fi: a phone or a PC is connected to the Nordic UART of Espruino.
// The device asks for each piece with a line:         GET offset file
//   file is firmware.jws, then the image by the name that the manifest gives to it.
// The peer answers with 20 hexadecimal digits:        offset (8), length (4) and CRC-32 (8) of the piece
//   and its bytes, at most 1024. Length 0 is the end of the file.
// A line that comes again asks for the same piece again: some of it was lost or damaged.
// A peer has to enable notifications of the UART, and may write as many bytes at once as its MTU allows.

var ota = require("https-ota");

var MANIFEST = "firmware.jws";
var KEYS = [{ kty: "RSA", n: "...", e: "AQAB" }]; // from: npx https-ota keygen
var HEAD = 20;
var PIECE = 1024; // Espruino's input buffer is 4096 bytes, and what does not fit is lost
var SILENCE = 500; // ms without a byte, then the piece is asked for again

var updating = false;
var wanted; // { offset, file, done } of the piece that is asked for
var text = ""; // what has come of it
var timer;

function ask() {
  text = "";
  timer = setTimeout(ask, SILENCE);
  Bluetooth.println("GET " + wanted.offset + " " + wanted.file);
}

function stop() {
  if (timer) clearTimeout(timer);
  timer = undefined;
}

function hex(at, digits) {
  return parseInt(text.substr(at, digits), 16);
}

Bluetooth.on("data", function (data) {
  if (!timer) return;
  stop();
  timer = setTimeout(ask, SILENCE);
  // a peer that never stops must not fill the memory
  text = text.length > HEAD + PIECE ? "" : text + data;
  // no whole piece yet, or a damaged one: when nothing more comes, it is asked for again
  if (text.length < HEAD || hex(0, 8) !== wanted.offset || hex(8, 4) !== text.length - HEAD) return;
  var bytes = text.substr(HEAD);
  if (hex(12, 8) !== E.CRC32(bytes)) return;
  stop();
  wanted.done(null, bytes);
});

function update() {
  // a peer that was away and is back goes on where it was
  if (updating) return;
  updating = true;
  ota.update({
    url: MANIFEST,
    keys: KEYS,
    source: function (offset, done, file) {
      stop();
      wanted = { offset: offset, file: file, done: done };
      ask();
    }
  }).then(function (result) {
    updating = false;
    if (result.partition) ota.restart();
    else Bluetooth.println(result.upToDate ? "up to date" : "not due");
  }, function (error) {
    stop();
    updating = false;
    Bluetooth.println(error.name + ": " + error.message);
  });
}

// The console must not be on Bluetooth: it would take the bytes for commands, and a byte 3 for Ctrl-C.
Serial1.setConsole(true);
NRF.on("connect", update);
