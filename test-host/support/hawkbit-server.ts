// Starts a real hawkBit update server on loopback: hawkBit's own jars from Maven Central, H2 in memory, a main class of ten
// lines. Needs Java 17 or newer, its compiler, and Maven. What it downloads stays in the folder for temporary files.

import { execFile, spawn, spawnSync } from "node:child_process";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Entry, Hawkbit } from "./hawkbit.ts";
import { sleep } from "./fixture.ts";

const run = promisify(execFile);
/** The newest version whose starter for devices was found on Maven Central. The server's own jar was not found there. */
export const VERSION = "0.3.0M7";
const CACHE = join(tmpdir(), `https-ota-hawkbit-${VERSION}`);
const DOWNLOAD_MS = 300_000;
const START_MS = 240_000;

const dependency = (group: string, name: string, more = "") =>
  `<dependency><groupId>${group}</groupId><artifactId>${name}</artifactId>${more}</dependency>`;
const ofHawkbit = `<version>${VERSION}</version>`;
const POM = `<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>test</groupId><artifactId>test</artifactId><version>1</version>
<dependencyManagement><dependencies>
${dependency("org.eclipse.hawkbit", "hawkbit-parent", `${ofHawkbit}<type>pom</type><scope>import</scope>`)}
</dependencies></dependencyManagement>
<dependencies>
${dependency("org.eclipse.hawkbit", "hawkbit-boot-starter-ddi-api", ofHawkbit)}
${dependency("org.eclipse.hawkbit", "hawkbit-boot-starter-mgmt-api", ofHawkbit)}
${dependency("com.h2database", "h2")}
</dependencies></project>`;

/** As hawkBit's own hawkbit-update-server has it, which brings pages for browsers too. */
const MAIN = `package app;
@org.springframework.boot.autoconfigure.SpringBootApplication
@org.eclipse.hawkbit.autoconfigure.security.EnableHawkbitManagedSecurityConfiguration
public class Start {
  public static void main(String[] args) { org.springframework.boot.SpringApplication.run(Start.class, args); }
}`;

/** Why the server can't be started here; "" where it can. */
export function whyNot(): string {
  // it fetches some 140 jars the first time: `npm run test:all` does, and who asks for it
  if (process.env.HAWKBIT !== "1" && process.env.CAMPAIGN !== "1") return "HAWKBIT=1 is not set";
  for (const command of ["java", "javac", "mvn"])
    if (spawnSync(command, ["-version"]).error) return `no ${command} on this machine`;
  return "";
}

/** The class path, from the cache, or downloaded now. Rejects where Maven Central can't be reached. */
async function classPath(): Promise<string> {
  const kept = join(CACHE, "classpath.txt");
  if (existsSync(kept)) return readFileSync(kept, "utf8");
  mkdirSync(CACHE, { recursive: true });
  const work = mkdtempSync(join(CACHE, "build-"));
  writeFileSync(join(work, "pom.xml"), POM);
  mkdirSync(join(work, "app"));
  writeFileSync(join(work, "app", "Start.java"), MAIN);
  const repository = `-Dmaven.repo.local=${join(CACHE, "repository")}`;
  const goal = ["-q", "-B", repository, "dependency:build-classpath", "-Dmdep.outputFile=cp.txt"];
  await run("mvn", goal, { cwd: work, timeout: DOWNLOAD_MS });
  const jars = readFileSync(join(work, "cp.txt"), "utf8").trim();
  const classes = join(CACHE, "classes");
  await run("javac", ["--release", "8", "-nowarn", "-cp", jars, "-d", classes, join(work, "app", "Start.java")]);
  writeFileSync(join(work, "classpath.txt"), `${classes}:${jars}`);
  renameSync(join(work, "classpath.txt"), kept);
  rmSync(work, { recursive: true });
  return readFileSync(kept, "utf8");
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
}

export type RolloutStatus = { status: string; groups: { status: string; targets: number }[] };

/** The real server, with what only it can do. */
export interface RealHawkbit extends Hawkbit {
  /** Targets by a filter, in `groups` groups; paused when more than `errors` percent of a group fail. Gives its number. */
  startRollout(name: string, release: number, filter: string, groups: number, errors: number): Promise<number>;
  rollout(id: number): Promise<RolloutStatus>;
  /** The last action of each target, by its name: "finished", "error", "pending", "scheduled" ... */
  actionOf(controller: string): Promise<{ id: number; status: string } | undefined>;
}

export async function startHawkbit(): Promise<{ hawkbit: RealHawkbit; close(): Promise<void> }> {
  const path = await classPath();
  const port = await freePort();
  const folder = mkdtempSync(join(tmpdir(), "https-ota-hawkbit-run-"));
  const url = `http://127.0.0.1:${port}`;
  const settings = {
    "server.port": port,
    "server.address": "127.0.0.1",
    "spring.security.user.name": "admin",
    "spring.security.user.password": "{noop}admin",
    "spring.main.allow-bean-definition-overriding": true,
    "hawkbit.dmf.rabbitmq.enabled": false,
    "hawkbit.server.ddi.security.authentication.targettoken.enabled": true,
    "hawkbit.rollout.scheduler.fixedDelay": 500,
    // of a client whose clock no test moves
    "hawkbit.controller.pollingTime": "00:00:01",
    "hawkbit.controller.minPollingTime": "00:00:01",
    "org.eclipse.hawkbit.repository.file.path": join(folder, "artifacts"),
  };
  const args = Object.entries(settings).map(([name, value]) => `--${name}=${value}`);
  const java = spawn(
    "java",
    [
      "-Xmx600m",
      "-XX:TieredStopAtLevel=1",
      "--add-opens",
      "java.base/java.lang=ALL-UNNAMED",
      "-cp",
      path,
      "app.Start",
    ].concat(args),
    { cwd: folder, stdio: ["ignore", "pipe", "pipe"] },
  );
  let output = "";
  for (const stream of [java.stdout, java.stderr])
    stream.on("data", (data) => {
      output = (output + data).slice(-20_000);
    });
  const ended = new Promise<void>((resolve) => java.on("close", () => resolve()));

  async function request(method: string, at: string, body?: unknown): Promise<any> {
    const form = body instanceof FormData;
    const headers: Record<string, string> = { Authorization: `Basic ${btoa("admin:admin")}` };
    if (body && !form) headers["Content-Type"] = "application/json";
    const sent = form ? body : body ? JSON.stringify(body) : undefined;
    const answer = await fetch(`${url}/rest/v1${at}`, { method, headers, body: sent as any });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${at}: ${answer.status} ${text}\n${output.slice(-3000)}`);
    return text ? JSON.parse(text) : undefined;
  }
  async function close(): Promise<void> {
    java.kill("SIGKILL");
    await ended;
    rmSync(folder, { recursive: true, force: true });
  }
  const end = performance.now() + START_MS;
  for (;;) {
    const up = await request("GET", "/targets").then(
      () => true,
      () => false,
    );
    if (up) break;
    if (java.exitCode !== null || performance.now() > end) {
      await close();
      throw new Error(`hawkBit did not start:\n${output}`);
    }
    await sleep(300);
  }

  const hawkbit: RealHawkbit = {
    url,
    async addTarget(controller, token) {
      await request("POST", "/targets", [{ controllerId: controller, name: controller, securityToken: token }]);
    },
    async addRelease(name, files) {
      const [{ id }] = await request("POST", "/softwaremodules", [{ name, version: "1", type: "os", vendor: "test" }]);
      for (const [filename, bytes] of Object.entries(files)) {
        const form = new FormData();
        form.append("file", new Blob([bytes as any]), filename);
        await request("POST", `/softwaremodules/${id}/artifacts`, form);
      }
      const sets = [{ name, version: "1", type: "os", modules: [{ id }] }];
      return (await request("POST", "/distributionsets", sets))[0].id;
    },
    async assign(controller, release, { window } = {}) {
      const body: any = { id: release, type: "forced" };
      // on the first of January 2099
      if (window) body.maintenanceWindow = { schedule: "0 0 0 1 1 ? 2099", duration: "01:00:00", timezone: "+00:00" };
      const { assignedActions } = await request("POST", `/targets/${controller}/assignedDS`, body);
      return assignedActions[0].id;
    },
    async cancel(controller, action) {
      await request("DELETE", `/targets/${controller}/actions/${action}`);
    },
    async history(controller, action) {
      const { content } = await request("GET", `/targets/${controller}/actions/${action}/status?limit=200&sort=id:ASC`);
      return content.flatMap(({ type, messages }: any) =>
        messages.map((message: string | null): Entry => ({ type, message: message ?? "" })),
      );
    },
    async attributes(controller) {
      return (await request("GET", `/targets/${controller}/attributes`)) ?? {};
    },
    async startRollout(name, release, filter, groups, errors) {
      const { id } = await request("POST", "/rollouts", {
        name,
        distributionSetId: release,
        targetFilterQuery: filter,
        amountGroups: groups,
        type: "forced",
        successCondition: { condition: "THRESHOLD", expression: "100" },
        successAction: { action: "NEXTGROUP", expression: "" },
        errorCondition: { condition: "THRESHOLD", expression: String(errors) },
        errorAction: { action: "PAUSE", expression: "" },
      });
      for (let n = 0; n < 200 && (await hawkbit.rollout(id)).status !== "ready"; n++) await sleep(200);
      await request("POST", `/rollouts/${id}/start`);
      return id;
    },
    async rollout(id) {
      const { status } = await request("GET", `/rollouts/${id}`);
      const { content } = await request("GET", `/rollouts/${id}/deploygroups?limit=100`);
      return {
        status,
        groups: content.map((group: any) => ({ status: group.status, targets: group.totalTargets })),
      };
    },
    async actionOf(controller) {
      const { content } = await request("GET", `/targets/${controller}/actions?limit=1&sort=id:DESC`);
      if (!content.length) return undefined;
      const entries = await hawkbit.history(controller, content[0].id);
      return { id: content[0].id, status: entries.at(-1)?.type ?? "" };
    },
  };
  return { hawkbit, close };
}
