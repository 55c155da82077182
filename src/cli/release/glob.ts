// Patterns of --ignore: `*` and `?` within one part of a path, `**` for any number of parts. Pure.

/** A pattern without "/" is about a name in any folder; one with "/" is about the path from the folder that is given. */
export function globOf(pattern: string, flags = ""): (path: string) => boolean {
  const whole = pattern.replace(/\/+$/, "");
  const source = whole
    .replace(/^\//, "")
    .split(/(\*\*\/|\*\*|\*|\?)/)
    .map((part) => {
      if (part === "**/") return "(?:.*/)?";
      if (part === "**") return ".*";
      if (part === "*") return "[^/]*";
      if (part === "?") return "[^/]";
      return part.replace(/[\\^$.|+()[\]{}]/g, "\\$&");
    })
    .join("");
  const expression = new RegExp(`^${source}$`, flags);
  const anywhere = !whole.includes("/");
  return (path) => expression.test(anywhere ? path.slice(path.lastIndexOf("/") + 1) : path);
}
