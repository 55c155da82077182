// One device of a house loads a release, the others load it from that neighbour.
//   serve()                      on the neighbour: its running image over HTTP, with ranges
//   updateFrom("192.168.1.20")   on another device: the manifest from the origin, the image from the neighbour
// A neighbour needs no trust: the digest in the signed manifest decides. An image other than the manifest's is refused.
// The manifest must give the URL of the image without a host: npx https-ota sign --url firmware.bin

var ota = require("https-ota");

var RELEASE = "https://example.com/firmware/firmware.jws";
var KEYS = [{ kty: "RSA", n: "...", e: "AQAB" }]; // from: npx https-ota keygen
var PORT = 8080;
var PIECE = 1024; // bytes that wait in memory for each connection

function readRunning(offset, length) {
  return require("Flash").read(length, ota.getRunningPartition().address + offset);
}

/** The length of the running image: behind its segments, the checksum ends a block of 16 bytes, and a hash may follow. */
function imageLength() {
  var head = readRunning(0, 24);
  var end = 24;
  for (var i = 0; i < head[1]; i++) {
    var size = readRunning(end + 4, 4);
    end += 8 + size[0] + (size[1] << 8) + (size[2] << 16) + (size[3] << 24);
  }
  return end + 16 - (end % 16) + (head[23] ? 32 : 0);
}

function answer(request, response) {
  var length = imageLength();
  var range = request.headers.Range || request.headers.range || "";
  var offset = range ? parseInt(range.substr(6)) : 0; // "bytes=..."
  var last = parseInt(range.substr(range.indexOf("-") + 1));
  if (!(last < length)) last = length - 1;
  // also for a range that is no number
  if (!(offset >= 0 && offset <= last)) {
    response.writeHead(416, { "Content-Range": "bytes */" + length, "Content-Length": 0 });
    return response.end();
  }
  var headers = { "Content-Length": last + 1 - offset, "Content-Type": "application/octet-stream" };
  if (range) headers["Content-Range"] = "bytes " + offset + "-" + last + "/" + length;
  response.writeHead(range ? 206 : 200, headers);

  function send() {
    var size = Math.min(PIECE, last + 1 - offset);
    response.write(E.toString(readRunning(offset, size)));
    offset += size;
    if (offset > last) response.end();
  }
  // the next piece when this one has left
  response.on("drain", send);
  send();
}

function serve() {
  require("http").createServer(answer).listen(PORT);
}

function install(manifest, neighbour) {
  ota.update({ url: "http://" + neighbour + ":" + PORT + "/", keys: KEYS, manifest: manifest }).then(function (result) {
    if (result.partition) ota.restart();
    else console.log(result.upToDate ? "up to date" : "not due");
  }, function (error) {
    console.log(error.name + ": " + error.message);
  });
}

function updateFrom(neighbour) {
  require("http").get(RELEASE, function (response) {
    var manifest = "";
    response.on("data", function (data) {
      manifest += data;
    });
    response.on("close", function () {
      if (response.statusCode === "200") install(manifest, neighbour);
      else console.log("no manifest: HTTP status " + response.statusCode);
    });
  }).on("error", function (error) {
    console.log("no manifest: " + error.message);
  });
}
