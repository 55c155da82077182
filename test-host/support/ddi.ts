// hawkBit's Direct Device Integration API, version 1, as a check: which requests there are, what they hold, and what a server
// answers. These are the facts of hawkBit's OpenAPI document in this project's words, and only of what its client needs. The
// document itself is under EPL-2.0 and not kept here: HAWKBIT_DDI=/path names it, docs/rest-api/ddi.html of hawkBit's
// repository or the JSON of a server's /v3/api-docs. Each message is checked by it too then, and these facts are compared with it.

import { readFileSync } from "node:fs";
import { Ajv, type ErrorObject, type ValidateFunction } from "ajv";

/** Of JSON Schema, what is used here. */
export type Schema = {
  type?: string;
  properties?: Record<string, Schema>;
  required?: string[];
  additionalProperties?: boolean | Schema;
  items?: Schema;
  enum?: string[];
  pattern?: string;
  $ref?: string;
};

const TEXT: Schema = { type: "string" };
const WHOLE: Schema = { type: "integer" };
const TEXTS: Schema = { type: "array", items: TEXT };
const oneOf = (...values: string[]): Schema => ({ type: "string", enum: values });
const object = (properties: Record<string, Schema>, required: string[] = []): Schema => ({
  type: "object",
  properties,
  required,
  additionalProperties: false,
});
const LINKS: Schema = { type: "object", additionalProperties: object({ href: TEXT }, ["href"]) };

const FEEDBACK = object(
  {
    // hawkBit 0.3.0 wants it, later ones ignore it
    id: TEXT,
    status: object(
      {
        execution: oneOf(
          "closed",
          "proceeding",
          "canceled",
          "scheduled",
          "rejected",
          "resumed",
          "downloaded",
          "download",
        ),
        result: object({ finished: oneOf("success", "failure", "none") }, ["finished"]),
        details: TEXTS,
      },
      ["execution", "result"],
    ),
  },
  ["status"],
);
const ARTIFACT = object(
  { filename: TEXT, hashes: object({ sha1: TEXT, md5: TEXT, sha256: TEXT }), size: WHOLE, _links: LINKS },
  ["filename"],
);
const HANDLING = oneOf("skip", "attempt", "forced");
const DEPLOYMENT = object(
  {
    id: TEXT,
    deployment: object(
      {
        download: HANDLING,
        update: HANDLING,
        maintenanceWindow: oneOf("available", "unavailable"),
        chunks: {
          type: "array",
          items: object({ part: TEXT, version: TEXT, name: TEXT, artifacts: { type: "array", items: ARTIFACT } }, [
            "part",
            "version",
            "name",
          ]),
        },
      },
      ["chunks"],
    ),
    actionHistory: object({ status: TEXT, messages: TEXTS }),
  },
  ["id", "deployment"],
);
/** Of the document this one property is not in the request: see FEEDBACK. */
export const OLD_FIELDS = ["id"];

export type Call = { query?: string[]; request?: Schema; answer?: Schema; file?: boolean; statuses: number[] };
const REFUSED = [400, 401, 403, 405, 429];

/** By method and path below the controller's own. */
export const CALLS: Record<string, Call> = {
  "GET ": {
    answer: object({
      config: object({ polling: object({ sleep: { type: "string", pattern: "^\\d\\d:[0-5]\\d:[0-5]\\d$" } }) }),
      _links: LINKS,
    }),
    statuses: [200, ...REFUSED],
  },
  "PUT /configData": {
    request: object(
      { mode: oneOf("merge", "replace", "remove"), data: { type: "object", additionalProperties: TEXT } },
      ["data"],
    ),
    statuses: [200, ...REFUSED],
  },
  "GET /deploymentBase/{actionId}": {
    query: ["c", "actionHistory"],
    answer: DEPLOYMENT,
    statuses: [200, ...REFUSED],
  },
  "POST /deploymentBase/{actionId}/feedback": { request: FEEDBACK, statuses: [200, 404, 410, ...REFUSED] },
  "GET /cancelAction/{actionId}": {
    answer: object({ id: TEXT, cancelAction: object({ stopId: TEXT }, ["stopId"]) }, ["cancelAction"]),
    statuses: [200, ...REFUSED],
  },
  "POST /cancelAction/{actionId}/feedback": { request: FEEDBACK, statuses: [200, ...REFUSED] },
  "GET /softwaremodules/{softwareModuleId}/artifacts/{fileName}": { file: true, statuses: [200, 404, ...REFUSED] },
};

/** What the document does not say, and hawkBit 0.3.0 does. */
const MORE_STATUSES: Record<string, number[]> = {
  // an action that has ended, or is another device's
  "GET /deploymentBase/{actionId}": [404],
  "POST /cancelAction/{actionId}/feedback": [404, 410],
  // ranges
  "GET /softwaremodules/{softwareModuleId}/artifacts/{fileName}": [206],
};

// --- The document, where it is ---------------------------------------------------------------------------------------------

type Document = { paths: Record<string, Record<string, any>>; components: { schemas: Record<string, Schema> } };
export const ROOT = "/{tenant}/controller/v1/{controllerId}";

/** hawkBit's page has the document in a variable of its script. */
function parseDocument(text: string): Document {
  if (text.trimStart().startsWith("{")) return JSON.parse(text);
  const line = text.split("\n").find((one) => one.includes("__redoc_state = ")) ?? "";
  const json = line.slice(line.indexOf("{"), line.lastIndexOf("}") + 1);
  return JSON.parse(json).spec.data;
}

/** null where HAWKBIT_DDI does not name it. */
export function loadDocument(): Document | null {
  if (!process.env.HAWKBIT_DDI) return null;
  const document = parseDocument(readFileSync(process.env.HAWKBIT_DDI, "utf8"));
  // "HH:MM:SS" is meant as a format, and is no regular expression that any time fits
  delete document.components.schemas.DdiPolling?.properties?.sleep?.pattern;
  return document;
}

const schemaIn = (part: any): Schema | undefined => Object.values<any>(part?.content ?? {})[0]?.schema;

/** What the document says of a call, with $ref. */
export function documentCall(document: Document, call: string): Call {
  const [method, rest] = call.split(" ");
  const operation = document.paths[ROOT + rest]?.[method.toLowerCase()];
  if (!operation) throw new Error(`hawkBit's document has no ${call}`);
  return {
    query: (operation.parameters ?? []).flatMap((one: any) => (one.in === "query" ? one.name : [])),
    request: schemaIn(operation.requestBody),
    answer: schemaIn(operation.responses["200"]),
    statuses: Object.keys(operation.responses).map(Number),
  };
}

// --- The check -------------------------------------------------------------------------------------------------------------

export type Exchange = { method: string; path: string; body?: unknown; status: number; answer?: unknown };
export type Check = (exchange: Exchange) => string[];

const textOf = (errors: ErrorObject[]): string =>
  errors.map(({ instancePath, message, params }) => `${instancePath} ${message} ${JSON.stringify(params)}`).join(", ");

// int32 and int64 are OpenAPI's, and not JSON Schema's
const OPTIONS = { strict: false, allErrors: true, validateFormats: false };

/** swupdate has a number there. */
function withoutOldFields(body: unknown): unknown {
  if (typeof body !== "object" || !body) return body;
  return Object.fromEntries(Object.entries(body).filter(([name]) => !OLD_FIELDS.includes(name)));
}

/** `strangers`: fields of a request that are not known are taken out first, as hawkBit does. */
function checkOf(calls: Record<string, Call>, more: object, strangers: boolean): Check {
  const strict = new Ajv({ ...OPTIONS }).addSchema({ $id: "document", ...more });
  const tolerant = new Ajv({ ...OPTIONS, removeAdditional: true });
  tolerant.addSchema({ $id: "document", ...more });
  const compiled = new Map<Schema, ValidateFunction>();
  function check(what: string, schema: Schema | undefined, value: unknown, ajv: Ajv): string[] {
    if (!schema) return value === undefined ? [] : [`${what}: nothing was expected`];
    const validate = compiled.get(schema) ?? ajv.compile(schema);
    compiled.set(schema, validate);
    return validate(structuredClone(value)) ? [] : [`${what}: ${textOf(validate.errors ?? [])}`];
  }
  const patterns = Object.keys(calls).map((call) => {
    const [method, path] = call.split(" ");
    const text = (ROOT + path).replace(/[.]/g, "\\.").replace(/\{\w+\}/g, "[^/]+");
    return { call, method, path: new RegExp(`^${text}$`) };
  });
  // a server that knows GET knows HEAD
  const isHead = (call: string, method: string) => method === "HEAD" && calls[call].file === true;
  return ({ method, path, body: sent, status, answer }) => {
    const body = strangers ? withoutOldFields(sent) : sent;
    const [bare, query = ""] = path.split("?");
    const found = patterns.find((one) => one.path.test(bare) && (one.method === method || isHead(one.call, method)));
    if (!found) return [`${method} ${path}: there is no such call`];
    const call = calls[found.call];
    const faults: string[] = [];
    for (const [name] of new URLSearchParams(query))
      if (!call.query?.includes(name)) faults.push(`query: there is no ${name}`);
    if (![...call.statuses, ...(MORE_STATUSES[found.call] ?? [])].includes(status)) faults.push(`status ${status}`);
    // what is wrong is refused
    if (status < 400) faults.push(...check("request", call.request, body, strangers ? tolerant : strict));
    if (status === 200 && !call.file) faults.push(...check("answer", call.answer, answer, strict));
    return faults.map((fault) => `${method} ${path}: ${fault}`);
  };
}

/** By the facts above, and by the document where it is. */
export function createCheck(strangers = false): Check {
  const own = checkOf(CALLS, {}, strangers);
  const document = loadDocument();
  if (!document) return own;
  const calls: Record<string, Call> = {};
  for (const [name, { file }] of Object.entries(CALLS)) {
    const theirs = documentCall(document, name);
    const at = (schema?: Schema) => (schema?.$ref ? { $ref: `document${schema.$ref}` } : schema);
    calls[name] = { ...theirs, file, request: at(theirs.request), answer: at(theirs.answer) };
  }
  const theirs = checkOf(calls, { components: document.components }, strangers);
  return (exchange) => [...own(exchange), ...theirs(exchange).map((fault) => `by hawkBit's document: ${fault}`)];
}
