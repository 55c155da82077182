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
// one request: everything that happens goes to `log`, which is printed some time after it is over. It is over when the
// response closes or the request fails; where neither comes, `quiet` is how long (ms) nothing has to happen
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
  function happens(text) {
    log.push(text);
    if (o.quiet) later(o.quiet);
  }
  function ends(text) {
    log.push(text);
    later(o.quiet || o.grace || 60);
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
  if (o.extra) for (var k in o.extra) opt[k] = o.extra[k];
  later(o.quiet || 15000);
  try {
    req = require("http").request(opt, function (res) {
      happens("response(" + JSON.stringify([res.statusCode, res.statusMessage, res.httpVersion]) + ")");
      if (o.showHeaders) print(o.name + " headers " + JSON.stringify(res.headers));
      if (o.response) o.response(req, res, log);
      if (o.listen !== false) res.on("data", function (d) {
        if (sizes.length === 0 || log[log.length - 1] !== "data") happens("data");
        else if (o.quiet) later(o.quiet);
        sizes.push(d.length);
        data += d;
        if (o.data) o.data(req, res, data, log);
      });
      res.on("end", function () { happens("end"); });
      res.on("close", function (e) { ends("close(" + e + ")"); });
      res.on("error", function (e) { happens("reserror(" + e.code + ")"); });
    });
    req.on("error", function (e) { ends("error(" + (o.anyCode ? typeof e.code : JSON.stringify(e)) + ")"); });
    req.on("close", function (e) { happens("reqclose(" + e + ")"); });
    req.on("drain", function () { happens("drain"); });
    req.on("end", function () { happens("reqend"); });
    if (o.send) o.send(req);
    else req.end();
    if (o.started) o.started(req);
  } catch (e) {
    ends("throws(" + e.toString() + ")");
  }
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
