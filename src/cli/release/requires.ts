// What a file of a program requires, and how it is minified: JavaScript as Espruino takes it.
import { type CallExpression, parse } from "acorn";
import { simple } from "acorn-walk";
import { minify } from "terser";

export interface Requires {
  /** by their names, each once, in the order of the text */
  names: string[];
  /** a name that is not a text: which module it is, is known when it runs */
  computed: boolean;
}

/** "line 3, column 7: Unexpected token" */
function parseProblem(error: unknown): string {
  const { message, loc } = error as Error & { loc?: { line: number; column: number } };
  const text = message.replace(/ \(\d+:\d+\)$/, "");
  return loc ? `line ${loc.line}, column ${loc.column + 1}: ${text}` : text;
}

function nameOf({ arguments: given }: CallExpression): string | null {
  const [first] = given;
  if (first?.type === "Literal" && typeof first.value === "string") return first.value;
  if (first?.type === "TemplateLiteral" && !first.expressions.length) return first.quasis[0].value.cooked ?? null;
  return null;
}

/** The calls of `require` in a text; a text that says why it cannot be read. */
export function requiresOf(code: string): Requires | string {
  const names = new Set<string>();
  let computed = false;
  try {
    // a module runs as the body of a function, so it may return
    const tree = parse(code, { ecmaVersion: "latest", sourceType: "script", allowReturnOutsideFunction: true });
    simple(tree, {
      CallExpression(call) {
        if (call.callee.type !== "Identifier" || call.callee.name !== "require") return;
        const name = nameOf(call);
        if (name === null) computed = true;
        else names.add(name);
      },
    });
  } catch (error) {
    return parseProblem(error);
  }
  return { names: [...names], computed };
}

/**
 * Modules that are built into Espruino for the ESP32, each in one build at least ("type": "library" in its sources at
 * 2v29, and the libraries in boards/ESP32*.py).
 */
export const BUILT_IN: readonly string[] = [
  "Flash",
  "Storage",
  "TelnetServer",
  "Wifi",
  "crypto",
  "dgram",
  "fs",
  "heatshrink",
  "http",
  "neopixel",
  "net",
  "timer",
  "tls",
];

/** The module that this command brings onto a device. */
export const OWN_MODULE = "https-ota";

/**
 * As the module itself is minified (rollup.config.mjs), with all top-level names kept: those of the program are globals.
 * inline 0: an inlined function puts its var behind its use, which Espruino takes for an outer one.
 * Rejects with a text that says where the code cannot be read.
 */
export async function minified(code: string): Promise<string> {
  try {
    const { code: small = "" } = await minify(code, {
      ecma: 5,
      parse: { bare_returns: true },
      compress: { passes: 3, ecma: 5, directives: false, inline: 0 },
      mangle: true,
      format: { ascii_only: true, comments: false, ecma: 5 },
    });
    return small;
  } catch (error) {
    const { message, line, col } = error as Error & { line?: number; col?: number };
    throw new Error(line === undefined ? message : `line ${line}, column ${(col ?? 0) + 1}: ${message}`);
  }
}
