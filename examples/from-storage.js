// An update from files on the device itself: in Storage, or on an SD card. No network is needed.
//   install(fromStorage)   the files firmware.jws and firmware.bin in Storage
//   install(fromCard)      the same files on a card, after E.connectSDCard(...)
// The manifest names the image: firmware.bin, with or without a path before it.
// An image of 1 MB fits into few Storages: ota.getStatus().storage.free says how much room there is.

var ota = require("https-ota");

var MANIFEST = "firmware.jws";
var KEYS = [{ kty: "RSA", n: "...", e: "AQAB" }]; // from: npx https-ota keygen
var PIECE = 1024; // bytes that are in memory at once

/** Both give the bytes of a file from an offset on, and nothing behind its end. */
function fromStorage(name, offset) {
  return require("Storage").read(name, offset, PIECE);
}

function fromCard(name, offset) {
  var file = E.openFile(name, "r");
  if (!file) throw new Error("no file " + name + " on the card");
  file.seek(offset);
  var bytes = file.read(PIECE);
  file.close();
  return bytes;
}

function install(read) {
  ota.update({
    url: MANIFEST,
    keys: KEYS,
    retries: 0, // the file does not get better
    source: function (offset, done, file) {
      done(null, read(file.substr(file.lastIndexOf("/") + 1), offset));
    }
  }).then(function (result) {
    if (result.partition) ota.restart();
    else console.log(result.upToDate ? "up to date" : "not due");
  }, function (error) {
    console.log(error.name + ": " + error.message);
  });
}
