// Where Chromium is: Debian's package `chromium`, or CHROMIUM=/path.
import { existsSync } from "node:fs";

const PLACES = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

/** Undefined where there is none. */
export const CHROMIUM = (process.env.CHROMIUM ? [process.env.CHROMIUM] : PLACES).find((one) => existsSync(one));
export const MISSING = "no Chromium (apt-get install chromium, or CHROMIUM=/path)";
