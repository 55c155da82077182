// The TypeScript compiler, by require: an import of it takes the loader of the tests a second more.

import { createRequire } from "node:module";

/** @type {typeof import("typescript")} */
const ts = createRequire(import.meta.url)("typescript");
export default ts;
