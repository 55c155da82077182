// A module of the program: require("hours") gives it on the device.

export interface Part {
  /** the hour with which it begins */
  from: number;
  name: string;
}

/** A line for each part of the day: "18;evening". */
export function parse(text: string): Part[] {
  const parts: Part[] = [];
  text.split("\n").forEach((line) => {
    const fields = line.split(";");
    if (fields.length === 2) parts.push({ from: parseInt(fields[0], 10), name: fields[1] });
  });
  return parts;
}

/** The name of the last part that begins before `hour`. */
export function nameOf(parts: Part[], hour: number): string {
  let name = "unknown";
  parts.forEach((part) => {
    if (hour >= part.from) name = part.name;
  });
  return name;
}
