// `ca`, `cert` and `key` of a configuration: in the one form that every build of the interpreter reads, to the first origin
// only. The contract script `tls` says what the interpreter makes of the others.

import assert from "node:assert/strict";
import { X509Certificate, createPrivateKey } from "node:crypto";
import type { AddressInfo } from "node:net";
import { createServer, type TLSSocket } from "node:tls";
import { test, type TestContext } from "node:test";
import { certificate } from "../../support/certificate.ts";
import { createDevice } from "../../sim/device.ts";
import { ESPRUINO, runInEngine, warnWithoutEngine } from "../../real-espruino/engine.ts";
import { listening } from "../../sim/espruino/socket.ts";
import { failsCleanly, createFixture } from "../../support/fixture.ts";

warnWithoutEngine();

const PEM = await certificate();
const binary = (bytes: Uint8Array) => Buffer.from(bytes).toString("latin1");
const DER = {
  cert: binary(new X509Certificate(PEM.cert).raw),
  key: binary(createPrivateKey(PEM.key).export({ format: "der", type: "pkcs8" })),
};
const base64 = (pem: string) => pem.replace(/-----[^-]+-----|\s/g, "");

const FORMS: [string, string][] = [
  ["PEM", PEM.cert],
  ["PEM with CR LF", PEM.cert.replaceAll("\n", "\r\n")],
  ["PEM behind a line end, as a template gives it", `\n${PEM.cert}`],
  ["the base64 alone", base64(PEM.cert)],
];
for (const field of ["ca", "cert", "key"])
  for (const [what, value] of [...FORMS, ["a key in PEM", PEM.key] as [string, string]])
    test(`${field} as ${what} is refused at once, and the form that works is named`, async (t) => {
      const fixture = await createFixture(t, { tls: true });
      const outcome = await fixture.update({ [field]: value, retries: 5 });
      await failsCleanly(fixture, outcome, "INVALID_ARG", { says: new RegExp(`^${field} .*DER.*atob`) });
      assert.equal(fixture.server.requests.length, 0);
    });

test("a name of at most 100 characters is the engine's: it takes that for a file", async (t) => {
  const fixture = await createFixture(t, { tls: true });
  for (const name of ["ca.pem", "x".repeat(100)]) {
    const { error } = await fixture.update({ ca: name });
    assert.equal(error?.name, "ESP_ERR_HTTP_CONNECT");
    assert.match(error.message, /a certificate from a file/);
  }
});

/** A server that asks its clients for a certificate, and what they showed. */
async function curious(t: TestContext): Promise<{ url: string; shown: string[] }> {
  const shown: string[] = [];
  const server = createServer({ ...PEM, requestCert: true, rejectUnauthorized: false }, (socket: TLSSocket) => {
    socket.on("error", () => {});
    shown.push(socket.getPeerX509Certificate()?.fingerprint256 ?? "none");
    socket.once("data", () => socket.end("HTTP/1.1 403 x\r\nContent-Length: 0\r\n\r\n"));
  });
  server.on("tlsClientError", () => {});
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  listening.add(port);
  t.after(() => {
    listening.delete(port);
    server.close();
  });
  return { url: `https://localhost:${port}/fw.bin`, shown };
}

const OWN = new X509Certificate(PEM.cert).fingerprint256;

test("cert and key as DER reach the server that asks for them", async (t) => {
  const fixture = await createFixture(t);
  const { url, shown } = await curious(t);
  const outcome = await fixture.update({ url, ca: DER.cert, cert: DER.cert, key: DER.key });
  await failsCleanly(fixture, outcome, "FAIL", { says: /403/ });
  await failsCleanly(fixture, await fixture.update({ url }), "FAIL", { says: /403/ });
  assert.deepEqual(shown, [OWN, "none"]);
});

test("the same in the real interpreter, by atob of the base64 between the lines", {
  skip: ESPRUINO ? false : "ESPRUINO is not set",
}, async (t) => {
  const { url, shown } = await curious(t);
  const run = await runInEngine(
    createDevice(),
    `var config = { url: ${JSON.stringify(url)}, insecure: true, retries: 0,
        cert: atob("${base64(PEM.cert)}"), key: atob("${base64(PEM.key)}") };
      function ended(error) {
        reportError(error);
        if (!config.cert) return finish();
        config.cert = config.key = undefined;
        ota.update(config).then(report, ended);
      }
      ota.update(config).then(report, ended);`,
  );
  assert.deepEqual(
    run.reports.map(({ error }) => error),
    ["HTTP status 403", "HTTP status 403"],
    run.output,
  );
  assert.deepEqual(shown, [OWN, "none"]);
});
