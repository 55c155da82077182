// The Espruino program that `serve` prints. ES5 with nothing hoisted: it has to run when it is pasted into the Web IDE.
import { keysLine, type PublicJwk } from "../release/keys.ts";

export interface Trust {
  /** the manifest's signer; without one the digest of this very image */
  jwk?: PublicJwk;
  /** "sha256:...", of an image; without both, the keys are to be filled in */
  fsverity?: string;
  /** in ms: the device asks again after that */
  poll?: number;
}

function trustLine({ jwk, fsverity }: Trust): string {
  if (jwk) return keysLine([jwk]);
  return fsverity ? `digest: "fsverity-${fsverity}",` : "keys: [], // of the one who signed it: keygen printed them";
}

const PLAIN = "// the module has to be on the device or in the Web IDE's modules folder: see the README";
/** An update ends with a restart, after which nothing in memory asks again. */
const WORKING = `// the device needs the loader and the module first: npx https-ota init, then a reset
// send this to flash (.bootcde), where it runs beside the release: what is only in memory ends with the first update`;

export function espruinoSnippet(url: string, trust: Trust): string {
  const go = trust.poll ? `setInterval(update, ${trust.poll})` : "update()";
  return `${trust.poll ? WORKING : PLAIN}
var ota = require("https-ota");
function installed(result) {
  if (!result.partition) return${trust.poll ? "" : ' print(result.upToDate ? "up to date" : "not due")'};
  print("installed${trust.fsverity ? ' in " + result.partition.label + "' : ""}, restarting");
  ota.restart();
}
function failed(error) {
  print(error.name + ": " + error.message);
}
function update() {
  ota.update({
    url: ${JSON.stringify(url)},
    ${trustLine(trust)}${trust.poll ? "\n    allowUnconfirmed: true, // for development only: nothing is left to go back to" : ""}
    headers: { "X-Device": getSerial() }, // the page of serve names the device by it
    onEvent: function (name, bytes, total) {
      if (name === "WRITE_FLASH") print(bytes + " of " + total);
    }
  }).then(installed, failed);
}
// name and password of a network from which this computer can be reached
require("Wifi").connect("NETWORK", { password: "PASSWORD" }, function (error) {
  if (error) print("Wifi: " + error);
  else ${go};
});
`;
}
