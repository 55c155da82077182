// atob, btoa, encodeURIComponent and decodeURIComponent. Each works byte by byte, and treats bad input as the interpreter
// does, not as the standards say.

import { type Core, type Fn, textOf, typeName } from "./core.ts";
import { isIterable, iterateInts } from "./data.ts";
import { describe } from "./text.ts";

const SPACE = " \t\n\r\v\f";
const BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/** Groups of four; what is not base64 counts as a zero in its place, and only the last good place is asked. */
function decodeBase64(text: string): string {
  const clean = Array.from(text).filter((ch) => !SPACE.includes(ch));
  let length = Math.floor((clean.length * 3) / 4);
  if (clean[clean.length - 1] === "=") length--;
  if (clean[clean.length - 2] === "=") length--;
  const out = new Uint8Array(Math.max(0, length));
  let at = 0;
  const put = (byte: number): void => {
    if (at < out.length) out[at++] = byte;
  };
  for (let i = 0; i < clean.length; i += 4) {
    let triple = 0;
    let valid = 0;
    for (let k = 0; k < 4; k++) {
      const sextet = clean[i + k] === undefined ? -1 : BASE64.indexOf(clean[i + k]);
      if (sextet < 0) continue;
      triple |= sextet << ((3 - k) * 6);
      valid = k;
    }
    if (valid > 0) put((triple >> 16) & 255);
    if (valid > 1) put((triple >> 8) & 255);
    if (valid > 2) put(triple & 255);
  }
  return textOf(out);
}

export function makeBase64(core: Core): { atob: Fn; btoa: Fn } {
  return {
    atob: core.native("atob", (text) => {
      if (typeof text !== "string") throw core.error("Error", `Expecting String, got ${typeName(core, text)}`);
      return decodeBase64(text);
    }),
    btoa: core.native("btoa", (data) => {
      if (!isIterable(core, data)) {
        throw core.error("Error", `Expecting String or Array, got ${typeName(core, data)}`);
      }
      return Buffer.from(iterateInts(core, data)).toString("base64");
    }),
  };
}

export function makeUri(core: Core): Record<string, Fn> {
  return {
    encodeURIComponent: core.native("encodeURIComponent", (value) => {
      const text = describe(core, value);
      return text.replace(/[^A-Za-z0-9_\-.!~*'()$]/g, (ch) => {
        return `%${(ch.charCodeAt(0) & 255).toString(16).toUpperCase().padStart(2, "0")}`;
      });
    }),
    decodeURIComponent: core.native("decodeURIComponent", (value) => {
      const text = describe(core, value);
      let out = "";
      for (let i = 0; i < text.length; i++) {
        if (text.charCodeAt(i) > 127) throw core.error("Error", "ASCII only");
        if (text[i] !== "%") {
          out += text[i];
          continue;
        }
        const hex = text.slice(i + 1, i + 3);
        if (!/^[0-9a-fA-F]{2}$/.test(hex)) throw core.error("Error", "Invalid URI");
        out += String.fromCharCode(Number.parseInt(hex, 16));
        i += 2;
      }
      return out;
    }),
  };
}
