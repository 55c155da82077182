// Math.random and E.hwRand: one generator (src/jsutils.c, rand: Marsaglia's multiply with carry) whose seed
// is a constant, so the sequence is the same after every start, on every board. E.hwRand of the ESP32 is not better
// (targets/esp32/jshardware.c, jshGetRandomNumber).

import type { Core } from "./core.ts";
import { define } from "./realm.ts";

const RAND_MAX = 0x7fffffff;

export type Random = {
  /** 31 bits. */
  next(): number;
};

export function createRandom(): Random {
  let w = 0xdeadbeef;
  let z = 0xcafebabe;
  return {
    next() {
      z = (36969 * (z & 0xffff) + (z >>> 16)) >>> 0;
      w = (18000 * (w & 0xffff) + (w >>> 16)) >>> 0;
      return ((z << 16) + w) & RAND_MAX;
    },
  };
}

export function installRandom(core: Core, random: Random): void {
  define(core.realm.global.Math, "random", () => random.next() / (RAND_MAX + 1));
}
