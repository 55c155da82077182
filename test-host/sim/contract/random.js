// Math.random is one sequence, the same after every start on every board: the seed is a constant (src/jsutils.c, rand).
// On the ESP32 E.hwRand is the same sequence (targets/esp32/jshardware.c, jshGetRandomNumber), as on Linux.
function next() { return Math.random() * 2147483648; }
var first = [], i, least = 1, most = 0, r;
for (i = 0; i < 8; i++) first.push(next());
print("first " + first.join(" "));
print("hwRand " + E.hwRand() + " " + E.hwRand());
print("randInt " + Math.randInt(100) + " " + Math.randInt(100) + " " + Math.randInt(0) + " " + Math.randInt() + " " + Math.randInt(-5));
for (i = 0; i < 1000; i++) {
  r = Math.random();
  if (r < least) least = r;
  if (r > most) most = r;
}
print("range " + (least >= 0) + " " + (most < 1) + " " + (least < 0.01) + " " + (most > 0.99));
print("after 1000 " + next());
[1, 0, -1, 0xdeadbeef, "7", 1.9].forEach(function (seed) {
  E.srand(seed);
  print("seed " + seed + " " + next() + " " + next() + " " + next());
});
print(E.srand(5));
quit();
