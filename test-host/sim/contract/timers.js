var log = [];
function note(x) { log.push(x); }
show("ids", function () {
  var a = setTimeout(note, 1, "a"), b = setTimeout(note, 1, "b"), c = setInterval(note, 1000, "c");
  clearInterval(c);
  return [b - a, c - b, typeof a];
});
setTimeout(function (x, y) { note("args " + x + y + arguments.length); }, 2, 1, 2);
setTimeout("note('text')", 3);
show("bad", function () { return setTimeout(5, 1); });
show("clear undefined", function () { return clearTimeout(undefined); });
show("clear unknown", function () { return clearTimeout(4711); });
show("clear null", function () { return clearTimeout(null); });
show("too long", function () { return setTimeout(note, 1e15); });
var n = 0, i = setInterval(function () {
  n++;
  note("interval " + n);
  if (n === 3) clearInterval(i);
}, 30);
setTimeout(function () { note("throws"); throw new Error("in timer"); }, 350);
setTimeout(function () { note("after throw"); }, 450);
setTimeout(function () {
  show("no ms", function () { return typeof setTimeout(note, undefined, "no ms"); });
  show("negative", function () { return typeof setTimeout(note, -5, "negative"); });
  show("text ms", function () { return typeof setTimeout(note, "60", "text ms"); });
}, 550);
// two that are due at once fire in the order they were made
setTimeout(function () {
  var until;
  setTimeout(note, 9, "made first, due later");
  setTimeout(note, 3, "made later, due first");
  until = getTime() + 0.03;
  while (getTime() < until);
}, 700);
setTimeout(function () {
  note("A");
  setTimeout(function () { note("C"); }, 0);
  Promise.resolve(0).then(function () { note("B"); });
}, 1000);
setTimeout(function () {
  print(log.join("\n"));
  show("time", function () { return Math.abs(Date.now() / 1000 - getTime()) < 1; });
  clearTimeout();
  setTimeout(quit, 5);
}, 1200);
