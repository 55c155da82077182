// The key that the examples and the README show, { kty: "RSA", n: "..." }, in a program that was copied from there. A device
// that runs it refuses every update, so such a release must not be signed.
import { type Expression, type ObjectExpression, parse, type Property } from "acorn";
import { simple } from "acorn-walk";

const DOTS = "...";

function textOf(value: Expression): string | undefined {
  if (value.type === "Literal" && typeof value.value === "string") return value.value;
  return value.type === "TemplateLiteral" && !value.expressions.length
    ? (value.quasis[0].value.cooked ?? undefined)
    : undefined;
}

function memberOf({ properties }: ObjectExpression, wanted: string): string | undefined {
  const found = properties.find(
    (one): one is Property =>
      one.type === "Property" && (one.key.type === "Identifier" ? one.key.name : textOf(one.key)) === wanted,
  );
  return found && textOf(found.value);
}

/** The line of the first such key in code that can be parsed; null when there is none. A comment does not count. */
export function placeholderLine(code: string): number | null {
  if (!code.includes(DOTS)) return null;
  let line: number | null = null;
  const tree = parse(code, {
    ...({ ecmaVersion: "latest", sourceType: "script" } as const),
    allowReturnOutsideFunction: true,
    locations: true,
  });
  simple(tree, {
    ObjectExpression(object) {
      if (memberOf(object, "kty") === "RSA" && memberOf(object, "n") === DOTS) line ??= object.loc?.start.line ?? null;
    },
  });
  return line;
}
