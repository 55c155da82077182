// The JSON of a manifest's header and payload, by the device's own parser (src/trust/json.ts): a text that two parsers
// read differently is refused. test-host/vectors/json.ts lists what is accepted and what is not.
import { parseJson } from "../../trust/json.ts";

const MAX_QUOTE = 100;

/** As much of a file's text as an error message needs. */
export function excerpt(text: string): string {
  return text.length > MAX_QUOTE ? `${text.slice(0, MAX_QUOTE)}...` : text;
}

/** An error of the device about JSON that JSON.parse accepts, as a text that says what to correct. */
function explain(text: string, fact: string): string {
  if (fact.startsWith("key __proto__")) return "the key __proto__ is refused: to Espruino's parser it is the prototype";
  const [, key] = /^key (.*?)(?: comes twice| has an escape)?$/.exec(fact) ?? [];
  if (key !== undefined) return `the key ${excerpt(`"${key}"`)} comes twice, or is written with an escape`;
  // all else that JSON.parse takes and the device does not: its message ends with the number's offset
  const number = text.slice(Number(/\d+$/.exec(fact)?.[0])).match(/^[^\s,\]}]*/)?.[0] ?? "";
  return `the number ${excerpt(number)} has an exponent`;
}

/**
 * Why `text` is not what a header or payload has to be, or null: one JSON object of RFC 8259 and nothing around it, no
 * key twice in one object, no escape in a key, no key __proto__, no number with an exponent.
 */
export function jsonProblem(text: string): string | null {
  try {
    JSON.parse(text);
  } catch (error) {
    return `not JSON: ${excerpt((error as Error).message)}`;
  }
  // without white space around it, a JSON text that begins so is an object
  if (text[0] !== "{" || text.at(-1) !== "}") return "expected a JSON object and nothing around it";
  try {
    parseJson(text);
    return null;
  } catch (error) {
    return explain(text, (error as Error).message.replace(/^manifest: /, ""));
  }
}
