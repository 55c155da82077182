// Fills the interpreter's memory until so many JsVars are free. The filler is few big blocks at the beginning of the
// memory, so what is free lies together: the best case. Before the scenario; `fill(n)` to be called from a timer.
// It is a module, so that a timer can call a native function to let it go: JavaScript may find no memory to run in.
export const HEAP_FILLER = `
  var rest;
  function fill(n) {
    var block = engineProcess.memory().blocksize, filler = [];
    Modules.addCached("filler", "");
    require("filler").held = filler;
    // an array of bytes has at most 65535 on a build with references of 16 bits; half of the rest, because one that finds
    // no room in one piece takes more than its bytes
    while ((rest = engineProcess.memory().free - n) > 12)
      filler.push(new Uint8Array(Math.min(60000, (rest >> 1) * block)));
    while (rest-- > 0) filler.push(0); // memory() takes some itself
  }
  function release() { try { Modules.removeCached("filler"); } catch (e) {} } // it may be gone
  // more than once: even a native function may find no memory
  function releaseAfter(ms) { for (var i = 0; i < 8; i++) setTimeout(Modules.removeCached, ms + 400 * i, "filler"); }`;
