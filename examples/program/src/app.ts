// The program of the release: says which part of the day it is. The parts are a data file.
import { nameOf, parse } from "hours";

const ota = require("https-ota");

// files of a release have other names in Storage, which file() tells
const parts = parse(require("Storage").read(ota.file("hours.csv")) || "");

function show(): void {
  print("good " + nameOf(parts, new Date().getHours()));
}

setInterval(show, 10000);
show();

// a minute later: good if the parts were read, otherwise the release before comes back
ota.confirmAfter(60000, () => parts.length > 0);
