// Not here: the name in the handshake. The Linux build sends none, the ESP32 ports (IDF's mbedTLS) "mbed TLS Server 1".
// one process per case: the real one's memory for TLS is soon in pieces, and then it crashes
runCase([
  { name: "tls-full", tls: true, path: "full", sizes: true, timeout: 2000 },
  { name: "tls-end", tls: true, path: "full-end", timeout: 2000 },
  { name: "tls-keep-alive", tls: true, path: "keep-alive", timeout: 1000 },
  { name: "tls-short-end", tls: true, path: "short-end", timeout: 1000 },
  { name: "tls-cut", tls: true, path: "tls-cut", timeout: 1000 },
  { name: "tls-cut-full", tls: true, path: "tls-cut-full", timeout: 1000 },
  { name: "tls-no-answer-end", tls: true, path: "no-answer-end", timeout: 1000 },
  { name: "tls-no-answer-cut", tls: true, path: "tls-no-answer-cut", timeout: 1000 },
  { name: "tls-no-length", tls: true, path: "no-length-end", timeout: 1000 },
  { name: "tls-chunked", tls: true, path: "chunked", timeout: 1000, sizes: true },
  { name: "tls-chunked-cut", tls: true, path: "chunked-cut-end", timeout: 1000 },
  { name: "tls-big", tls: true, path: "big-records", timeout: 5000, sizes: true },
  { name: "tls-extra", tls: true, path: "extra", timeout: 1000, sizes: true },
  { name: "tls-now-callback", tls: true, path: "full", timeout: 1000, response: function (q) { q.clsNow = true; } },
  { name: "tls-now-data", tls: true, path: "full", timeout: 1000, data: function (q) { q.clsNow = true; } },
  { name: "tls-now-before", tls: true, path: "silent", timeout: 1000, started: function (q) { setTimeout(function () { q.clsNow = true; }, 300); } },
  { name: "tls-now-early", tls: true, path: "full", timeout: 1000, started: function (q) { q.clsNow = true; } },
  // -15 or -8, as it happens
  { name: "tls13-only", anyCode: true, tls: true, port: TLS13PORT, path: "full", timeout: 1000 },
  { name: "tls-to-plain", tls: true, port: PORT, path: "full", timeout: 1000 },
  { name: "plain-to-tls", port: TLSPORT, path: "full", timeout: 1000 },
  { name: "tls-closed-in-handshake", anyCode: true, tls: true, port: SHUTPORT, path: "full", timeout: 1000 },
]);
