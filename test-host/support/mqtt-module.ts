// The module "MQTT" of a device, for tests: its name, calls and events are those of Espruino's own, which no npm package
// has. Only what examples/mqtt.js needs. MQTT_MODULE=/path/to/MQTT.js puts Espruino's own in its place.

import { readFileSync } from "node:fs";

const OWN = `
function text(value) {
  return String.fromCharCode(value.length >> 8, value.length & 255) + value;
}
function packet(first, rest) {
  var length = rest.length;
  var head = String.fromCharCode(first);
  do {
    head += String.fromCharCode((length & 127) | (length > 127 ? 128 : 0));
    length >>= 7;
  } while (length);
  return head + rest;
}

exports.create = function (host, options) {
  var listeners = {};
  var number = 0;
  var data = "";
  var pings;
  var answer;
  var self;

  function emit(name, value) {
    if (listeners[name]) listeners[name](value);
  }
  function send(bytes) {
    if (self.client) self.client.write(bytes);
  }
  function end() {
    if (pings) clearInterval(pings);
    pings = undefined;
    self.client = false;
    // as Espruino's own: not for a connection that never was one
    if (self.connected) {
      self.connected = false;
      emit("disconnected");
    }
  }
  function onPacket(first, body) {
    var type = first >> 4;
    if (type === 2) {
      clearTimeout(answer);
      answer = undefined;
      if (body.charCodeAt(1)) return emit("error", "Connection refused, " + body.charCodeAt(1));
      self.connected = true;
      pings = setInterval(send, 40000, packet(0xc0, ""));
      emit("connected");
    } else if (type === 3) {
      var qos = (first >> 1) & 3;
      var length = (body.charCodeAt(0) << 8) | body.charCodeAt(1);
      if (qos) send(packet(0x40, body.substr(2 + length, 2)));
      emit("publish", {
        topic: body.substr(2, length),
        message: body.substr(2 + length + (qos ? 2 : 0)),
        qos: qos,
        retain: first & 1
      });
    }
  }
  function onData(more) {
    data += more;
    while (data.length > 1) {
      var length = 0;
      var at = 1;
      var byte;
      do {
        byte = data.charCodeAt(at);
        length |= (byte & 127) << (7 * (at - 1));
        at++;
      } while (byte & 128 && at < 5);
      if (data.length < at + length) return;
      var first = data.charCodeAt(0);
      var body = data.substr(at, length);
      data = data.substr(at + length);
      onPacket(first, body);
    }
  }
  self = {
    connected: false,
    client: false,
    on: function (name, listener) { listeners[name] = listener; },
    connect: function () {
      var socket = require("net").connect({ host: host, port: options.port || 1883 }, function () {
        data = "";
        self.client = socket;
        socket.on("data", onData);
        socket.on("end", end);
        var flags = 2 | (options.username ? 128 : 0) | (options.password ? 64 : 0);
        var account = (options.username ? text(options.username) : "") + (options.password ? text(options.password) : "");
        send(packet(16, text("MQTT") + String.fromCharCode(4, flags, 0, 60) + text(options.client_id) + account));
        answer = setTimeout(function () {
          answer = undefined;
          emit("disconnected");
          socket.end();
        }, 10000);
      });
    },
    publish: function (topic, message) { send(packet(48, text(topic) + message)); },
    subscribe: function (topics) {
      topics.forEach(function (topic) {
        send(packet(130, String.fromCharCode(0, ++number) + text(topic) + String.fromCharCode(0)));
      });
    }
  };
  return self;
};
`;

export const MQTT_MODULE = process.env.MQTT_MODULE ? readFileSync(process.env.MQTT_MODULE, "utf8") : OWN;
