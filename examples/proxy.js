// Behind a reverse proxy that asks for a password: nginx with auth_basic, a private bucket, a package registry.
// The password lies in a Storage file of its own, so that one program suits every device. Once, on the console:
//   require("Storage").writeJSON("proxy.json", { user: "lamp", password: "secret" });
// It goes to the host of `url` only. A redirect to another host (a signed address of a CDN) is followed without it.
// A forward proxy ("CONNECT") is not supported.

var ota = require("https-ota");

var account = require("Storage").readJSON("proxy.json", true) || {};

ota.update({
  url: "https://example.com/firmware/firmware.jws",
  keys: [{ kty: "RSA", n: "...", e: "AQAB" }], // from: npx https-ota keygen
  headers: { Authorization: "Basic " + btoa(account.user + ":" + account.password) }
}).then(function (result) {
  if (result.partition) ota.restart();
}, function (error) {
  if (error.status === 401) console.log("wrong user or password");
  else console.log(error.name + ": " + error.message);
});
