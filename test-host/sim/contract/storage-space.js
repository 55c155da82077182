var s = require("Storage");
function text(n) {
  var r = "0123456789";
  while (r.length < n) r += r;
  return r.substr(0, n);
}
function stats() {
  var o = s.getStats();
  return [o.totalBytes, o.freeBytes, o.fileBytes, o.fileCount, o.trashBytes, o.trashCount, s.getFree(), s.hash()];
}
show("empty", stats);
show("fields", function () { return Object.keys(s.getStats()); });
show("one", function () { s.write("a", "hello"); return stats(); });
show("two", function () { s.write("b", text(1000)); return stats(); });
show("replaced", function () { s.write("a", "hello you"); return stats(); });
show("the same again", function () { s.write("a", "hello you"); return stats(); });
show("removed", function () { s.erase("b"); return stats(); });
show("sized", function () { return [s.write("z", "", 0, 4096), s.read("z").length, E.CRC32(s.read("z"))].concat(stats()); });
show("filled", function () { return [s.write("z", "abcdef", 0, 4096), s.write("z", "gh", 6), s.read("z", 0, 9)].concat(stats()); });
show("filled at an odd place", function () { return [s.write("z", "x", 4095), s.read("z", 4093)]; });
show("filled twice", function () { return s.write("z", "y", 4095); });
show("filled with what is there", function () { return s.write("z", "x", 4095); });
show("other size", function () { return [s.write("z", "abcdef", 0, 8), s.read("z")].concat(stats()); });
show("larger than its size", function () { return s.write("w", "abcdef", 0, 3); });
show("which leaves a file", function () { return s.read("w"); });
show("too large", function () { return s.write("t", "a", 0, 300000); });
show("too large in place of another", function () { return s.write("a", "a", 0, 300000); });
show("which is gone", function () { return [s.read("a") === undefined].concat(stats()); });
show("hash of some", function () { return [s.hash(/z/), s.hash(/none/), s.hash(/^[wz]$/)]; });
show("compacted", function () { return [s.compact() === undefined].concat(stats(), s.list()); });
show("compacted again", function () { return [s.compact() === undefined].concat(stats()); });
show("drive", function () { return [s.write("c:d", "x"), s.read("d"), s.read("c:d"), s.read("e:d"), s.list(/d/)]; });
show("name with a zero", function () { return [s.write("n\0m", "x"), s.read("n\0m"), s.read("n") === undefined, s.list(/n/)]; });
show("no name", function () { return [s.write("", "x"), s.read(""), s.list().indexOf("")]; });
show("name of no text", function () { return [s.write(5, "five"), s.read("5"), s.write(undefined, "u"), s.read("undefined")]; });
show("list by kind", function () { return [s.list(undefined, { sf: true }), s.list(/z/, { sf: false }), s.list(/z/, {})]; });
show("negative size", function () { return s.write("q", "x", 0, -1); });
show("everything erased", function () { s.eraseAll(); return stats(); });
quit();
