function Foo() { this.a = 1; }
print(new Error("x"));
print([new TypeError("y")]);
print({ e: new Error("z"), f: [[]], n: null, o: {}, u: undefined });
print(new Foo(), [new Foo()]);
print(new ArrayBuffer(3), new Uint8Array(0), new Uint8Array([1, 2]), [], [undefined, 1], "a\nb", ["a\nb\x07\xff\x001"]);
print([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20]);
print({ a: 1, b: 2, c: 3, d: 4, e: 5, f: 6, g: 7 });
print({ a: "1", b: "2", c: { d: [1, [2]] } });
print(1e-7, 123456789012, 0.5, -0.25, NaN, Infinity, true, false, null, undefined);
print(Promise.resolve(1));
print();
print("");
console.log("log", 1);
console.error("error", [1]);
quit();
