// Limits of the manifests that a device reads. Pure: the command on the host signs within the same limits.

/** An enum takes no variable. */
export const enum Jws {
  /** in bytes, of the whole file */
  MAX_MANIFEST = 32768,
  // in characters of base64url
  MAX_HEADER = 512, // the headers of `sign` have 124
  MAX_SIGNATURE = 683, // an RSA-4096 signature
}

/** Value of `typ` in the header. */
export const TYPE = "https-ota+jws";
