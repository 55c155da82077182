// A step of the build that keeps the module small in RAM: docs/decisions/lazy-scopes.md. The code of a module in Storage
// stays in flash, but the interpreter holds every function object of its top level in RAM: five variables, and one for each
// parameter. So a function that only one other function needs is moved into that function: it exists while that one runs.
// If several functions need the functions of a file, one function creates them together, a lazy scope: `f(x)` becomes
// `lazyBytes().f_(x)`.
//
// rollup.config.mjs says, for each file, which scope it belongs to. A function that calls a scope in a loop creates it once,
// before the loop. A function that is called in a loop does not get other functions moved into it. State of the module stays
// at the top level. The build fails for a reference to a function of a scope that is not a call, and for a name that would
// have another meaning at its new place.

import { existsSync } from "node:fs";
import { join, relative } from "node:path";
import { parse } from "acorn";
import { ancestor } from "acorn-walk";
import MagicString from "magic-string";

const INDENT = "    ";
const isFunction = (node) => /Function/.test(node.type);
const isLoop = (node) => /^(For|While|DoWhile)/.test(node.type);

/** Methods that do not change the object that they are called on. */
const READS = new Set(["indexOf", "lastIndexOf", "concat", "slice", "map", "forEach", "filter", "join", "subarray"]);

/**
 * The names that `node` uses and does not declare itself: where it uses them, which of them it assigns, which of them are
 * objects that it may change or pass on; and the names that `node` declares itself.
 */
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
  const exposed = new Set();
  const locals = declared.get(node) ?? new Set();
  const isFree = ({ name }, ancestors) =>
    !ancestors.some((one) => one !== node && declared.get(one)?.has(name)) &&
    !(isFunction(node) && declared.get(node)?.has(name) && name !== node.id?.name);
  ancestor(node, {
    Identifier(one, _, ancestors) {
      if (!isFree(one, ancestors)) return;
      uses.push({ name: one.name, start: one.start, ancestors: [...ancestors] });
      if (!isRead(one, ancestors)) exposed.add(one.name);
    },
    UpdateExpression({ argument }, _, ancestors) {
      if (argument.type === "Identifier" && isFree(argument, ancestors)) assigned.add(argument.name);
    },
    VariablePattern(one, _, ancestors) {
      const declares = ancestors.at(-2)?.type === "VariableDeclarator" || one === node.id;
      if (declares || !isFree(one, ancestors)) return;
      uses.push({ name: one.name, start: one.start, ancestors: [...ancestors] });
      assigned.add(one.name);
    },
  });
  return { uses, used: new Set(uses.map((one) => one.name)), assigned, exposed, locals };
}

/** Is the object `one` only read here? */
function isRead(one, ancestors) {
  const [above, user] = [ancestors.at(-2), ancestors.at(-3)];
  if (above?.type === "ForInStatement" || above?.type === "BinaryExpression") return true;
  if (above?.type === "CallExpression")
    return above.callee.object?.name === "Object" && above.callee.property.name === "keys";
  if (above?.type !== "MemberExpression" || above.object !== one) return above?.type === "MemberExpression";
  if (user?.type === "AssignmentExpression") return user.left !== above;
  if (user?.type === "CallExpression" && user.callee === above) return READS.has(above.property.name);
  return user?.type !== "UpdateExpression" && !(user?.type === "UnaryExpression" && user.operator === "delete");
}

/** The declarations of the top level, each with its range in the text, which includes comments before it, and its file. */
function declarations(code, fileAt) {
  const comments = [];
  const { body } = parse(code, { ecmaVersion: 5, onComment: comments });
  const list = [];
  let end = 0;
  for (const node of body) {
    const start = end + /^\s*/.exec(code.slice(end))[0].length;
    // a comment behind the statement, on the same line, belongs to it
    const behind = comments.find((one) => one.start >= node.end && !/\n/.test(code.slice(node.end, one.start)));
    end = behind?.end ?? node.end;
    const name = node.type === "FunctionDeclaration" ? node.id.name : node.declarations?.[0].id.name;
    const text = code.slice(node.start, end);
    list.push({ name, node, start, end, text, ...freeNames(node), ...fileAt(node.start), home: null });
  }
  return list;
}

/** The name in the source. If two files have a function of the same name, rollup appends a number to one of them. */
const plainName = (name) => name.replace(/\$\d+$/, "");

/** It ends in _ as a private property, so the minifier shortens it. */
const property = (name) => `${plainName(name)}_`;

/** Can this declaration be moved into a function? State of the module cannot: each call would create it again. */
function isMovable(one, list) {
  if (!one.name || one.stays || (one.node.declarations?.length ?? 1) > 1) return false;
  if (list.some((other) => other.assigned.has(one.name))) return false;
  const init = one.node.declarations?.[0].init;
  const object = init && /^(Array|Object|New|Call)Expression$/.test(init.type);
  return !object || !list.some((other) => other !== one && other.exposed.has(one.name));
}

/**
 * Sets `home` of each declaration: the function or scope that it moves into, null for the top level. Returns the scopes
 * that several functions share, as { name, entries, members, anchor, home }: a scope is put where its anchor is.
 */
function settle(list, { shared: files }) {
  const users = new Map(list.map((one) => [one, list.filter((other) => other !== one && other.used.has(one.name))]));
  const shared = Object.entries(files).map(([name, members]) => {
    const inside = list.filter((one) => members.includes(one.file) && !one.stays);
    const entries = inside.filter(
      (one) => one.node.type === "FunctionDeclaration" && users.get(one).some((user) => !inside.includes(user)),
    );
    return { name: `lazy${name[0].toUpperCase()}${name.slice(1)}`, entries, inside, locals: new Set(), home: null };
  });
  const entries = shared.flatMap((scope) => scope.entries);
  const inScope = new Set(shared.flatMap((scope) => scope.inside));
  // nothing is moved into a function that is called in a loop: it would be created again in each round
  const looped = new Set(list.flatMap((one) => one.uses.filter((use) => inLoop(use.ancestors)).map((use) => use.name)));
  const hosts = list.filter(
    (one) =>
      one.node.type === "FunctionDeclaration" &&
      (one.exported || one.stays) &&
      !inScope.has(one) &&
      !looped.has(one.name),
  );
  const movable = list.filter((one) => !entries.includes(one) && isMovable(one, list));
  const owned = [...shared, ...hosts].map((host) => {
    const first = host.entries ?? [host];
    const inside = new Set([...first, ...movable]);
    for (let size = -1; size !== inside.size; ) {
      size = inside.size;
      for (const one of inside)
        if (!first.includes(one) && (!users.get(one).length || !users.get(one).every((user) => inside.has(user))))
          inside.delete(one);
    }
    inside.delete(host);
    return { host, inside };
  });
  // if several hosts could own a declaration, it belongs to the one that owns the fewest
  owned.sort((a, b) => a.inside.size - b.inside.size);
  for (const { host, inside } of owned) for (const one of inside) one.home ??= host;
  for (const scope of shared) {
    const members = list.filter((one) => one.home === scope);
    // Espruino does not hoist: the scope must be behind every declaration that its functions use
    const used = list.filter((one) => one.home !== scope && members.some((member) => member.used.has(one.name)));
    const from = Math.max(0, ...used.map((one) => one.start));
    scope.anchor = members.find((one) => one.start > from) ?? members.at(-1);
    scope.members = members;
  }
  return shared.filter((scope) => scope.entries.length);
}

const innermost = (ancestors) => ancestors.findLast((one) => isFunction(one));

/** Is this call made in each round of a loop, and not only when the loop is left? */
function inLoop(ancestors) {
  const inner = ancestors.slice(ancestors.lastIndexOf(innermost(ancestors)) + 1);
  const loop = inner.findIndex((one) => isLoop(one));
  return loop >= 0 && !inner.slice(loop).some((one) => /^(Throw|Return)Statement$/.test(one.type));
}

/**
 * Moves the declarations of `code`, a CommonJS bundle, into their functions and scopes; returns { code, map }.
 * `fileAt(position)` returns { file, exported }: the file at this position, and the names that it exports. `options`: see
 * lazyScopes.
 */
export function moveIntoScopes(code, fileAt, options) {
  const stay = options.stay ?? {};
  const list = declarations(code, (position) => {
    const { file, exported } = fileAt(position);
    return { file, exportedNames: exported };
  });
  const product = new Set(list.filter((one) => /^exports\./.test(one.text)).flatMap((one) => [...one.used]));
  const named = new Set();
  for (const one of list) {
    const name = one.name && plainName(one.name);
    const listed = stay[one.file]?.includes(name);
    if (listed) named.add(`${one.file} ${name}`);
    one.stays = listed || product.has(one.name);
    one.exported = one.exportedNames.includes(name);
  }
  for (const [file, names] of Object.entries(stay))
    if (list.some((one) => one.file === file))
      for (const name of names) if (!named.has(`${file} ${name}`)) throw new Error(`${file} has no function ${name}`);
  const shared = settle(list, options);
  const isInside = (one, scope) => !!one && (one.home === scope || isInside(one.home, scope));
  const output = new MagicString(code);
  for (const one of list) {
    const names = new Set([one.name, ...one.used]);
    for (const scope of shared) {
      if (isInside(one, scope)) continue;
      const calls = one.uses.filter((use) => scope.entries.some((entry) => entry.name === use.name));
      if (!calls.length) continue;
      names.add(scope.name);
      if (one.locals.has(scope.name)) throw new Error(`${one.name} has a ${scope.name} of its own`);
      const loops = calls.filter((call) => inLoop(call.ancestors)).map((call) => innermost(call.ancestors));
      for (const { name, start, ancestors } of calls) {
        if (code[start + name.length] !== "(") throw new Error(`${one.name} uses ${name} without calling it`);
        const made = loops.includes(innermost(ancestors)) ? `${scope.name}Once` : `${scope.name}()`;
        output.overwrite(start, start + name.length, `${made}.${property(name)}`);
      }
      for (const { body } of new Set(loops))
        output.appendLeft(body.start + 1, `\n${INDENT}var ${scope.name}Once = ${scope.name}();`);
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

/**
 * The plugin. `root`: the folder of the sources. `shared`: the scopes, { name: [files] }. `stay`: { file: [functions] } that
 * stay at the top level although only one function calls them: they return closures that live long, and a closure keeps
 * every scope around it in memory.
 */
export function lazyScopes(root, options) {
  for (const file of [...Object.values(options.shared).flat(), ...Object.keys(options.stay ?? {})])
    if (!existsSync(join(root, file))) throw new Error(`lazy scopes: ${file} does not exist`);
  return {
    name: "lazy-scopes",
    renderChunk(code, chunk) {
      const files = [];
      let end = 0;
      for (const [id, { code: text }] of Object.entries(chunk.modules)) {
        if (!text) continue;
        const start = code.indexOf(text, end);
        if (start < 0) throw new Error(`the text of ${id} is not in the bundle`);
        end = start + text.length;
        files.push({ end, file: relative(root, id), exported: this.getModuleInfo(id).exports });
      }
      const none = { file: null, exported: [] };
      return moveIntoScopes(code, (position) => files.find((one) => position < one.end) ?? none, options);
    },
  };
}
