// Step by step: a blinking LED, a percentage, and pauses while the machine has work to do.
// Each step is at most one sector of 4096 bytes. Between two steps everything else runs.

var ota = require("https-ota");

var LED = D2;
var RELEASE = {
  url: "https://example.com/firmware/firmware.jws",
  keys: [{ kty: "RSA", n: "...", e: "AQAB" }] // from: npx https-ota keygen
};
// ERR is a table that is made at each use
var IN_PROGRESS = ota.ERR.IN_PROGRESS;
var INVALID_VERSION = ota.ERR.INVALID_VERSION;

/** Your program knows. During a pause the connection may close: the update goes on where it was. */
function isBusy() {
  return false;
}

function failed(error) {
  digitalWrite(LED, 0);
  console.log(error.code === INVALID_VERSION ? "up to date" : error.name + ": " + error.message);
}

function install(handle) {
  var light = 0;

  function restart() {
    digitalWrite(LED, 1);
    ota.restart();
  }

  function step() {
    if (isBusy()) return setTimeout(step, 1000);
    // not one chain of promises: 366 of them would not fit into memory
    handle.perform().then(function (code) {
      light = 1 - light;
      digitalWrite(LED, light);
      var size = handle.getImageSize(); // -1: the server does not say
      if (size > 0) console.log(Math.round((handle.getImageLenRead() * 100) / size) + " %");
      if (code === IN_PROGRESS) setTimeout(step, 10);
      else handle.finish().then(restart, failed);
    }, failed);
  }

  step();
}

ota.begin(RELEASE).then(install, failed);
