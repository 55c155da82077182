// A flash for the speed rows that costs one native call per operation, as on a device: Espruino's own Flash, which on
// Linux has 256 KB (in pages of 1024 bytes, so that an erase is four calls). A slot is folded into 24 of its sectors, so the image repeats itself every 24 sectors and what is
// read back or hashed is right although each sector was written many times. engine/device.js, which keeps a whole flash
// in a file, takes up to seven native calls for one and looks at each byte in JavaScript: it would be what is measured.
// What remains of the shim is one JavaScript function around the native one, in the bare loop as in the update.

import { buildImage, layoutOf, reseal } from "../support/images.ts";

const SECTOR = 4096;
const PERIOD = 24 * SECTOR;

/** An image of `size` bytes, a multiple of 4096, of which any two bytes PERIOD apart are the same. */
export function periodicImage(size: number): Uint8Array {
  if (size % SECTOR || Math.floor(size / PERIOD) % 2 === 0)
    throw new RangeError("whole sectors, and an odd number of whole periods");
  const image = buildImage({ chip: "esp32", size, seed: 2, segments: 1, descriptor: { version: "2.0.2" } });
  const { checksum } = layoutOf(image);
  // the end first: it is folded onto an earlier sector, but not onto the headers of the first one
  const period = image.slice(0, PERIOD);
  period.set(image.subarray(checksum - 64), (checksum - 64) % PERIOD);
  const repeat = () => {
    for (let at = 0; at < size; at += PERIOD) image.set(period.subarray(0, size - at), at);
  };
  repeat();
  // this byte of the period is an odd number of times in the segment: it puts the checksum right
  period[PERIOD - 1] ^= reseal(image)[checksum] ^ image[checksum];
  repeat();
  if (reseal(image)[checksum] !== image[checksum]) throw new Error("the checksum cannot be put right");
  return image;
}

/** Replaces `Flash` for all addresses from 0x190000 on; the lower ones, which an update hardly uses, stay in the file. */
export const FOLDED_FLASH = `
  var SLOT = 0x190000, MARKER = "the folded slot";
  var low = require("Flash");
  Modules.removeCached("Flash");
  var native = require("Flash");
  require("Storage").write("slot", MARKER, 0, ${PERIOD + 2 * SECTOR});
  var fold = 0;
  for (var page = native.getFree()[0].addr; !fold; page += 4096) {
    var text = E.toString(native.read(4096, page));
    // indexOf alone is not enough: it takes the page's last character for a match when the marker begins with it
    if (text.substr(text.indexOf(MARKER), MARKER.length) === MARKER) fold = page + 4096;
  }
  Modules.addCached("Flash", function () {
    exports.read = function (n, a) { return a < SLOT ? low.read(n, a) : native.read(n, fold + (a - SLOT) % ${PERIOD}); };
    exports.write = function (d, a) { if (a < SLOT) low.write(d, a); else native.write(d, fold + (a - SLOT) % ${PERIOD}); };
    exports.erasePage = function (a) { if (a < SLOT) low.erasePage(a); else eraseSector(fold + (a - SLOT) % ${PERIOD}); };
  });
  function eraseSector(a) { native.erasePage(a); native.erasePage(a + 1024); native.erasePage(a + 2048); native.erasePage(a + 3072); }
  function blank() { for (var a = 0; a < ${PERIOD}; a += 4096) eraseSector(fold + a); }
  blank();
  Modules.removeCached("https-ota");
  ota = require("https-ota");`;

/**
 * Puts the module into RAM: on Linux Storage is not mapped into memory, and each 16 bytes of code run from it would cost
 * an fopen. An ESP32 maps it (targets/esp32/main.c).
 */
export const MODULE_IN_RAM = `
  Modules.removeCached("https-ota");
  Modules.addCached("https-ota", E.toString(E.toUint8Array(require("Storage").read("https-ota"))));
  ota = require("https-ota");`;
