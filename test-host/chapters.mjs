// A step of the build that keeps the module small in RAM. Of a module in Storage the interpreter holds every function
// object of its scope, five variables and one per parameter, though the code itself stays in flash. So what only one
// seldom called function needs is moved into it: it is made when that function is called and given back after it.
//
// Which functions are called seldom only the author knows: those marked `@chapter`, and all that are exported. A loop
// must not call one, for it would be made anew each time (reference/espruino.md 1.6). What is marked `@apart` stays at
// the top level: a closure keeps all scopes around it, and each scope that it stands in costs it a variable.

import { parse } from "acorn";
import { ancestor } from "acorn-walk";
import MagicString from "magic-string";

const INDENT = "    ";
const isFunction = (node) => /Function/.test(node.type);

/** Names that `node` uses and does not declare itself, those of them that it assigns, and what a function declares. */
function freeNames(node) {
  const declared = new Map(); // function node -> its own names
  const own = (scope) => declared.get(scope) ?? declared.set(scope, new Set()).get(scope);
  const nearest = (ancestors) => ancestors.findLast((one) => isFunction(one)) ?? node;
  ancestor(node, {
    Function(one, _, ancestors) {
      if (one.id) own(one.type === "FunctionDeclaration" ? nearest(ancestors.slice(0, -1)) : one).add(one.id.name);
      for (const param of one.params) own(one).add(param.name);
    },
    VariableDeclarator(one, _, ancestors) {
      own(nearest(ancestors)).add(one.id.name);
    },
    CatchClause(one) {
      if (one.param) own(one).add(one.param.name);
    },
  });
  const used = new Set();
  const assigned = new Set();
  const locals = declared.get(node) ?? new Set();
  const isFree = ({ name }, ancestors) =>
    !ancestors.some((one) => one !== node && declared.get(one)?.has(name)) &&
    !(isFunction(node) && declared.get(node)?.has(name) && name !== node.id?.name);
  ancestor(node, {
    Identifier(one, _, ancestors) {
      if (isFree(one, ancestors)) used.add(one.name);
    },
    VariablePattern(one, _, ancestors) {
      const declares = ancestors.at(-2)?.type === "VariableDeclarator" || one === node.id;
      if (declares || !isFree(one, ancestors)) return;
      used.add(one.name);
      assigned.add(one.name);
    },
  });
  return { used, assigned, locals };
}

/** The top level as declarations, each with its text's range, comments before it included. */
export function declarations(code) {
  const comments = [];
  const { body } = parse(code, { ecmaVersion: 5, onComment: comments });
  const list = [];
  let end = 0;
  for (const node of body) {
    const start = end + /^\s*/.exec(code.slice(end))[0].length;
    const lead = code.slice(start, node.start);
    // a comment behind the statement, on its line, belongs to it
    const behind = comments.find((one) => one.start >= node.end && !/\n/.test(code.slice(node.end, one.start)));
    end = behind?.end ?? node.end;
    const name = node.type === "FunctionDeclaration" ? node.id.name : node.declarations?.[0].id.name;
    list.push({
      name,
      node,
      start,
      end,
      ...freeNames(node),
      chapter: /@chapter\b/.test(lead),
      apart: /@apart\b/.test(lead),
      home: null,
    });
  }
  return list;
}

/** Decides for each declaration in which chapter it lives: `home`, null for the top level. */
export function settle(list) {
  const byName = new Map(list.filter((one) => one.name).map((one) => [one.name, one]));
  for (const one of list)
    if (!one.name)
      for (const name of one.used) if (byName.has(name) && /^exports\./.test(one.text)) byName.get(name).chapter = true;
  const users = new Map(list.map((one) => [one, list.filter((other) => other !== one && other.used.has(one.name))]));
  const movable = (one) =>
    one.name &&
    !one.apart &&
    !list.some((other) => other.assigned.has(one.name)) &&
    (one.node.declarations?.length ?? 1) === 1;
  const chapters = list.filter((one) => one.chapter && one.node.type === "FunctionDeclaration");
  const owned = chapters.map((chapter) => {
    const inside = new Set([chapter, ...list.filter(movable)]);
    for (let size = -1; size !== inside.size; ) {
      size = inside.size;
      for (const one of inside)
        if (one !== chapter && (!users.get(one).length || !users.get(one).every((user) => inside.has(user))))
          inside.delete(one);
    }
    inside.delete(chapter);
    return { chapter, inside };
  });
  // the innermost chapter that owns a declaration is the smallest one
  owned.sort((a, b) => a.inside.size - b.inside.size);
  for (const { chapter, inside } of owned) for (const one of inside) one.home ??= chapter;
}

/** `code` (a CommonJS bundle of plain declarations) with what belongs to a chapter inside of it, as { code, map }. */
export function moveIntoChapters(code) {
  const list = declarations(code);
  for (const one of list) one.text = code.slice(one.node.start, one.end);
  settle(list);
  for (const one of list)
    for (let home = one.home; home; home = home.home)
      for (const name of [one.name, ...one.used])
        if (home.locals.has(name) && name !== home.name)
          throw new Error(`${one.name} uses ${name} and belongs into ${home.name}, which has a ${name} of its own`);
  const depth = (one) => (one.home ? 1 + depth(one.home) : 0);
  const output = new MagicString(code);
  for (const one of list) {
    if (!one.home) continue;
    for (let at = one.start; at >= 0 && at < one.end; at = code.indexOf("\n", at) + 1 || one.end)
      output.appendRight(at, INDENT.repeat(depth(one)));
    const brace = one.home.node.body.start + 1;
    output.appendRight(one.start, "\n");
    output.move(one.start, one.end, brace);
  }
  return { code: output.toString(), map: output.generateMap({ hires: true }) };
}

export const chapters = {
  name: "chapters",
  renderChunk: (code) => moveIntoChapters(code),
};
