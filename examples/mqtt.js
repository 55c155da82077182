// An MQTT message starts an update, and the device says how it goes.
// The message decides nothing: address and keys are the device's own, so a stranger on the broker can only make it look.
//   mosquitto_pub -t fleet/update -m now                all devices, within four minutes
//   mosquitto_pub -t devices/SERIAL/update -m now       this one, at once
//   mosquitto_sub -t 'devices/+/state'

var ota = require("https-ota");

var BROKER = "192.168.1.10";
var RELEASE = {
  url: "https://example.com/firmware/firmware.jws",
  keys: [{ kty: "RSA", n: "...", e: "AQAB" }] // from: npx https-ota keygen
};
var serial = getSerial();
var topic = "devices/" + serial;
// without client_id the MQTT module makes one of Math.random(), which is the same on every board
var mqtt = require("MQTT").create(BROKER, { client_id: serial });
var timer; // of the update that a message has asked for

function say(state) {
  mqtt.publish(topic + "/state", JSON.stringify(state));
}

function sayStatus() {
  var status = ota.getStatus();
  say({ version: status.version, running: status.running, trial: status.trial, rollback: status.rollbackReason });
}

function update() {
  var tenth = 0;
  timer = undefined;
  RELEASE.onEvent = function (name, bytes, total) {
    if (name !== "WRITE_FLASH" || Math.floor((bytes * 10) / total) === tenth) return;
    tenth = Math.floor((bytes * 10) / total);
    say({ percent: tenth * 10 });
  };
  ota.update(RELEASE).then(function (result) {
    say(result.due ? { due: result.due } : { upToDate: result.upToDate });
    // time for the message to leave
    if (result.partition) setTimeout(ota.restart, 2000);
  }, function (error) {
    say({ error: error.name, message: error.message, retry: error.retry });
  });
}

mqtt.on("connected", function () {
  mqtt.subscribe(["fleet/update", topic + "/update"]);
  sayStatus();
});
mqtt.on("publish", function (message) {
  var fleet = message.topic === "fleet/update";
  // one look at a time: a flood of messages must not fill memory with timers
  if (timer && fleet) return;
  if (timer) clearTimeout(timer);
  // one device a second, so that a fleet does not come all at once
  timer = setTimeout(update, fleet ? parseInt(serial.slice(-2), 16) * 1000 : 0);
});
// "disconnected" does not always come: not when the broker refuses, and not from each version of the module
setInterval(function () {
  if (!mqtt.connected) mqtt.connect();
}, 15000);
mqtt.connect();
