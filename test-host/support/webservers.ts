// Real web servers, for what a scripted one would not show: nginx, Caddy and Varnish, where they are installed
// (Debian: nginx-light, caddy, varnish). On 127.0.0.1, a free port and a self-signed certificate; each ends with its test.

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { certificate } from "./certificate.ts";

type Context = { after(fn: () => void | Promise<void>): void };

export type WebServer = {
  /** `https://localhost:PORT`, or http without TLS. */
  origin: string;
  /** What it serves. */
  folder: string;
};
export type WebServerOptions = {
  /** Default: true. */
  tls?: boolean;
  /** Only who asks for `localhost` by name (SNI) gets a certificate. */
  sni?: boolean;
  /** More lines for nginx's `server`. */
  nginx?: string;
};

const PATHS = `${process.env.PATH}:/usr/sbin:/usr/local/sbin`;
const START_MS = 10_000;

/** Why `name` cannot be run here; false when it can. Says so on standard error too. */
export function missing(name: "nginx" | "caddy" | "varnishd" | "mosquitto"): string | false {
  const version = { nginx: "-v", caddy: "version", varnishd: "-V", mosquitto: "-h" }[name];
  const found = spawnSync(name, [version], { env: { ...process.env, PATH: PATHS } });
  if (!found.error) return false;
  const why = `${name} is not installed`;
  process.stderr.write(`\n!!! ${why}: what it does was not tried !!!\n\n`);
  return why;
}

export async function freePort(): Promise<number> {
  const listener = createServer();
  await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
  const { port } = listener.address() as AddressInfo;
  await new Promise((resolve) => listener.close(resolve));
  return port;
}

const answers = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.on("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", () => resolve(false));
  });

/** Starts it and waits until it listens; throws what it said when it ends instead. Gives a function that ends it. */
export async function run(
  t: Context,
  command: string,
  args: string[],
  home: string,
  port: number,
): Promise<() => Promise<void>> {
  const env = { PATH: PATHS, HOME: home, XDG_CONFIG_HOME: home, XDG_DATA_HOME: home };
  const child: ChildProcess = spawn(command, args, { cwd: home, env, stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  let ended = false;
  for (const stream of [child.stdout, child.stderr])
    stream?.on("data", (data) => {
      said += data;
    });
  const over = new Promise<void>((resolve) => {
    child.on("close", () => {
      ended = true;
      resolve();
    });
  });
  const kill = () => child.kill("SIGKILL");
  process.on("exit", kill);
  async function stop(): Promise<void> {
    child.kill("SIGTERM");
    const timer = setTimeout(kill, 3000);
    await over;
    clearTimeout(timer);
    process.off("exit", kill);
  }
  t.after(async () => {
    await stop();
    rmSync(home, { recursive: true, force: true });
  });
  const end = performance.now() + START_MS;
  while (!(await answers(port))) {
    if (ended || performance.now() > end) throw new Error(`${command} did not start:\n${said}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return stop;
}

/** A folder of its own with the files by name, and key and certificate beside them. */
async function house(files: Record<string, Uint8Array>): Promise<{ home: string; folder: string }> {
  const home = mkdtempSync(join(tmpdir(), "web-server-"));
  const pems = await certificate();
  writeFileSync(join(home, "cert.pem"), pems.cert);
  writeFileSync(join(home, "key.pem"), pems.key);
  const folder = mkdtempSync(join(home, "www-"));
  for (const [name, bytes] of Object.entries(files)) writeFileSync(join(folder, name), bytes);
  return { home, folder };
}

export async function startNginx(
  t: Context,
  files: Record<string, Uint8Array>,
  options: WebServerOptions = {},
): Promise<WebServer> {
  const { home, folder } = await house(files);
  const port = await freePort();
  const tls = options.tls ?? true;
  const listen = `listen 127.0.0.1:${port}${tls ? " ssl" : ""}`;
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((one) => `${one}_temp_path ${home}/temp;`);
  writeFileSync(
    join(home, "nginx.conf"),
    `daemon off; master_process off; pid ${home}/pid; error_log stderr;
    events {}
    http {
      access_log off; ${temporary.join(" ")}
      ${tls ? "ssl_certificate cert.pem; ssl_certificate_key key.pem;" : ""}
      ${options.sni ? `server { ${listen} default_server; ssl_reject_handshake on; }` : ""}
      server { ${listen}; server_name localhost; root ${folder}; ${options.nginx ?? ""} }
    }`,
  );
  await run(t, "nginx", ["-e", "stderr", "-p", home, "-c", join(home, "nginx.conf")], home, port);
  return { origin: `${tls ? "https" : "http"}://localhost:${port}`, folder };
}

/**
 * The Linux interpreter offers no cipher suite that Go has by default; RSA key exchange is one that both can have, where
 * this Caddy still knows it.
 */
export async function startCaddy(
  t: Context,
  files: Record<string, Uint8Array>,
  options: WebServerOptions = {},
): Promise<WebServer> {
  const { home, folder } = await house(files);
  const port = await freePort();
  writeFileSync(
    join(home, "Caddyfile"),
    `{
  admin off
  auto_https disable_redirects
  ${options.sni ? "" : "default_sni localhost"}
}
https://localhost:${port} {
  bind 127.0.0.1
  tls ${home}/cert.pem ${home}/key.pem {
    protocols tls1.2 tls1.2
    ciphers TLS_RSA_WITH_AES_128_GCM_SHA256
  }
  root * ${folder}
  file_server
}
`,
  );
  await run(t, "caddy", ["run", "--config", "Caddyfile", "--adapter", "caddyfile"], home, port);
  return { origin: `https://localhost:${port}`, folder };
}

/** A cache in front of `origin`, with these lines of VCL; returns its own origin. */
export async function startVarnish(t: Context, origin: string, vcl: string): Promise<string> {
  const home = mkdtempSync(join(tmpdir(), "web-server-"));
  const port = await freePort();
  const { port: behind } = new URL(origin);
  const config = join(home, "default.vcl");
  writeFileSync(config, `vcl 4.1;\nbackend default { .host = "127.0.0.1"; .port = "${behind}"; }\n${vcl}\n`);
  const storage = ["-s", "malloc,32m", "-n", join(home, "work"), "-j", "none"];
  await run(t, "varnishd", ["-F", "-a", `127.0.0.1:${port}`, "-f", config, ...storage], home, port);
  return `http://localhost:${port}`;
}
