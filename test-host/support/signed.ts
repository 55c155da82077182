// A fixture with a maintainer: images that are offered by signed manifests, one key, and what the server was asked for.

import { existsSync, readFileSync } from "node:fs";
import type { TestContext } from "node:test";
import { fsverity } from "./fsverity.ts";
import { buildImage, CLASSIC_DESCRIPTOR, type EspruinoTexts, type ImageSpec, reseal } from "./images.ts";
import { type Claims, claimsFor, cosignManifest, type Key, makeKey, signManifest } from "./release.ts";
import { type Config, type Outcome, type Fixture, type FixtureOptions, createFixture } from "./fixture.ts";
import { serveFile } from "./server.ts";

export interface Signed {
  fixture: Fixture;
  key: Key;
  /** Serves the image and its manifest; the configuration that takes them. */
  offer(image: Uint8Array, claims?: Claims, config?: Config): Promise<Config>;
  /** Serves the image and its manifest, and updates from it. Beside claims: `key` signs, `cosigner` signs too. */
  update(image: Uint8Array, claims?: Claims, config?: Config): Promise<Outcome>;
  check(image: Uint8Array, claims?: Claims, config?: Config): Promise<Outcome>;
  begin(image: Uint8Array, claims?: Claims, config?: Config): Promise<Outcome>;
  /** How often the image was asked for since this was called last. */
  fetched(): number;
}

export async function startSigned(t: Pick<TestContext, "after">, options: FixtureOptions = {}): Promise<Signed> {
  const fixture = await createFixture(t, options);
  const key = await makeKey({ exponent: 3 });
  let seen = 0;
  async function offer(image: Uint8Array, claims: Claims = {}, config: Config = {}): Promise<Config> {
    const { key: other, cosigner, ...claimed } = claims;
    const first = await signManifest(claimsFor(image, claimed), (other as Key) ?? key);
    const manifest = cosigner ? cosignManifest(first, cosigner as Key) : first;
    fixture.server.on("/fw.bin", serveFile(image));
    fixture.server.on("/m.jws", serveFile(Buffer.from(manifest, "latin1")));
    return { url: fixture.server.url("/m.jws"), keys: [key.jwk], ...config };
  }
  const { device } = fixture;
  return {
    fixture,
    key,
    offer,
    update: async (...offered) => fixture.update(await offer(...offered)),
    check: async (...offered) => {
      const config = await offer(...offered);
      return fixture.outcome(device.ota.checkForUpdate(fixture.config(config)));
    },
    begin: async (...offered) => {
      const config = await offer(...offered);
      return fixture.outcome(device.ota.begin(fixture.config(config)).then(device.engine.run("(function () {})")));
    },
    fetched() {
      const from = seen;
      seen = fixture.server.requests.length;
      return fixture.server.requests.slice(from).filter((one) => one.path === "/fw.bin").length;
    },
  };
}

/** As a published classic build: the descriptor is every build's, and the texts tell. */
export function espruinoImage(espruino: EspruinoTexts, spec: ImageSpec = {}): Uint8Array {
  return buildImage({ size: 61008, descriptor: CLASSIC_DESCRIPTOR, ...spec, espruino });
}

/** `digest` of a configuration. */
export const digestOf = (image: Uint8Array): string => `fsverity-sha256:${fsverity(image)}`;

/** A copy in which every `from` is `to`, of the same length; checksum and hash fit. */
export function withText(image: Uint8Array, from: string, to: string): Uint8Array {
  if (from.length !== to.length) throw new RangeError(`${from} and ${to} differ in length`);
  const bytes = Buffer.from(image);
  let count = 0;
  for (let at = bytes.indexOf(from, 0, "latin1"); at >= 0; at = bytes.indexOf(from, at + 1, "latin1")) {
    bytes.write(to, at, "latin1");
    count++;
  }
  if (!count) throw new RangeError(`the image does not hold ${from}`);
  return reseal(bytes);
}

const SHARED = new URL("../../../shared/", import.meta.url);

/** Published files lie beside the repository, and not everywhere. For a test's `skip`: false when they are there. */
export function missing(...paths: string[]): string | false {
  const absent = paths.filter((path) => !existsSync(new URL(path, SHARED)));
  return absent.length ? `NOT RUN: not here are ../shared/${absent.join(", ")}` : false;
}

export const published = (path: string): Uint8Array => new Uint8Array(readFileSync(new URL(path, SHARED)));
