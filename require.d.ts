// Types for `require("https-ota")` in a program for Espruino: @types/espruino declares no `require`. In tsconfig.json or
// jsconfig.json:
//   "types": ["espruino", "https-ota/require"]
// A project with @types/node does not need this file: `import ota = require("https-ota")` has the types there.

declare function require(name: "https-ota"): typeof import("./build/https-ota.js");
/** Espruino's other modules, where nothing else says what they are. */
declare function require(name: string): any;
