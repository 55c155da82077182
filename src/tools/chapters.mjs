// A step of the build that keeps the module small in RAM. Of a module in Storage the interpreter holds every function
// object of its scope, five variables and one per parameter, though the code itself stays in flash. So what only one
// seldom called function needs is moved into it: it is made when that function is called and given back after it.
//
// Which functions are called seldom only the author knows: those marked `@chapter`, and all that are exported. A loop
// must not call one, for it would be made anew each time (docs/espruino.md#functions-in-storage-stay-in-flash). Those marked `@chapter name`
// share one: a function chapterName is made of them all and what only they need, and `f(x)` elsewhere becomes
// `chapterName().f_(x)`. What is marked `@apart` stays at the top level: a closure keeps all scopes around it, and each scope
// that it stands in costs it a variable.

import { parse } from "acorn";
import { ancestor } from "acorn-walk";
import MagicString from "magic-string";

const INDENT = "    ";
const isFunction = (node) => /Function/.test(node.type);

/** Where `node` uses names that it does not declare itself, those of them that it assigns, and what a function declares. */
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
  const uses = [];
  const assigned = new Set();
  const locals = declared.get(node) ?? new Set();
  const isFree = ({ name }, ancestors) =>
    !ancestors.some((one) => one !== node && declared.get(one)?.has(name)) &&
    !(isFunction(node) && declared.get(node)?.has(name) && name !== node.id?.name);
  ancestor(node, {
    Identifier(one, _, ancestors) {
      if (isFree(one, ancestors)) uses.push(one);
    },
    UpdateExpression({ argument }, _, ancestors) {
      if (argument.type === "Identifier" && isFree(argument, ancestors)) assigned.add(argument.name);
    },
    VariablePattern(one, _, ancestors) {
      const declares = ancestors.at(-2)?.type === "VariableDeclarator" || one === node.id;
      if (declares || !isFree(one, ancestors)) return;
      uses.push(one);
      assigned.add(one.name);
    },
  });
  return { uses, used: new Set(uses.map((one) => one.name)), assigned, locals };
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
      shared: /@chapter[ \t]+(\w+)/.exec(lead)?.[1] ?? null,
      apart: /@apart\b/.test(lead),
      home: null,
    });
  }
  return list;
}

/**
 * Decides for each declaration in which chapter it lives: `home`, null for the top level. Returns the chapters that
 * several functions share, as { name, entries, members, anchor, home }: a chapter is put where its anchor is.
 */
export function settle(list) {
  const byName = new Map(list.filter((one) => one.name).map((one) => [one.name, one]));
  for (const { name, used, text } of list)
    if (!name && /^exports\./.test(text))
      // whoever is exported is called from outside, and by itself
      for (const exported of used)
        if (byName.has(exported)) Object.assign(byName.get(exported), { chapter: true, shared: null });
  const users = new Map(list.map((one) => [one, list.filter((other) => other !== one && other.used.has(one.name))]));
  const movable = (one) =>
    one.name &&
    !one.apart &&
    !list.some((other) => other.assigned.has(one.name)) &&
    (one.node.declarations?.length ?? 1) === 1;
  const shared = [...new Set(list.map((one) => one.shared).filter(Boolean))].map((name) => ({
    name: `chapter${name[0].toUpperCase()}${name.slice(1)}`,
    entries: list.filter((one) => one.shared === name),
    locals: new Set(),
    home: null,
  }));
  const alone = list.filter((one) => one.chapter && !one.shared && one.node.type === "FunctionDeclaration");
  const owned = [...shared, ...alone].map((chapter) => {
    const entries = chapter.entries ?? [chapter];
    const inside = new Set([...entries, ...list.filter((one) => movable(one) && !one.shared)]);
    for (let size = -1; size !== inside.size; ) {
      size = inside.size;
      for (const one of inside)
        if (!entries.includes(one) && (!users.get(one).length || !users.get(one).every((user) => inside.has(user))))
          inside.delete(one);
    }
    inside.delete(chapter);
    return { chapter, inside };
  });
  // the innermost chapter that owns a declaration is the smallest one
  owned.sort((a, b) => a.inside.size - b.inside.size);
  for (const { chapter, inside } of owned) for (const one of inside) one.home ??= chapter;
  for (const chapter of shared) {
    const members = list.filter((one) => one.home === chapter);
    // where the first of its functions stands behind all that they use: Espruino does not hoist
    const used = list.filter((one) => one.home !== chapter && members.some((member) => member.used.has(one.name)));
    const from = Math.max(0, ...used.map((one) => one.start));
    chapter.anchor = members.find((one) => one.start > from) ?? members.at(-1);
    chapter.members = members;
  }
  return shared;
}

/** `code` (a CommonJS bundle of plain declarations) with what belongs to a chapter inside of it, as { code, map }. */
export function moveIntoChapters(code) {
  const list = declarations(code);
  for (const one of list) one.text = code.slice(one.node.start, one.end);
  const shared = settle(list);
  const isInside = (one, chapter) => !!one && (one.home === chapter || isInside(one.home, chapter));
  const output = new MagicString(code);
  for (const one of list) {
    const names = new Set([one.name, ...one.used]);
    for (const chapter of shared)
      for (const entry of chapter.entries) {
        if (!one.used.has(entry.name) || isInside(one, chapter)) continue;
        names.add(chapter.name);
        if (one.locals.has(chapter.name)) throw new Error(`${one.name} has a ${chapter.name} of its own`);
        for (const { name, start } of one.uses) {
          if (name !== entry.name) continue;
          if (code[start + name.length] !== "(") throw new Error(`${one.name} uses ${name} without calling it`);
          output.overwrite(start, start + name.length, `${chapter.name}().${property(name)}`);
        }
      }
    for (let home = one.home; home; home = home.home)
      for (const name of names)
        if (home.locals.has(name) && name !== home.name)
          throw new Error(`${one.name} uses ${name} and belongs into ${home.name}, which has a ${name} of its own`);
  }
  const depth = (one) => (one.home ? 1 + depth(one.home) : 0);
  for (const one of list) {
    if (!one.home) continue;
    output.appendRight(one.start, "\n");
    for (let at = one.start; at >= 0 && at < one.end; at = code.indexOf("\n", at) + 1 || one.end)
      output.appendRight(at, INDENT.repeat(depth(one)));
    const { anchor } = one.home;
    if (!anchor) output.move(one.start, one.end, one.home.node.body.start + 1);
    else if (one !== anchor) output.move(one.start, one.end, one.start < anchor.start ? anchor.start : anchor.end);
  }
  for (const { name, members, entries } of shared) {
    const given = entries.map((one) => `${property(one.name)}: ${one.name}`);
    output.prependRight(members[0].start, `function ${name}() {`);
    output.appendLeft(members.at(-1).end, `\n${INDENT}return { ${given.join(", ")} };\n}`);
  }
  return { code: output.toString(), map: output.generateMap({ hires: true }) };
}

/** The minifier shortens it: private properties end in _. */
const property = (name) => `${name.replace(/\$\d+$/, "")}_`;

export const chapters = {
  name: "chapters",
  renderChunk: (code) => moveIntoChapters(code),
};
