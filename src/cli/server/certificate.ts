// The development server's certificate. Espruino's mbedTLS speaks TLS 1.2 at most and checks no certificate
// (docs/espruino.md#tls-authenticates-nobody), so RSA-2048 with SHA-256 is enough: every build accepts it.
import { isIPv4 } from "node:net";
import { generate } from "selfsigned";

/** Key and certificate in PEM, for localhost and these names or addresses. */
export async function createCertificate(hosts: readonly string[]): Promise<{ key: string; cert: string }> {
  const names = [...new Set(["localhost", "127.0.0.1", ...hosts])];
  const { private: key, cert } = await generate([{ name: "commonName", value: "https-ota serve" }], {
    keyType: "rsa",
    keySize: 2048,
    algorithm: "sha256",
    extensions: [
      { name: "basicConstraints", cA: false },
      {
        name: "subjectAltName",
        altNames: names.map((name) =>
          isIPv4(name) ? { type: 7 as const, ip: name } : { type: 2 as const, value: name },
        ),
      },
    ],
  });
  return { key, cert };
}
