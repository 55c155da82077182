// One JSON object, more strictly than the engine's own parser takes it. Pure.

import { Code, fault } from "./status";

/**
 * INVALID_RESPONSE: the manifest is not what it should be.
 * @chapter manifest
 */
export function refuse(fact: string): never {
  throw fault(Code.INVALID_RESPONSE, "manifest: " + fact);
}

/**
 * JSON.parse, for one object and nothing behind it, with no key twice: the engine's own takes trailing garbage, and of
 * a key that comes twice this parser and another may each take a different one.
 * @chapter manifest
 */
export function parseJson(text: string): any {
  const keys: string[][] = []; // of the objects that are open; an array's list stays empty
  let start = -1;
  let string = "";
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (start >= 0) {
      if (c === "\\") i++;
      else if (c === '"') {
        string = text.substring(start, i);
        start = -1;
      }
    } else if (c === '"') start = i + 1;
    else if (c === "{" || c === "[") keys.push([]);
    else if (c === ":" && keys.length) {
      const open = keys[keys.length - 1];
      if (string.indexOf("\\") >= 0) refuse("key " + string + " has an escape");
      if (open.indexOf(string) >= 0) refuse("key " + string + " comes twice");
      open.push(string);
    } else if (c === "}" || c === "]") {
      keys.pop();
      if (!keys.length && i < text.length - 1) refuse("something follows the JSON object");
    }
  }
  if (text[0] !== "{" || keys.length) refuse("no JSON object");
  return JSON.parse(text);
}
