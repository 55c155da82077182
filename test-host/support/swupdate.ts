// swupdate, a client of hawkBit for Linux that others wrote (Debian: swupdate), as a second client of the fake and of the real
// server. And its packages, .swu: a cpio archive whose description is signed.

import { execFileSync, spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

type Context = { after(fn: () => void | Promise<void>): void };

/** Why swupdate cannot be run here; false when it can. Says so on standard error too. */
export function withoutSwupdate(): string | false {
  for (const command of ["swupdate", "openssl"]) {
    if (!spawnSync(command, ["--help"]).error) continue;
    const why = `${command} is not installed`;
    process.stderr.write(`\n!!! ${why}: no client of others was tried with hawkBit !!!\n\n`);
    return why;
  }
  // it installs as a user that may write anywhere
  return process.getuid?.() === 0 ? false : "swupdate needs root";
}

/** One file of a cpio archive, format "new ASCII with checksum". */
function entry(name: string, bytes: Buffer): Buffer {
  const hex = (value: number): string => value.toString(16).padStart(8, "0");
  const sum = bytes.reduce((total, byte) => (total + byte) >>> 0, 0);
  // inode, mode, uid, gid, links, mtime, size, device and special device in two parts each, length of the name, sum
  const fields = [1, 0o100644, 0, 0, 1, 0, bytes.length, 0, 0, 0, 0, name.length + 1, sum];
  const head = Buffer.from(`070702${fields.map(hex).join("")}${name}\0`);
  const pad = (part: Buffer) => Buffer.concat([part, Buffer.alloc((4 - (part.length % 4)) % 4)]);
  return Buffer.concat([pad(head), pad(bytes)]);
}

export interface Swupdate {
  /** A signed package: one file, which is put at `target`. */
  packageOf(content: string): Buffer;
  /** Where the file of a package is put. */
  readonly target: string;
  /** The client begins to poll. `confirm`: it says first that what was installed before its restart works. */
  start(url: string, controller: string, token: string, confirm?: boolean): void;
  stop(): Promise<void>;
  /** What it printed. */
  output(): string;
}

export function createSwupdate(t: Context): Swupdate {
  const home = mkdtempSync(join(tmpdir(), "swupdate-"));
  const at = (name: string) => join(home, name);
  const target = at("installed.txt");
  const subject = ["-subj", "/CN=test", "-addext", "extendedKeyUsage=emailProtection"];
  const made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", at("key.pem"), "-out", at("cert.pem")];
  execFileSync("openssl", [...made, ...subject], { stdio: "ignore" });
  let said = "";
  let stop = async (): Promise<void> => {};
  t.after(async () => {
    await stop();
    rmSync(home, { recursive: true, force: true });
  });
  return {
    target,
    output: () => said,
    stop: () => stop(),
    packageOf(content) {
      const sha256 = createHash("sha256").update(content).digest("hex");
      const file = `{ filename = "file.txt"; path = "${target}"; sha256 = "${sha256}"; }`;
      const description = `software = { version = "1.0"; hardware-compatibility: ["1.0"]; files: (${file}); }\n`;
      writeFileSync(at("description"), description);
      const keys = ["-signer", at("cert.pem"), "-inkey", at("key.pem"), "-outform", "DER", "-nosmimecap", "-binary"];
      execFileSync("openssl", ["cms", "-sign", "-in", at("description"), "-out", at("signature"), ...keys]);
      return Buffer.concat([
        entry("sw-description", Buffer.from(description)),
        entry("sw-description.sig", readFileSync(at("signature"))),
        entry("file.txt", Buffer.from(content)),
        entry("TRAILER!!!", Buffer.alloc(0)),
      ]);
    },
    start(url, controller, token, confirm = false) {
      const identify = `identify: ({ name = "board"; value = "a board of Linux"; });`;
      const server = `tenant = "DEFAULT"; id = "${controller}"; url = "${url}"; targettoken = "${token}";`;
      writeFileSync(
        at("swupdate.cfg"),
        `globals: { verbose = true; };\n${identify}\nsuricatta: { ${server} polldelay = 1; retry = 1; retrywait = 1; };\n`,
      );
      // sockets of its own: another one may run on this machine
      const env = { ...process.env, TMPDIR: home, RUNTIME_DIRECTORY: home };
      const args = [
        "-v",
        "-f",
        at("swupdate.cfg"),
        "-k",
        at("cert.pem"),
        "-H",
        "test:1.0",
        "-u",
        confirm ? "-c 2" : "",
      ];
      // a group of processes, which ends as one
      const child = spawn("swupdate", args, { cwd: home, env, detached: true, stdio: ["ignore", "pipe", "pipe"] });
      const kill = () => {
        if (child.pid && child.exitCode === null && child.signalCode === null)
          try {
            process.kill(-child.pid, "SIGKILL");
          } catch (error) {
            if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
          }
      };
      for (const stream of [child.stdout, child.stderr])
        stream.on("data", (data) => {
          said += data;
        });
      const over = new Promise<void>((resolve) => child.on("exit", () => resolve()));
      process.on("exit", kill);
      stop = async () => {
        kill();
        await over;
        process.off("exit", kill);
      };
    },
  };
}
