// A POST of report(): who may send one, how large and how slow it may be, and what it is answered.
import type { IncomingMessage } from "node:http";
import { oneLine, systemReason } from "../ui/errors.ts";
import type { Reported } from "./api.ts";
import type { Collector } from "./collector.ts";
import type { HostNames } from "./host-names.ts";

/** In bytes. A report names the files of the release, whose names came in a manifest of at most as many bytes. */
const MOST_BODY = 32768;
/** ms: devices give up after 20 s, and send a report at once */
const BODY_TIME = 10_000;

export interface Taken {
  status: number;
  /** for the sender; "" when the report was taken */
  text: string;
  /** for the log */
  note?: string;
}

const refused = (status: number, text: string): Taken => ({ status, text });

/** The whole body; what is wrong with it when it is too long, too slow or cut. */
function readBody(request: IncomingMessage): Promise<Buffer | Taken> {
  const tooLarge = refused(413, `a report has at most ${MOST_BODY} bytes`);
  if (Number(request.headers["content-length"] ?? 0) > MOST_BODY) return Promise.resolve(tooLarge);
  return new Promise((resolve) => {
    const parts: Buffer[] = [];
    let length = 0;
    function end(result: Buffer | Taken): void {
      clearTimeout(timer);
      request.off("data", onData);
      request.resume(); // what comes behind it is read and dropped, until the time of the request is over
      resolve(result);
    }
    function onData(part: Buffer): void {
      parts.push(part);
      length += part.length;
      if (length > MOST_BODY) end(tooLarge);
    }
    const timer = setTimeout(() => end(refused(408, `the report did not arrive within ${BODY_TIME} ms`)), BODY_TIME);
    request.on("data", onData);
    request.on("end", () => end(Buffer.concat(parts)));
    const cut = () => end(refused(400, "the report was cut off"));
    request.on("error", cut).on("close", cut);
  });
}

/** Undefined when it is not JSON. */
function parse(body: Buffer): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body));
  } catch {
    return undefined;
  }
}

function noteOf({ serial, condition, rollbackReason, last, differs }: Reported): string {
  const why = { "rolled back": rollbackReason, failed: last, differs, trial: "", ok: "" }[condition];
  return oneLine(`${serial} ${condition}${why && `: ${why}`}`);
}

/** A browser names in Origin the page that sends something; devices send no such field. */
function senderProblem({ headers }: IncomingMessage, hosts: HostNames): Taken | null {
  const { origin, host } = headers;
  if (origin !== undefined && !hosts.isOwn(origin, host))
    return refused(403, "reports are taken from devices, and not from the page of another server");
  if (!/^application\/json\s*(?:;|$)/i.test(headers["content-type"] ?? ""))
    return refused(415, "expected Content-Type: application/json, as report() sends it");
  if (headers["content-encoding"] !== undefined) return refused(415, "expected a report without Content-Encoding");
  return null;
}

export async function takeReport(
  request: IncomingMessage,
  address: string,
  collector: Collector | null,
  hosts: HostNames,
): Promise<Taken> {
  if (!collector) return refused(404, "no reports are collected here: start serve with --collect FILE");
  const problem = senderProblem(request, hosts);
  if (problem) return problem;
  const body = await readBody(request);
  if ("status" in body) return body;
  const value = parse(body);
  if (value === undefined) return refused(400, "expected JSON, as report() sends it");
  try {
    const kept = collector.take(value, address);
    if (typeof kept === "string") return refused(400, kept);
    return { status: 204, text: "", note: noteOf(kept) };
  } catch (error) {
    return refused(500, `the report could not be kept: ${systemReason(error)}`);
  }
}
