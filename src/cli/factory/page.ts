// The install page, as build/install/ has it: static files, which read manifest.json beside them.
import { builtFile } from "../push/storage-file.ts";
import type { OutputFile } from "./output.ts";

const NAMES = ["index.html", "install.js", "install.css", "licenses.txt"];

export function pageFiles(): OutputFile[] {
  return NAMES.map((name) => ({ name, bytes: Buffer.from(builtFile(`install/${name}`), "latin1") }));
}
