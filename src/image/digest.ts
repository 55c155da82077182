// The text of an fs-verity digest, as a configuration and a manifest have it. Pure.

/** How a digest begins where it is written down: in a configuration and in a manifest. */
export const enum Prefix {
  CONFIG = "fsverity-sha256:",
  MANIFEST = "sha256:",
}

/**
 * The digits of "<prefix><64 hexadecimal digits>" in lower case; "" for any other text.
 * @chapter bytes
 */
export function digitsOf(text: string, prefix: string): string {
  const digits = text.substr(prefix.length).toLowerCase();
  if (text.substr(0, prefix.length) !== prefix || digits.length !== 64) return "";
  for (let i = 0; i < 64; i++) if ("0123456789abcdef".indexOf(digits[i]) < 0) return "";
  return digits;
}
