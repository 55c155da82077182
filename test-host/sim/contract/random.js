// Math.random is one sequence, the same after every start on every board: the seed is a constant (src/jsutils.c, rand).
// On the ESP32 E.hwRand is the same sequence (targets/esp32/jshardware.c, jshGetRandomNumber), as on Linux.
function next() { return Math.random() * 2147483648; }
var first = [], i, least = 1, most = 0, r;
for (i = 0; i < 8; i++) first.push(next());
print("first " + first.join(" "));
print("hwRand " + E.hwRand() + " " + E.hwRand());
for (i = 0; i < 1000; i++) {
  r = Math.random();
  if (r < least) least = r;
  if (r > most) most = r;
}
print("range " + (least >= 0) + " " + (most < 1) + " " + (least < 0.01) + " " + (most > 0.99));
print("after 1000 " + next());
quit();
