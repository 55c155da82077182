// The Espruino program that `serve` prints. ES5 with nothing hoisted: it has to run when it is pasted into the Web IDE.
import { keysLine, type PublicJwk } from "../release/keys.ts";

export interface Trust {
  /** the manifest's signer; without one the digest of this very image */
  jwk?: PublicJwk;
  /** "sha256:..." */
  fsverity: string;
}

export function espruinoSnippet(url: string, { jwk, fsverity }: Trust): string {
  return `// the module has to be on the device or in the Web IDE's modules folder: see the README
var ota = require("https-ota");
function installed(result) {
  if (result.upToDate) return print("up to date");
  print("installed in " + result.partition.label + ", restarting");
  ota.restart();
}
function failed(error) {
  print(error.name + ": " + error.message);
}
function update() {
  ota.update({
    url: ${JSON.stringify(url)},
    ${jwk ? keysLine([jwk]) : `digest: "fsverity-${fsverity}",`}
    onEvent: function (name, bytes, total) {
      if (name === "WRITE_FLASH") print(bytes + " of " + total);
    }
  }).then(installed, failed);
}
// name and password of a network from which this computer can be reached
require("Wifi").connect("NETWORK", { password: "PASSWORD" }, function (error) {
  if (error) print("Wifi: " + error);
  else update();
});
`;
}
