// The largest manifest that a device reads. Pure: the command on the host signs within the same limits.

/** An enum, which takes no variable. */
export const enum Jws {
  /** in bytes, of the whole file */
  MAX_MANIFEST = 32768,
  // in characters of base64url
  MAX_HEADER = 512, // `sign` makes 124
  MAX_SIGNATURE = 683, // of 4096 bits
}

/** Member `typ` of the header. */
export const TYPE = "https-ota+jws";
