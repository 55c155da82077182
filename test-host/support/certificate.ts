// The test server's certificate: self-signed, made once per process. Espruino's mbedTLS speaks TLS 1.2 at most
// and checks no certificate (docs/espruino.md#tls-authenticates-nobody), so RSA-2048 with SHA-256 is the plainest thing it accepts.

type KeyType = "rsa" | "ec";

const made: { [type in KeyType]?: Promise<{ key: string; cert: string }> } = {};

/** Key and certificate (PEM) for `localhost` and 127.0.0.1. */
export function certificate(keyType: KeyType = "rsa"): Promise<{ key: string; cert: string }> {
  made[keyType] ??= make(keyType);
  return made[keyType];
}

async function make(keyType: KeyType): Promise<{ key: string; cert: string }> {
  // most tests need none, and it takes a while to load
  const { generate } = await import("selfsigned");
  const pems = await generate([{ name: "commonName", value: "localhost" }], {
    keyType,
    keySize: 2048,
    curve: "P-256",
    algorithm: "sha256",
    extensions: [
      { name: "basicConstraints", cA: true },
      {
        name: "subjectAltName",
        altNames: [
          { type: 2, value: "localhost" },
          { type: 7, ip: "127.0.0.1" },
        ],
      },
    ],
  });
  return { key: pems.private, cert: pems.cert };
}
