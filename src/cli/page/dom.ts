// Elements of index.html, by their ids.

export function at<T extends HTMLElement = HTMLElement>(id: string): T {
  const element = document.getElementById(id);
  if (!element) throw new Error(`index.html has no ${id}`);
  return element as T;
}
