var c = require("crypto");
function digest(name, fn) {
  var r;
  try {
    r = fn();
    print(name + " " + typeof r + " " + (r === undefined ? "" : r.byteLength + " " + hex(new Uint8Array(r))));
  } catch (e) {
    print(name + " throws " + e.toString());
  }
}
var u = new Uint8Array(100), i;
for (i = 0; i < 100; i++) u[i] = i * 7;
digest("abc", function () { return c.SHA256("abc"); });
digest("empty", function () { return c.SHA256(""); });
digest("binary", function () { return c.SHA256("\xff\x00\x80"); });
digest("u8", function () { return c.SHA256(u); });
digest("buffer", function () { return c.SHA256(u.buffer); });
digest("sub", function () { return c.SHA256(u.subarray(10, 30)); });
digest("view", function () { return c.SHA256(new Uint8Array(u.buffer, 5, 50)); });
digest("array", function () { return c.SHA256([97, 98, 99]); });
digest("array text", function () { return c.SHA256(["a", [98], "c"]); });
digest("number", function () { return c.SHA256(97); });
digest("undefined", function () { return c.SHA256(undefined); });
digest("none", function () { return c.SHA256(); });
digest("null", function () { return c.SHA256(null); });
digest("object", function () { return c.SHA256({}); });
digest("count", function () { return c.SHA256({ data: "a", count: 3 }); });
digest("4096", function () { return c.SHA256(new Uint8Array(4096)); });
digest("4096 text", function () { return c.SHA256("\x00".repeat(4096)); });
digest("u16", function () { return c.SHA256(new Uint16Array([1, 2])); });
show("type", function () { return c.SHA256("a") instanceof ArrayBuffer; });
quit();
