// Fills the interpreter's memory until so many JsVars are free. The ballast is few big blocks at the beginning of the
// memory, so what is free lies together: the best case. Before the scenario; `fill(n)` to be called from a timer.
export const BALLAST = `
  var ballast;
  function fill(n) {
    var block = engineProcess.memory().blocksize, rest;
    ballast = [];
    // an array of bytes has at most 65535 on a build with references of 16 bits; half of the rest, because one that finds
    // no room in one piece takes more than its bytes
    while ((rest = engineProcess.memory().free - n) > 12)
      ballast.push(new Uint8Array(Math.min(60000, (rest >> 1) * block)));
    while (engineProcess.memory().free > n) ballast.push(0);
  }
  // an interval, because even a timer's call may fail without memory
  function release() { ballast = undefined; }`;
