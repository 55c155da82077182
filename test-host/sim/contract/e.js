function bytes(name, fn) {
  var r;
  try {
    r = fn();
    print(name + " " + typeof r + " " + (r === undefined ? "" : r.length + " " + hex(r)));
  } catch (e) {
    print(name + " throws " + e.toString());
  }
}
var u = new Uint8Array([1, 2, 255, 128]), f = new Float64Array([1.9, -1, 256, 300.5]), w = new Uint16Array([1, 256, 65535]);
var args = {
  "number": 65, "big": 321, "negative": -1, "float": 1.9, "bool": true, "text": "a\xff\x00b", "empty": "", "array": [1, 2, 300],
  "mixed": [1, "ab", [2, [3]], u], "holes": [1, , 3], "u8": u, "u16": w, "f64": f, "buffer": u.buffer, "sub": u.subarray(1, 3), "count": { data: [1, 2], count: 3 },
  "callback": { callback: function () { return "cb"; } }, "object": { a: 1 }, "undefined": undefined, "null": null, "function": function () {}, "emptyArray": [], "nested": { data: { data: 7, count: 2 }, count: 2 }
}, k;
for (k in args) {
  bytes("toString " + k, function () { return E.toString(args[k]); });
}
bytes("toString none", function () { return E.toString(); });
bytes("toString many", function () { return E.toString(1, "ab", [2], u); });
bytes("toArrayBuffer", function () { return new Uint8Array(E.toArrayBuffer("a\xffb")); });
show("toArrayBuffer number", function () { return E.toArrayBuffer(5); });
show("toArrayBuffer length", function () { return E.toArrayBuffer("abc").byteLength; });
for (k in args) {
  show("CRC32 " + k, function () { return E.CRC32(args[k]); });
}
show("CRC32 check", function () { return E.CRC32("123456789"); });
show("CRC32 binary", function () { return E.CRC32("\xff\x80\x00"); });
show("convolve", function () { return E.convolve([1, 2, 3], [4, 5, 6], 0); });
show("convolve 1", function () { return E.convolve([1, 2, 3], [4, 5, 6], 1); });
show("convolve -1", function () { return E.convolve([1, 2, 3], [4, 5, 6], -1); });
show("convolve 4", function () { return E.convolve([1, 2, 3], [4, 5, 6], 4); });
show("convolve short", function () { return E.convolve([1, 2, 3, 4], [1, 10], 0); });
show("convolve short 1", function () { return E.convolve([1, 2, 3, 4], [1, 10], 1); });
show("convolve long", function () { return E.convolve([1, 2], [1, 10, 100, 1000], 2); });
show("convolve f64", function () { return E.convolve(new Float64Array([4194303, 4194303]), new Float64Array([4194303, 4194303]), 0); });
show("convolve u8", function () { return E.convolve(u, u, 0); });
show("convolve text", function () { return E.convolve("ab", "\x01\x02", 0); });
show("convolve empty", function () { return E.convolve([], [1], 0); });
show("convolve number", function () { return E.convolve(5, [1], 0); });
show("convolve undefined", function () { return E.convolve(undefined, [1], 0); });
show("convolve no offset", function () { return E.convolve([1, 2], [3, 4]); });
show("convolve view", function () { var b = new Float64Array([1, 2, 3, 4]); return E.convolve(b.subarray(1, 3), new Float64Array(b.buffer, 8, 2), 0); });
show("memoryArea 0", function () { return E.memoryArea(0, 5); });
show("memoryArea negative", function () { return E.memoryArea(16, -1); });
show("reverse types", function () { return [typeof E.toString, typeof E.reboot]; });
quit();
