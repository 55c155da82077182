["1", "-1", "1.5", "-1.5", "1e3", "1E-2", "0x10", "010", "-", "--1", "+1", ".5", "5.", "true", "false", "null", "undefined", "NaN", "nul", "tru", "True",
  "\"a\"", "'a'", "\"a", "\"\\u00e9\\x41\\n\\t\\\\\\/\\\"\"", "\"\\u0041\\101\"", "\"tab\there\"", "[]", "[1,2]", "[1,]", "[,1]", "[1 2]", "[", "[1", "[1,", "]", "{}", "{", "{\"a\"", "{\"a\":", "{\"a\":1",
  "{\"a\":1,", "{\"a\":1,}", "{\"a\":1 \"b\":2}", "{a:1}", "{1:2}", "{'a':1}", "{\"a\":}", "{\"a\" 1}", "{,}", "{\"a\":1}}", "{\"a\":1}x", "1 2", "1,2", "", " ", "// c\n1", "/* c */ 2", "3 // c",
  "{\"a\":{\"b\":[1,{\"c\":null}]}}", "[[[[1]]]]", "{\"\":1}", "{\"a b\":1}", "1234567890123", "4294967296", "2147483648",
  "-2147483649", "\"\xff\"", "[1]\x00[2]", "`a`", "function(){}", "[-]", "{\"a\":-}", "[undefined]", "\"line\nbreak\"", "{\"length\":1}", "[1,2,3", "{\"a\":\"b\"", "(1)", "1=2", "!1"
].forEach(function (t) {
  show(JSON.stringify(t), function () { return JSON.parse(t); });
});
// The key __proto__ is the prototype. Where it is a number, the engine looks for properties in the number as in an object:
// a build with asserts ends there (src/jsvar.c, jsvFindChildFromString), so this looks for none.
show("prototype", function () { var o = JSON.parse("{\"__proto__\":{\"a\":1},\"b\":2}"); return [o.a, o.b, Object.keys(o)]; });
show("prototype number", function () { return Object.keys(JSON.parse("{\"__proto__\":1,\"b\":2}")); });
show("number", function () { return JSON.parse(5); });
show("undefined", function () { return JSON.parse(undefined); });
show("object", function () { return JSON.parse({}); });
show("array", function () { return JSON.parse([1]); });
show("twice", function () { return JSON.parse("{\"a\":1,\"b\":0,\"a\":2}").a; });
show("syntax", function () { try { JSON.parse("{"); } catch (e) { return [e instanceof SyntaxError, e instanceof Error, typeof e.message, e.type]; } });
var a = [1, 2];
a.x = 1;
var values = { number: 5, text: "a\"\\\n\r\t\b\f\x00\x07\x1f\x7f\x80\xff/", array: a, nested: { a: [{}], b: undefined, c: function () {}, d: null, e: [undefined, null] }, u8: new Uint8Array([1, 2]), buffer: new ArrayBuffer(2),
  bool: true, nan: NaN, inf: Infinity, undef: undefined, fn: function () {}, toj: { toJSON: function () { return "J"; } }, error: 1 }, k;
for (k in values) show("stringify " + k, function () { return JSON.stringify(values[k]); });
show("stringify none", function () { return JSON.stringify(); });
show("pretty", function () { return JSON.stringify({ a: [1, { b: 2 }], c: "x" }, null, 2); });
show("pretty text", function () { return JSON.stringify([1, [2]], null, "\t"); });
quit();
