// Links to the install pages, and where they can install: browsers give the serial port to https:// and to this computer.
import type { InstallPage, Releases } from "../api.ts";
import { byId, element, replace } from "./dom.ts";

const LOCAL = /^http:\/\/(?:localhost|127(?:\.\d+){3})(?::\d+)?$/;

function itemOf({ path, name, version, boards }: InstallPage): HTMLElement {
  const link = element("a", { href: location.origin + path }, `${name} ${version}`);
  return element("li", {}, link, `: ${boards.map(({ title, chip }) => `${title} (${chip})`).join("; ")}`);
}

/** Where to open it instead. `addresses`: of the server. */
function placeOf(addresses: readonly string[], { path }: InstallPage): (Node | string)[] {
  if (isSecureContext) return ["In Chrome or Edge on a computer, with the board on its USB port."];
  const why = "This address cannot install: browsers give the serial port to https:// and to this computer alone. ";
  const local = addresses.find((one) => LOCAL.test(one));
  if (local === undefined) return [why, "Start serve without --http, or with --host 127.0.0.1."];
  const link = element("a", { href: local + path }, local + path);
  return [why, "On the computer that runs serve, open ", link, "; for others start serve without --http."];
}

export function drawInstalls({ installs, addresses }: Releases): void {
  const section = byId("installs");
  section.hidden = !installs.length;
  if (!installs.length) return;
  replace(section.querySelector("ul") as Element, installs.map(itemOf));
  byId("installs-place").replaceChildren(...placeOf(addresses, installs[0]));
}
