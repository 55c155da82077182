// Elements with text. Nothing here takes markup: text of devices and files stays text.

export type Child = Node | string | null;

export function element<K extends keyof HTMLElementTagNameMap>(
  name: K,
  attributes: Record<string, string> = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  for (const child of children) if (child !== null) made.append(child);
  return made;
}

export function svgElement(name: string, attributes: Record<string, string | number> = {}, text = ""): SVGElement {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  made.textContent = text;
  return made;
}

export function byId<T extends HTMLElement = HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (!found) throw new Error(`no element ${id}`);
  return found as T;
}

/** Puts `next` in the place of what is there, unless it is the same: the focus and an open list stay. */
export function replace(parent: Element, next: readonly Element[]): void {
  for (const [i, child] of next.entries()) {
    const old = parent.children[i];
    if (!old) parent.append(child);
    else if (!old.isEqualNode(child)) old.replaceWith(child);
  }
  while (parent.children.length > next.length) parent.lastElementChild?.remove();
}

const ROLES: Record<string, string> = {
  table: "table",
  thead: "rowgroup",
  tbody: "rowgroup",
  tr: "row",
  th: "columnheader",
};

/** On a narrow window the style sheet makes blocks of the table, and a browser then forgets that it is one. */
export function keepTableRoles(): void {
  for (const [name, role] of Object.entries(ROLES))
    for (const part of document.querySelectorAll(`.stacked:is(${name}), .stacked ${name}`))
      part.setAttribute("role", role);
}

/** Calls `draw` once for all calls of a tenth of a second: events come faster than anybody reads. */
export function gathered(draw: () => void): () => void {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    setTimeout(() => {
      asked = false;
      draw();
    }, 100);
  };
}
