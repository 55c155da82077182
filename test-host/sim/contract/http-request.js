var http = require("http");
// without what another build or another run would print
function noPort(text) {
  return JSON.stringify(text.split("" + PORT).join("PORT").replace(process.version, "VERSION"));
}
function echoed(name, o) {
  o.name = name;
  o.path = o.path || "echo";
  o.total = false;
  o.after = function (q, d) { print(name + " " + noPort(d)); };
  return o;
}
function direct(next) {
  var req, res;
  req = http.get("http://127.0.0.1:" + PORT + "/echo?a=b&c=%20", function (r) {
    var d = "";
    res = r;
    r.on("data", function (x) { d += x; });
    r.on("close", function () {
      print("get " + noPort(d));
      next();
    });
  });
  show("end twice", function () { return req.end(); });
  show("write after end", function () { return req.write("x"); });
}
function objects(next) {
  var o = { host: "localhost", port: "" + PORT, path: "/echo" };
  var req = http.get(o, function (r) {
    var d = "";
    r.on("data", function (x) { d += x; });
    r.on("close", function () {
      print("get object " + noPort(d) + o.method);
      next();
    });
  });
}
fetchAll([
  echoed("plain", {}),
  echoed("headers", { headers: { "X-B": 1, "X-A": "two", Range: "bytes=5-" } }),
  echoed("own-host", { headers: { host: "example.org" } }),
  echoed("connection", { headers: { Connection: "keep-alive", "User-Agent": "me" } }),
  echoed("post", { method: "POST", headers: { "Content-Length": 5 }, send: function (q) { q.write("he"); q.end("llo"); } }),
  echoed("post-chunked", { method: "POST", headers: { "Transfer-Encoding": "chunked" }, send: function (q) { q.write("hello"); q.end(" world"); } }),
  echoed("localhost", { host: "localhost" }),
], function () {
  direct(function () { objects(quit); });
});
