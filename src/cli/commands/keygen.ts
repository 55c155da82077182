// `https-ota keygen`: the key pair that releases are signed with.
import type { Command } from "commander";
import { Option } from "commander";
import { refuseExisting, writeNew } from "../ui/files.ts";
import { newPassphrase } from "../ui/passphrase.ts";
import { parseOutFile } from "./options.ts";
import { createKey, keysLine, publicFileOf } from "../release/keys.ts";

interface Options {
  out: string;
  bits: string;
  passphrase?: boolean;
}

async function keygen({ out, bits, passphrase }: Options): Promise<void> {
  const publicFile = publicFileOf(out);
  refuseExisting(out);
  refuseExisting(publicFile);
  const { pem, jwk } = await createKey(Number(bits), passphrase ? await newPassphrase() : undefined);
  writeNew(out, pem, 0o600);
  writeNew(publicFile, `${JSON.stringify({ ...jwk, alg: "PS256", use: "sig" }, null, 2)}\n`, 0o644);
  const holder = passphrase ? "Anyone who has it and its passphrase" : "Anyone who has it";
  const kind = passphrase ? "encrypted private key" : "private key";
  console.log(`${out}: ${kind}, RSA ${bits} bits. ${holder} can install firmware: keep it off the network.`);
  console.log(`${publicFile}: public key ${jwk.kid}`);
  console.log("\nFor the program on the device:\n");
  console.log(keysLine([jwk]));
}

const HELP = `
Example:
  npx https-ota keygen --out key.pem
  writes key.pem (PKCS#8, mode 0600) and key.pub.jwk, and prints the line for the device program.
  npx https-ota keygen --out key.pem --passphrase
  encrypts key.pem. The passphrase comes from HTTPS_OTA_PASSPHRASE, or is asked for in a terminal.
`;

export function addKeygen(program: Command): void {
  program
    .command("keygen")
    .description("Make the RSA key pair that releases are signed with. An existing file is never overwritten.")
    .requiredOption(
      "--out <file>",
      "where the private key goes; the public JWK goes beside it (key.pem: key.pub.jwk)",
      parseOutFile,
    )
    .addOption(new Option("--bits <bits>", "size of the key").choices(["2048", "3072", "4096"]).default("3072"))
    .option("--passphrase", "encrypt the private key: asks for a passphrase, or takes HTTPS_OTA_PASSPHRASE")
    .addHelpText("after", HELP)
    .action(keygen);
}
