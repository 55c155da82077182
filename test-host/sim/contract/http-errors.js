var http = require("http");
function attempt(name, target, cb) {
  var r;
  try {
    r = http.get(target, cb);
    print(name + " returned " + typeof r);
    if (r) r.on("error", function (e) { print(name + " error " + JSON.stringify(e)); });
  } catch (e) {
    print(name + " throws " + e.toString() + " " + e.type);
  }
}
function nothing() { print("callback"); }
attempt("refused", "http://127.0.0.1:" + CLOSEDPORT + "/", nothing);
attempt("refused tls", "https://127.0.0.1:" + CLOSEDPORT + "/", nothing);
attempt("unknown", "http://no-such-host.invalid/", nothing);
attempt("unknown tls", "https://no-such-host.invalid/", nothing);
attempt("empty host", { host: "", port: PORT, path: "/" }, nothing);
attempt("zero host", { host: "0.0.0.0", port: PORT, path: "/" }, nothing);
attempt("bad options", 5, nothing);
attempt("no options", undefined, nothing);
attempt("bad callback", "http://127.0.0.1:" + PORT + "/full", 7);
attempt("bad url", "ftp:/x", nothing);
function requestOnly() {
  var q = http.request({ host: "127.0.0.1", port: CLOSEDPORT, path: "/", method: "GET" }, nothing);
  q.on("error", function (e) { print("request error " + JSON.stringify(e)); });
  q.res.on("close", function (e) { print("request res close " + e); });
  q.res.on("end", function (e) { print("request res end"); });
  show("end", function () { return q.end(); });
  print("clsNow " + q.clsNow + " cls " + q.cls);
  show("end again", function () { return q.end(); });
}
requestOnly();
function neverEnded() {
  var q = http.request({ host: "127.0.0.1", port: PORT, path: "/full", method: "GET" }, nothing);
  q.res.on("close", function (e) { print("never ended close " + e); });
  setTimeout(function () { q.clsNow = true; }, 50);
}
neverEnded();
var long = "";
while (long.length < 140) long += "0";
attempt("long host", { host: long + "127.0.0.1", port: PORT, path: "/" }, nothing);
setTimeout(quit, 300);
