// The JSON of a manifest's header and payload, as strict as on the device (src/trust/json.ts), so that nobody can write a text
// which two parsers read differently. test-host/vectors/json.ts has what is taken and what is not.

const MAX_QUOTE = 100;

/** So much of a file's text as an error message needs. */
export function excerpt(text: string): string {
  return text.length > MAX_QUOTE ? `${text.slice(0, MAX_QUOTE)}...` : text;
}

/** Strings, numbers and what opens, closes or follows a key. Only for texts that JSON.parse has taken. */
const TOKENS = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\d[\d.eE+-]*|[{}[\]:]/g;

/** What RFC 8259 leaves open and parsers read differently; null when there is nothing. */
function ambiguity(json: string): string | null {
  const open: Set<string>[] = [];
  let last = "";
  for (const [token] of json.matchAll(TOKENS)) {
    if (token === "{" || token === "[") open.push(new Set());
    else if (token === "}" || token === "]") open.pop();
    else if (token === ":") {
      const keys = open.at(-1);
      if (last.includes("\\") || keys?.has(last))
        return `the key ${excerpt(last)} comes twice, or is written with an escape`;
      if (last === '"__proto__"') return "the key __proto__ is not taken: to Espruino's parser it is the prototype";
      keys?.add(last);
    } else if (token[0] === '"') last = token;
    else if (/[eE]/.test(token)) return `the number ${excerpt(token)} has an exponent`;
  }
  return null;
}

/**
 * Why `text` is not what a header or payload has to be, or null: one JSON object of RFC 8259 and nothing around it, no
 * key twice in one object, no escape in a key, no key __proto__, no number with an exponent.
 */
export function jsonProblem(text: string): string | null {
  try {
    JSON.parse(text);
  } catch (error) {
    return `no JSON: ${excerpt((error as Error).message)}`;
  }
  // without white space around it, a JSON text that begins so is an object
  if (text[0] !== "{" || text.at(-1) !== "}") return "wanted a JSON object and nothing around it";
  return ambiguity(text);
}
