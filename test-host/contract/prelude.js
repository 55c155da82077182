// Put before every contract script, after `var PORT=...` and its like. Runs in the real interpreter and in the fake.
echo(0);
process.on("uncaughtException", function (e) {
  print("uncaught " + e.toString());
});
function show(name, fn) {
  var r;
  try {
    r = fn();
    print(name + " = " + (typeof r === "string" ? JSON.stringify(r) : JSON.stringify(r)) + " " + typeof r);
  } catch (e) {
    print(name + " throws " + e.toString());
  }
}
function hex(s) {
  var r = "", i, c;
  if (s === undefined) return "undefined";
  for (i = 0; i < s.length; i++) {
    c = typeof s === "string" ? s.charCodeAt(i) : s[i];
    r += (c < 16 ? "0" : "") + c.toString(16);
  }
  return r;
}
// one request: everything that happens goes to `log`, which is printed some time after the last event
function fetch(o, done) {
  var log = [], data = "", sizes = [], req, timer, over = false;
  function finish() {
    if (over) return;
    over = true;
    print(o.name + ": " + log.join(" "));
    if (o.sizes) print(o.name + " sizes " + sizes.join(","));
    if (o.total !== false) print(o.name + " bytes " + data.length + " crc " + E.CRC32(data));
    if (o.body) print(o.name + " body " + JSON.stringify(data));
    if (o.after) o.after(req, data);
    done();
  }
  function later(ms) {
    if (timer) clearTimeout(timer);
    timer = setTimeout(finish, ms);
  }
  var opt = {
    host: o.host === undefined ? "127.0.0.1" : o.host, port: o.port || PORT, path: "/" + (o.path || o.name),
    method: o.method || "GET"
  };
  if (o.tls) {
    opt.protocol = "https:";
    if (!o.port) opt.port = TLSPORT;
  }
  if (o.headers) opt.headers = o.headers;
  try {
    req = require("http").request(opt, function (res) {
      log.push("response(" + JSON.stringify([res.statusCode, res.statusMessage, res.httpVersion]) + ")");
      if (o.showHeaders) print(o.name + " headers " + JSON.stringify(res.headers));
      if (o.response) o.response(req, res, log);
      if (o.listen !== false) res.on("data", function (d) {
        if (sizes.length === 0 || log[log.length - 1] !== "data") log.push("data");
        sizes.push(d.length);
        data += d;
        if (o.data) o.data(req, res, data, log);
      });
      res.on("end", function () { log.push("end"); later(o.grace || 60); });
      res.on("close", function (e) { log.push("close(" + e + ")"); later(o.grace || 60); });
      res.on("error", function (e) { log.push("reserror(" + e.code + ")"); later(o.grace || 60); });
    });
    req.on("error", function (e) { log.push("error(" + (o.anyCode ? typeof e.code : JSON.stringify(e)) + ")"); later(o.grace || 60); });
    req.on("close", function (e) { log.push("reqclose(" + e + ")"); });
    req.on("drain", function () { log.push("drain"); });
    req.on("end", function () { log.push("reqend"); });
    if (o.send) o.send(req);
    else req.end();
    if (o.started) o.started(req);
  } catch (e) {
    log.push("throws(" + e.toString() + ")");
  }
  later(o.timeout || 400);
}
function fetchAll(list, done) {
  var i = 0;
  function next() {
    if (i < list.length) fetch(list[i++], next);
    else done();
  }
  next();
}
// for scripts that run in a process per case, with CASE counted up until there is none
function runCase(list) {
  if (CASE >= list.length) {
    print("no more cases");
    quit();
  } else fetch(list[CASE], quit);
}
