// The check of support/ddi.ts: it must find what is wrong, and its facts must be those of hawkBit's own OpenAPI document.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  CALLS,
  type Call,
  createCheck,
  documentCall,
  type Exchange,
  loadDocument,
  OLD_FIELDS,
  type Schema,
} from "../../support/ddi.ts";

const document = loadDocument();
if (!document)
  process.stderr.write(
    "\n!!! HAWKBIT_DDI is not set: nothing was compared with hawkBit's own OpenAPI document !!!\n\n",
  );

const ROOT = "/DEFAULT/controller/v1/one";
const base = (answer: unknown): Exchange => ({ method: "GET", path: ROOT, status: 200, answer });
const told = (body: unknown, status = 200): Exchange => ({
  method: "POST",
  path: `${ROOT}/deploymentBase/7/feedback`,
  body,
  status,
});
const STATUS = { execution: "closed", result: { finished: "success" }, details: ["runs"] };
const CHUNK = { part: "os", version: "1", name: "fw", artifacts: [{ filename: "fw.bin", size: 5 }] };
const deployment = (chunks: unknown[], more: object = {}): Exchange => ({
  method: "GET",
  path: `${ROOT}/deploymentBase/7?c=-12&actionHistory=8`,
  status: 200,
  answer: { id: "7", deployment: { download: "forced", update: "forced", chunks, ...more } },
});

test("right requests and answers pass", () => {
  const check = createCheck();
  for (const exchange of [
    base({ config: { polling: { sleep: "00:05:00" } }, _links: { configData: { href: "http://x/" } } }),
    base({}),
    told({ id: "7", status: STATUS }),
    // refused as it should be
    told({ status: {} }, 400),
    deployment([CHUNK]),
    { method: "PUT", path: `${ROOT}/configData`, body: { mode: "merge", data: { place: "hall" } }, status: 200 },
    { method: "GET", path: `${ROOT}/softwaremodules/3/artifacts/fw.bin`, status: 206 },
  ])
    assert.deepEqual(check(exchange), []);
});

for (const [what, exchange, says] of [
  ["an unknown call", { ...base({}), path: `${ROOT}/nothing` }, /no such call/],
  ["another method", { ...base({}), method: "POST" }, /no such call/],
  ["an unknown query", { ...deployment([]), path: `${ROOT}/deploymentBase/7?history=8` }, /no history/],
  ["an unknown status", { ...base({}), status: 302 }, /status 302/],
  ["a polling time in seconds", base({ config: { polling: { sleep: 300 } } }), /sleep must be string/],
  ["a link that is a text", base({ _links: { configData: "http://x/" } }), /must be object/],
  ["feedback without a status", told({ id: "7" }), /'status'/],
  ["an unknown execution", told({ status: { ...STATUS, execution: "done" } }), /execution/],
  ["an unknown result", told({ status: { ...STATUS, result: { finished: "ok" } } }), /finished/],
  ["details that are a text", told({ status: { ...STATUS, details: "runs" } }), /details must be array/],
  ["an unknown field of feedback", told({ status: { ...STATUS, reason: "" } }), /additional/],
  ["wrong feedback that is accepted", told({}), /'status'/],
  [
    "an attribute that is a number",
    { method: "PUT", path: `${ROOT}/configData`, body: { data: { a: 1 } }, status: 200 },
    /must be string/,
  ],
  ["a deployment without chunks", deployment(undefined as never), /'chunks'/],
  ["a chunk without its part", deployment([{ ...CHUNK, part: undefined }]), /'part'/],
  ["a window that is neither open nor closed", deployment([], { maintenanceWindow: "later" }), /maintenanceWindow/],
  [
    "an action whose number is not a text",
    { ...deployment([]), answer: { id: 7, deployment: { chunks: [] } } },
    /id must be string/,
  ],
] as [string, Exchange, RegExp][])
  test(`the check of the protocol finds ${what}`, () => {
    const faults = createCheck()(JSON.parse(JSON.stringify(exchange)));
    assert.match(faults.join("\n"), says);
  });

test("another client may send fields that hawkBit ignores, but no wrong ones", () => {
  const check = createCheck(true);
  assert.deepEqual(check(told({ id: "7", time: "20260101T000000", status: STATUS })), []);
  assert.match(check(told({ time: "", status: { ...STATUS, execution: "done" } })).join(), /execution/);
});

// --- Against the document ------------------------------------------------------------------------------------------------

/** What the schema `own` allows and the schema of the document does not. */
function compare(where: string, own: Schema | undefined, given: Schema | undefined): string[] {
  if (!own) return [];
  if (!given) return [`${where}: not in the document`];
  const theirs = given.$ref ? document?.components.schemas[given.$ref.split("/").at(-1) as string] : given;
  if (!theirs) return [`${where}: the document has no ${given.$ref}`];
  const faults: string[] = [];
  if (own.type !== theirs.type) faults.push(`${where}: ${own.type} here, ${theirs.type} in the document`);
  for (const name of theirs.required ?? [])
    if (!own.required?.includes(name)) faults.push(`${where}.${name}: required by the document`);
  for (const value of own.enum ?? [])
    if (theirs.enum && !theirs.enum.includes(value)) faults.push(`${where}: the document has no "${value}"`);
  for (const value of theirs.enum ?? [])
    if (own.enum && !own.enum.includes(value)) faults.push(`${where}: "${value}" of the document is not here`);
  for (const [name, property] of Object.entries(own.properties ?? {}))
    if (!OLD_FIELDS.includes(name) || theirs.properties?.[name])
      faults.push(...compare(`${where}.${name}`, property, theirs.properties?.[name]));
  if (own.items) faults.push(...compare(`${where}[]`, own.items, theirs.items));
  if (typeof own.additionalProperties === "object")
    faults.push(...compare(`${where}.*`, own.additionalProperties, theirs.additionalProperties as Schema));
  return faults;
}

test("the facts of the check are those of hawkBit's OpenAPI document", {
  skip: document ? false : "HAWKBIT_DDI is not set",
}, () => {
  for (const [name, own] of Object.entries(CALLS)) {
    const theirs: Call = documentCall(document!, name);
    const faults = [
      ...compare(`${name} request`, own.request, theirs.request),
      ...compare(`${name} answer`, own.answer, theirs.answer),
    ];
    assert.deepEqual(faults, []);
    assert.deepEqual(own.query ?? [], theirs.query);
    for (const status of own.statuses) assert.ok(theirs.statuses.includes(status), `${name}: status ${status}`);
  }
});
