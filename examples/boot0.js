// An image on trial: it has to prove itself, or the image before it comes back.
// Storage file `.boot0`. It runs at every start, before the program. It writes nothing when there is no trial.
// Upload: npx espruino -b 115200 --board ESP32 --storage .boot0:examples/boot0.js
// Not with releases of files: there .boot0 is the loader (npx https-ota init), and it counts the starts. Call boot() and
// confirmAfter() in the program itself then, as docs/program.md, "Update your program" does.

var ota = require("https-ota");

// after three starts without a confirmation, back to the image before
ota.boot({ attempts: 3 });

// a minute later: good if this says true, rolled back if not
ota.confirmAfter(60000, function () {
  return require("Wifi").getDetails().status === "connected";
}, function (name, reason) {
  console.log(name + ": " + reason);
});
