function late(name, path, ms, extra) {
  var o = { name: name, path: path, listen: false, grace: 1200, total: false };
  o.response = function (q, r, log) {
    setTimeout(function () {
      if (extra) extra(r, log);
      r.on("data", function (d) { log.push("late" + d.length); });
    }, ms);
  };
  return o;
}
fetchAll([
  late("late-small", "small", 400),
  late("late-read", "small", 400, function (r, log) {
    log.push("avail" + r.available(), JSON.stringify(r.read(4)), "avail" + r.available(), JSON.stringify(r.read()), "avail" + r.available(), JSON.stringify(r.read()));
  }),
  late("late-big", "full", 400),
  late("late-stall", "stall", 400),
  late("late-chunked", "chunked", 400),
  late("late-chunked-cut", "chunked-cut-middle", 400),
  late("late-no-length", "no-length", 400),
  late("late-negative", "negative", 400),
  { name: "never-big", quiet: 700, path: "full", listen: false, after: function (q, d) { print(q.res.available() + " " + q.res.read().length + " " + q.res.available()); } },
  { name: "never-small", path: "small", listen: false, after: function (q, d) { print(q.res.available() + JSON.stringify(q.res.read(3)) + q.res.available()); } },
  { name: "two-listeners", path: "small", body: true, response: function (q, r, log) {
    r.on("data", function (d) { log.push("second" + d.length); });
  } },
  { name: "removed-listener", path: "small", listen: false, response: function (q, r, log) {
    function f(d) { log.push("f" + d.length); }
    r.on("data", f);
    r.removeListener("data", f);
  }, after: function (q) { print(q.res.available()); } },
  { name: "removed-all", path: "small", listen: false, response: function (q, r, log) {
    r.on("data", function (d) { log.push("f" + d.length); });
    r.removeAllListeners("data");
  }, after: function (q) { print(q.res.available()); } },
], quit);
