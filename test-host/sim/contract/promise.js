var log = [];
function note(x) { log.push(x); }
function mk(ms, v) { return new Promise(function (y) { setTimeout(y, ms, v); }); }
note("start");
new Promise(function (y) { note("executor"); y(1); note("after resolve"); }).then(function (v) { note("then " + v); return v + 1; })
  .then(function (v) { note("then2 " + v); throw new Error("t"); })
  .then(function () { note("never"); }, function (e) { note("caught " + e.toString()); return 5; })
  .then(function (v) { note("after catch " + v); });
Promise.resolve(2).then(function (v) { note("resolved " + v); });
Promise.reject(new Error("rej")).catch(function (e) { note("rejected " + e.toString()); }).then(function (v) { note("after " + v); });
Promise.reject("text").then(function () { note("no"); }).catch(function (e) { note("passed on " + e); });
Promise.all([1, mk(1050, "a"), Promise.resolve("b")]).then(function (r) { note("all " + JSON.stringify(r)); });
Promise.all([]).then(function (r) { note("all empty " + JSON.stringify(r)); });
Promise.all([1, 2]).then(function (r) { note("all plain " + JSON.stringify(r)); });
Promise.all([Promise.reject("x"), mk(1150, 1), Promise.reject("y")]).then(0, function (e) { note("all rejected " + e); });
show("all number", function () { return Promise.all(5); });
show("no executor", function () { return new Promise(); });
new Promise(function () { throw new Error("in executor"); }).catch(function (e) { note("executor threw " + e.toString()); });
new Promise(function (y, n) { y(1); n(2); y(3); }).then(function (v) { note("first wins " + v); });
new Promise(function (y) { y(mk(850, "inner")); }).then(function (v) { note("adopted " + v); });
Promise.resolve({ then: function (y) { y("thenable"); } }).then(function (v) { note("thenable " + v); });
Promise.resolve(1).then(function () { return { then: function (y, n) { n("bad"); } }; }).catch(function (e) { note("thenable rejects " + e); });
Promise.resolve(1).then(function () { return mk(950, "late"); }).then(function (v) { note("returned promise " + v); });
var p = Promise.resolve("same");
print(Promise.resolve(p) === p);
show("types", function () { return [typeof p.then, typeof p["catch"], typeof p["finally"], typeof Promise.race, typeof Promise.any, typeof Promise.allSettled]; });
show("instanceof", function () { return p instanceof Promise; });
show("keys", function () { return Object.keys(p); });
setTimeout(function () { note("timeout 0"); }, 0);
var settled = mk(1, "done");
setTimeout(function () {
  settled.then(function (v) { note("late then " + v); });
  settled.then(function (v) { note("late then2 " + v); });
  settled.then().then(function (v) { note("late pass " + v); }, function (e) { note("late pass rejects " + e); });
  settled.catch(function (e) { note("late catch " + e); }).then(function (v) { note("late catch passes " + v); }, function (e) { note("late catch rejects " + e); });
  settled.then(function (v) { throw "late " + v; }).catch(function (e) { note("late throw " + e); });
}, 100);
var rejected = Promise.reject("r");
rejected.catch(function () {});
setTimeout(function () {
  rejected.then(function () { note("no"); }).catch(function (e) { note("late rejected " + e); });
  rejected.catch(function (e) { note("late rejected2 " + e); return 1; }).then(function (v) { note("and on " + v); });
}, 200);
new Promise(function (y) {
  y();
}).then(function () {
  note("a1");
  new Promise(function (y) { y(); }).then(function () { note("b1"); }).then(function () { note("b2"); });
}).then(function () { note("a2"); }).then(function () { note("a3"); });
setTimeout(function () {
  var self = new Promise(function (y) { setTimeout(function () { y(self); }, 1); });
  self.then(function () { note("self"); }, function (e) { note("self rejects " + e); });
}, 250);
setTimeout(function () {
  Promise.reject(new Error("unhandled error"));
}, 400);
setTimeout(function () {
  Promise.reject("unhandled text");
}, 550);
setTimeout(function () {
  Promise.resolve(1).then(function () { throw "unhandled throw"; });
}, 750);
setTimeout(function () {
  print(log.join("\n"));
  quit();
}, 1300);
note("end");
