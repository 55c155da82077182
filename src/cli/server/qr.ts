// An address as a QR code, in SVG.
import { encode } from "uqr";

/** modules around the code that readers need (ISO/IEC 18004) */
const QUIET_ZONE = 4;

/** Black on white in every colour scheme: many readers take no inverted code. */
export function qrSvg(text: string): string {
  const { data, size } = encode(text, { ecc: "M", border: QUIET_ZONE });
  const cells = data.flatMap((row, y) => row.flatMap((dark, x) => (dark ? [`M${x} ${y}h1v1h-1z`] : [])));
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${size} ${size}" shape-rendering="crispEdges">` +
    `<rect width="${size}" height="${size}" fill="#fff"/><path d="${cells.join("")}" fill="#000"/></svg>\n`
  );
}
