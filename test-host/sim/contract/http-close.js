fetchAll([
  { name: "now-before-send", quiet: 700, path: "full", started: function (q) { q.clsNow = true; } },
  { name: "now-before-answer", quiet: 700, path: "silent", started: function (q) { setTimeout(function () { q.clsNow = true; }, 80); } },
  { name: "now-in-callback", path: "full", response: function (q) { q.clsNow = true; } },
  { name: "now-in-first-data", path: "full", data: function (q) { q.clsNow = true; } },
  { name: "now-at-1000", path: "full", data: function (q, r, d) { if (d.length > 1000) q.clsNow = true; } },
  { name: "now-later", path: "stall", data: function (q) { setTimeout(function () { q.clsNow = true; }, 80); } },
  { name: "now-chunked", quiet: 700, path: "chunked-cut-middle", data: function (q) { setTimeout(function () { q.clsNow = true; }, 80); } },
  { name: "now-chunked-first", quiet: 700, path: "chunked", data: function (q) { q.clsNow = true; } },
  { name: "now-chunked-emptied", path: "chunked-cut-middle", data: function (q) {
    setTimeout(function () { q.dRcv = ""; q.clsNow = true; }, 80);
  } },
  { name: "now-chunked-in-data", path: "chunked", data: function (q) { q.clsNow = true; setTimeout(function () { q.dRcv = ""; }, 40); } },
  { name: "now-unchunked-in-data", path: "chunked", sizes: true, data: function (q, r) { q.clsNow = true; r.chunked = false; } },
  { name: "now-unchunked-later", path: "chunked-cut-middle", sizes: true, data: function (q, r) {
    setTimeout(function () { q.clsNow = true; r.chunked = false; }, 80);
  } },
  { name: "now-emptied-in-data", path: "chunked", sizes: true, data: function (q) { q.clsNow = true; q.dRcv = ""; } },
  { name: "now-unchunked-in-callback", path: "chunked", sizes: true, response: function (q, r) { q.clsNow = true; r.chunked = false; } },
  { name: "now-unchunked-one-byte", path: "chunked-one-byte", sizes: true, data: function (q, r) { q.clsNow = true; r.chunked = false; } },
  { name: "now-chunked-whole", path: "chunked-stall", data: function (q) { setTimeout(function () { q.clsNow = true; }, 80); } },
  { name: "now-twice", path: "full", data: function (q) { q.clsNow = true; setTimeout(function () { q.clsNow = true; }, 20); } },
  { name: "now-string", path: "stall", data: function (q) { q.clsNow = "yes"; } },
  { name: "now-after", path: "full", after: function (q) { q.clsNow = true; } },
  { name: "throw-in-data", path: "full", data: function () { throw new Error("in data"); } },
  { name: "throw-in-callback", quiet: 700, path: "full", response: function () { throw new Error("in callback"); } },
  { name: "keys", path: "full", total: false, after: function (q) {
    var k = Object.keys(q); k.sort(); print(k.join(","));
    k = Object.keys(q.res); k.sort(); print(k.join(","));
    print(q.cls + " " + q.conn + " " + q.res.endd + " " + q.res.cRcv + " " + q.res.hdrs);
  } },
], quit);
