// npm run pictures: draws the pictures of the documents. pictures.test.ts says which of them are not fresh.

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { CHROMIUM, MISSING } from "../tests/browser/chromium.ts";
import { DRAWINGS, drawingFile, PHOTO, PHOTO_FILE } from "./list.ts";
import { digestIn, drawServePage, sourceDigest } from "./serve-page.ts";

const NAMES = [...Object.keys(DRAWINGS), PHOTO];
const USAGE = `usage: npm run pictures [-- NAME...]
Draws docs/NAME.svg and docs/${PHOTO}.png; NAME is ${NAMES.join(", ")}.
Without names all of them; ${PHOTO} then only when its sources have changed, because
no two pictures of a browser are the same. It needs Chromium.`;

const isFresh = (): boolean => existsSync(PHOTO_FILE) && digestIn(readFileSync(PHOTO_FILE)) === sourceDigest();

async function draw(name: string, isNamed: boolean): Promise<void> {
  if (name === PHOTO && !isNamed && isFresh()) return console.log(`docs/${PHOTO}.png is fresh`);
  if (name === PHOTO && !CHROMIUM) {
    console.error(`docs/${PHOTO}.png: ${MISSING}`);
    process.exitCode = 1;
    return;
  }
  const [file, content] =
    name === PHOTO ? [PHOTO_FILE, await drawServePage()] : [drawingFile(name), await DRAWINGS[name]()];
  writeFileSync(file, content);
  console.log(`docs/${file.pathname.split("/").at(-1)}: ${content.length} bytes`);
}

const named = process.argv.slice(2);
const unknown = named.find((name) => !NAMES.includes(name));
if (unknown !== undefined) {
  console.error(unknown === "--help" ? USAGE : `no picture ${unknown}\n${USAGE}`);
  process.exitCode = unknown === "--help" ? 0 : 2;
} else for (const name of named.length ? named : NAMES) await draw(name, named.length > 0);
