// The install page, as build/install/ has it: static files, which read manifest.json beside them.
import { PAGE_FILES } from "../formats/factory-folder.ts";
import { builtFile } from "../push/storage-file.ts";
import { printable } from "../ui/errors.ts";
import type { OutputFile } from "./output.ts";

export function pageFiles(): OutputFile[] {
  return PAGE_FILES.map((name) => ({ name, bytes: Buffer.from(builtFile(`install/${name}`), "latin1") }));
}

/** Browsers give the serial port to pages of this computer, and of https://. */
export const pageLines = (out: string): string[] => [
  `  python3 -m http.server --bind 127.0.0.1 --directory ${printable(out)} 8000`,
  "  http://localhost:8000/ in Chrome or Edge",
];
