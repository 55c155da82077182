function thrown(fn) {
  try { fn(); } catch (e) { return e; }
}
var e = new Error("m");
e.code = 0x1501;
e.name = "ESP_ERR";
e.retry = true;
show("fields", function () { return [e.message, e.code, e.name, e.retry, e.type, typeof e.stack]; });
show("text", function () { return [e.toString(), "" + e, String(new TypeError("t")), new Error().toString(), new Error(5).toString()]; });
show("instanceof", function () { return [e instanceof Error, new TypeError("x") instanceof Error, new TypeError("x") instanceof TypeError, e instanceof Object]; });
show("no name", function () { return [typeof new Error("x").name, typeof new Error().message]; });
show("call", function () { return Error("x") instanceof Error; });
show("keys", function () { return Object.keys(new Error("x")); });
show("thrown", function () { return thrown(function () { throw e; }) === e; });
show("thrown text", function () { return thrown(function () { throw "text"; }); });
show("thrown object", function () { return thrown(function () { throw { code: 1 }; }).code; });
show("missing", function () { var x = thrown(function () { nothing(); }); return [x instanceof ReferenceError, x.type]; });
show("undefined field", function () { var u, x = thrown(function () { return u.a; }); return x instanceof Error; });
show("not a function", function () { var o = {}, x = thrown(function () { o.a(); }); return x instanceof Error; });
show("module", function () { return require("not-a-module"); });
show("module number", function () { return require(5); });
show("finally", function () { var l = []; try { try { throw 1; } finally { l.push("f"); } } catch (x) { l.push(x); } return l; });
show("json", function () { var x = new Error("j"); x.code = 1; return Object.keys(JSON.parse(JSON.stringify(x))).sort(); });
setTimeout(function () { throw new Error("in timer"); }, 20);
setTimeout(function () { throw "text in timer"; }, 120);
setTimeout(function () { throw { toString: function () { return "own text"; } }; }, 220);
setTimeout(function () { quit(); }, 320);
