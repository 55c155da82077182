// require("net") and the server of require("http"), for a program in the virtual device: real sockets beside it, Espruino's
// API above them. Only what the examples need; the real interpreter has its own.

import { createServer, connect, type Server, type Socket } from "node:net";
import type { TestContext } from "node:test";
import type { Device } from "../sim/device.ts";

const CHUNK = 536; // of one "data" event

/** `emit` is set by the program's side. */
type Link = { write(data: string): void; end(): void; emit?: (event: string, data?: string) => void };

const PROGRAM = `(function (host) {
  function createSocket(link) {
    var listeners = {};
    var open = true;
    function check() {
      if (!open) throw new Error("This socket is closed");
    }
    var arrived = [];
    function call(name, data) {
      if (name === "close") open = false;
      if (listeners[name]) listeners[name](data);
    }
    function next() {
      var event = arrived[0];
      call(event[0], event[1]);
      arrived.shift();
      // behind what the listener has emitted
      if (arrived.length) setTimeout(next, 0);
    }
    link.emit = function (name, data) {
      arrived.push([name, data]);
      // from the idle loop
      if (arrived.length === 1) setTimeout(next, 0);
    };
    return {
      on: function (name, listener) { listeners[name] = listener; },
      emit: function (name, data) { setTimeout(call, 0, name, data); },
      write: function (data) { check(); link.write(String(data)); return false; },
      end: function (data) { check(); if (data !== undefined) link.write(String(data)); open = false; link.end(); }
    };
  }
  function createNetServer(callback) {
    return { listen: function (port) {
      host.listen(port, function (link) { var socket = createSocket(link); setTimeout(callback, 0, socket); });
    } };
  }
  function createHttpServer(callback) {
    return createNetServer(function (socket) {
      var head = "";
      socket.on("data", function (data) {
        head += data;
        if (head.indexOf("\\r\\n\\r\\n") < 0) return;
        var lines = head.substr(0, head.indexOf("\\r\\n\\r\\n")).split("\\r\\n");
        var first = lines.shift().split(" ");
        var headers = {};
        lines.forEach(function (line) {
          headers[line.substr(0, line.indexOf(":"))] = line.substr(line.indexOf(":") + 1).trim();
        });
        socket.writeHead = function (status, more) {
          var text = "HTTP/1.1 " + status + " OK\\r\\nServer: Espruino\\r\\n";
          for (var name in more) text += name + ": " + more[name] + "\\r\\n";
          socket.write(text + "\\r\\n");
        };
        callback({ method: first[0], url: first[1], headers: headers }, socket);
      });
    });
  }
  require("http").createServer = createHttpServer;
  return {
    createServer: createNetServer,
    connect: function (options, callback) {
      var socket;
      host.connect(options.port, function (link) { socket = createSocket(link); });
      socket.on("connect", callback);
      return socket;
    }
  };
})`;

/** All connections end with the test, and with a restart of the device. */
export function installNet(t: Pick<TestContext, "after">, device: Device): void {
  const { engine } = device;
  const sockets = new Set<Socket>();
  const servers: Server[] = [];
  let ended = false;
  const isOn = (): boolean => !ended && !device.rebootAsked && device.engine === engine;

  function linkOf(socket: Socket): Link {
    sockets.add(socket);
    let unsent = 0;
    let closing = false;
    const link: Link = {
      write(data) {
        unsent++;
        socket.write(Buffer.from(data, "latin1"), () => {
          unsent--;
          if (!unsent && !closing && !socket.destroyed) emit("drain");
        });
      },
      end() {
        closing = true;
        socket.end();
      },
    };
    function emit(event: string, data?: string): void {
      if (isOn()) link.emit?.(event, data);
      else socket.destroy();
    }
    socket.on("data", (bytes) => {
      for (let at = 0; at < bytes.length; at += CHUNK) emit("data", bytes.subarray(at, at + CHUNK).toString("latin1"));
    });
    socket.on("connect", () => emit("connect"));
    socket.on("error", () => {});
    socket.on("close", () => {
      sockets.delete(socket);
      emit("end");
      emit("close");
    });
    return link;
  }

  const make: any = engine.run(PROGRAM);
  const net = make({
    listen(port: number, onConnection: (link: Link) => void) {
      const server = createServer((socket) => onConnection(linkOf(socket)));
      servers.push(server);
      server.listen(port, "127.0.0.1");
    },
    connect: (port: number, onSocket: (link: Link) => void) => onSocket(linkOf(connect(port, "127.0.0.1"))),
  });
  const give: any = engine.run(
    '(function (net) { global.netLibrary = net; Modules.addCached("net", "exports = netLibrary;"); })',
  );
  give(net);
  t.after(() => {
    ended = true;
    for (const socket of sockets) socket.destroy();
    for (const server of servers) server.close();
  });
}
