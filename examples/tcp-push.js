// The device listens on a TCP port, and a peer in its network pushes an image. Only a signed one is installed.
// The peer sends a line with the length of the manifest, and the manifest.
// The device answers with a line: the offset of the byte that it wants next.
// The peer sends 1024 bytes from there, or what is left of the file, and waits for the next line.
// The last line is "done", or "error" and the reason.
// After a cut connection the peer begins again: the device asks for what is not in flash yet.

var ota = require("https-ota");

var KEYS = [{ kty: "RSA", n: "...", e: "AQAB" }]; // from: npx https-ota keygen
var PORT = 8266;
// Espruino cannot hold a sender back. One that waits for an answer after each piece is never ahead of the flash.
var PIECE = 1024;
var MANIFEST_MAX = 8192;
var SILENCE = 60000; // ms without a byte, then the connection is closed

var busy = false;

function serve(socket) {
  if (busy) {
    // Espruino closes no connection with bytes that nobody has taken
    socket.on("data", function () {});
    return socket.end("error busy\n");
  }
  busy = true;
  var text = ""; // what has come of the piece
  var need = -1; // bytes of the piece, -1 for the line before the manifest, 0 while the peer has to wait
  var offset = 0;
  var closed = false;
  var handle;
  var timer;

  function end(line) {
    if (!closed) socket.end(line + "\n");
    closed = true;
  }
  function failed(error) {
    end("error " + error.name + ": " + error.message);
  }
  function wait() {
    if (timer) clearTimeout(timer);
    timer = setTimeout(end, SILENCE, "error silence");
  }

  function finish() {
    var complete = handle;
    handle = undefined; // from here on it ends by itself
    complete.finish().then(function () {
      end("done");
      // time for the line to leave
      setTimeout(ota.restart, 1000);
    }, failed);
  }
  function want(next) {
    if (closed) return;
    offset = next;
    need = Math.min(PIECE, handle.getImageSize() - next);
    if (need) socket.write(next + "\n");
    else finish();
  }
  function begin(manifest) {
    ota.begin({ push: true, keys: KEYS, manifest: manifest }).then(function (begun) {
      // the peer may be gone
      if (closed) return begun.abort();
      handle = begun;
      want(0);
    }, failed);
  }
  function take(piece) {
    if (handle) handle.write(piece, offset).then(want, failed);
    else begin(piece);
  }

  socket.on("data", function (data) {
    if (closed) return;
    wait();
    text += data;
    if (need < 0) {
      var line = text.indexOf("\n");
      if (line < 0 && text.length < 10) return;
      need = parseInt(text.substr(0, line));
      if (!(need > 0 && need <= MANIFEST_MAX)) return end("error length of the manifest");
      text = text.substr(line + 1);
    }
    if (text.length > need) return end("error more bytes than the device has asked for");
    if (text.length < need) return;
    var piece = text;
    text = "";
    need = 0;
    take(piece);
  });
  socket.on("close", function () {
    clearTimeout(timer);
    closed = true;
    busy = false;
    // what is in flash stays there: the next connection goes on behind it
    if (handle) handle.abort();
  });
  wait();
}

require("net").createServer(serve).listen(PORT);
