// Looks for a new release each night at three, installs it, and restarts.
// For a clock that was never set, "three" is three hours after the start.

var ota = require("https-ota");

var RELEASE = {
  url: "https://example.com/firmware/firmware.jws",
  keys: [{ kty: "RSA", n: "...", e: "AQAB" }] // from: npx https-ota keygen
};
var HOUR = 3;
var TRIES = 4;
var PAUSE = 600000; // ms between two tries
// Devices come one after another within an hour. Math.random() would be the same on every board.
var MINUTE = parseInt(getSerial().slice(-2), 16) % 60;

/** Milliseconds until the next time that it is HOUR:MINUTE. */
function untilNight() {
  var now = new Date();
  var seconds = HOUR * 3600 + MINUTE * 60 - now.getHours() * 3600 - now.getMinutes() * 60 - now.getSeconds();
  return (seconds > 0 ? seconds : seconds + 86400) * 1000;
}

function look(tries) {
  ota.update(RELEASE).then(function (result) {
    if (result.partition) ota.restart();
  }, function (error) {
    console.log(error.name + ": " + error.message);
    // retry: the same call may succeed later. A refused release stays refused.
    if (error.retry && tries > 1) setTimeout(look, PAUSE, tries - 1);
  });
}

function night() {
  setTimeout(night, untilNight());
  look(TRIES);
}

setTimeout(night, untilNight());
