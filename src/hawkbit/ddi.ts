// What hawkBit says and what it is told, in its Direct Device Integration API, version 1. Pure. A field of another type than
// expected counts as missing: a stranger may have sent it.

/** characters of a message: a limit of hawkBit */
const MAX_MESSAGE = 400;

export function isString(value: unknown): value is string {
  return typeof value === "string";
}

/** The field of an object that a stranger sent; undefined unless there is one. */
export function field(value: any, name: string): any {
  return typeof value === "object" && value ? value[name] : undefined;
}

/** The elements of an array that a stranger sent; none unless there is one. */
function items(value: any, name: string): any[] {
  const found = field(value, name);
  return Array.isArray(found) ? found : [];
}

/** Where link `name` leads; of any type, undefined when it is missing. */
function linkOf(links: unknown, name: string): unknown {
  return field(field(links, name), "href");
}

/** "HH:MM:SS" in ms; 0 for anything else. */
export function parseSleep(text: unknown): number {
  if (!isString(text) || text.length !== 8) return 0;
  const seconds = +text.substr(0, 2) * 3600 + +text.substr(3, 2) * 60 + +text.substr(6, 2);
  return seconds > 0 ? seconds * 1000 : 0;
}

/** The number of the action that link `name` of an answer names, "" when there is none: paths are built here. */
export function actionOf(links: unknown, name: string): string {
  const href = linkOf(links, name);
  if (!isString(href)) return "";
  const query = href.indexOf("?");
  const path = query < 0 ? href : href.substr(0, query);
  const id = path.substr(path.lastIndexOf("/") + 1);
  return "" + +id === id ? id : "";
}

/** URLs of the signed manifests, *.jws, among the artifacts of all software modules. */
export function findManifests(deployment: unknown, secure: boolean): string[] {
  const found: string[] = [];
  items(deployment, "chunks").forEach((chunk) => {
    items(chunk, "artifacts").forEach((artifact) => {
      const name = field(artifact, "filename");
      const links = field(artifact, "_links");
      const href = (secure && linkOf(links, "download")) || linkOf(links, "download-http") || linkOf(links, "download");
      if (isString(name) && name.substr(-4) === ".jws" && isString(href)) found.push(href);
    });
  });
  return found;
}

/** Is `text` among the messages of the action that hawkBit has kept? */
export function wasTold(answer: unknown, text: string): boolean {
  return items(field(answer, "actionHistory"), "messages").indexOf(text) >= 0;
}

/** The body of a feedback. */
export function feedback(action: string, execution: string, finished: string, text: string): object {
  return {
    id: action,
    status: { execution: execution, result: { finished: finished }, details: [text.substr(0, MAX_MESSAGE)] },
  };
}
