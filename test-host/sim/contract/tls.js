// Not here: the name in the handshake. The Linux build sends none, the ESP32 ports (IDF's mbedTLS) "mbed TLS Server 1".
// a certificate and its key, P-256, as base64 of DER
var CERT = "MIIBcDCCARWgAwIBAgIUI0JQaQsQFwUM4trvN1GIKQ2/aIcwCgYIKoZIzj0EAwIwDDEKMAgGA1UEAwwBeDAgFw0yNjExMjkxMzI2MTZaGA8yMTI2MTEwNTEzMjYxNlowDDEKMAgGA1UEAwwBeDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABMFj/Sh+bHi0Ng1KXC++rYrtVpY2QHrU53dNll+cWo+KAiLHlJCufqD6Wnk8GA0G70RCFhqq08s86RhZu7NsFDKjUzBRMB0GA1UdDgQWBBSjc1/7tqCIghuUhX6zm1HbI5pNkjAfBgNVHSMEGDAWgBSjc1/7tqCIghuUhX6zm1HbI5pNkjAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0kAMEYCIQCTr2BCEXJlPnBDSDoeTJjUSbfgdDQwHDqsMCHNZwrBIAIhAJ2A7Bnr+6DPh9DZnFMlnnhSXKXfh/0wpV677cHmhzvQ";
var KEY = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgcPeK4Wrk8MakcMnAaWR/N1GocVw7kn8GSBhBK4QsUdGhRANCAATBY/0ofmx4tDYNSlwvvq2K7VaWNkB61Od3TZZfnFqPigIix5SQrn6g+lp5PBgNBu9EQhYaqtPLPOkYWbuzbBQy";
// the same with its type in lines, as PEM has it
function pem(type, text) {
  return "-----BEGIN " + type + "-----\n" + text + "\n-----END " + type + "-----\n";
}
// one process per case: the real one's memory for TLS is soon in pieces, and then it crashes
runCase([
  { name: "tls-full", tls: true, path: "full", sizes: true },
  { name: "tls-end", tls: true, path: "full-end" },
  { name: "tls-keep-alive", tls: true, path: "keep-alive" },
  { name: "tls-short-end", tls: true, path: "short-end" },
  { name: "tls-cut", tls: true, path: "tls-cut" },
  { name: "tls-cut-full", tls: true, path: "tls-cut-full" },
  { name: "tls-no-answer-end", tls: true, path: "no-answer-end" },
  { name: "tls-no-answer-cut", tls: true, path: "tls-no-answer-cut" },
  { name: "tls-no-length", tls: true, path: "no-length-end" },
  { name: "tls-chunked", tls: true, path: "chunked", sizes: true },
  { name: "tls-chunked-cut", quiet: 700, tls: true, path: "chunked-cut-end" },
  { name: "tls-big", tls: true, path: "big-records", sizes: true },
  { name: "tls-extra", tls: true, path: "extra", sizes: true },
  { name: "tls-now-callback", tls: true, path: "full", response: function (q) { q.clsNow = true; } },
  { name: "tls-now-data", tls: true, path: "full", data: function (q) { q.clsNow = true; } },
  { name: "tls-now-before", quiet: 700, tls: true, path: "silent", started: function (q) { setTimeout(function () { q.clsNow = true; }, 400); } },
  { name: "tls-now-early", quiet: 700, tls: true, path: "full", started: function (q) { q.clsNow = true; } },
  // -15 or -8, as it happens
  { name: "tls13-only", anyCode: true, tls: true, port: TLS13PORT, path: "full" },
  // a certificate with a key for ECDSA, as many servers have by default
  { name: "tls-ecdsa", anyCode: true, tls: true, port: ECDSAPORT, path: "full" },
  { name: "tls-ecdhe-only", anyCode: true, tls: true, port: ECDHEPORT, path: "full" },
  { name: "tls-dhe-only", tls: true, port: DHEPORT, path: "full" },
  { name: "tls-rsa-only", tls: true, port: RSAPORT, path: "full" },
  { name: "tls-bad-ca", tls: true, path: "full", extra: { ca: "x".repeat(200) } },
  { name: "tls-bad-cert", tls: true, path: "full", extra: { cert: "x".repeat(200) } },
  { name: "tls-bad-key", tls: true, path: "full", extra: { key: "x".repeat(200) } },
  { name: "tls-ca-function", tls: true, path: "full", extra: { ca: function () { return "x".repeat(200); } } },
  { name: "tls-ca-undefined", tls: true, path: "full", extra: { ca: undefined } },
  { name: "tls-ca-array", tls: true, path: "full", extra: { ca: new Uint8Array(200) } },
  // the interpreter's own mbedTLS reads DER only
  { name: "tls-pem-ca", tls: true, path: "small", extra: { ca: pem("CERTIFICATE", CERT) } },
  { name: "tls-pem-ca-nul", tls: true, path: "small", extra: { ca: pem("CERTIFICATE", CERT) + "\0" } },
  { name: "tls-pem-cert", tls: true, path: "small", extra: { cert: pem("CERTIFICATE", CERT) } },
  { name: "tls-pem-key", tls: true, path: "small", extra: { key: pem("PRIVATE KEY", KEY) } },
  { name: "tls-base64-ca", tls: true, path: "small", extra: { ca: CERT } },
  { name: "tls-der-ca", tls: true, path: "small", extra: { ca: atob(CERT) } },
  { name: "tls-der-cert-key", tls: true, path: "small", extra: { cert: atob(CERT), key: atob(KEY) } },
  { name: "tls-bad-ca-plain", path: "full", extra: { ca: "x".repeat(200) } },
  { name: "tls-to-plain", quiet: 700, tls: true, port: PORT, path: "full" },
  { name: "plain-to-tls", port: TLSPORT, path: "full" },
  { name: "tls-closed-in-handshake", anyCode: true, tls: true, port: SHUTPORT, path: "full" },
]);
