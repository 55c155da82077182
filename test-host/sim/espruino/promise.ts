// Espruino's Promise. It differs from the standard in what a program can see: reactions are ordinary events of the
// idle loop (not microtasks), resolve() itself is queued, `then` on a settled promise queues at once, there is no
// finally/race/any/allSettled, and a rejection without any reaction prints "Unhandled promise rejection".

import { type Core, type Fn, isObject, typeName } from "./core.ts";
import { define } from "./realm.ts";
import { describe } from "./text.ts";

const PENDING = 0;
const REJECTED = 1;
const FULFILLED = 2;

type Box = { promise: any; done: boolean };
type Reaction = { callback?: Fn; next: Box };
type Hidden = { thens?: Reaction[]; catches?: Reaction[]; value?: unknown };

export function createPromise(core: Core): any {
  const hidden = new WeakMap<object, Hidden>();
  const proto = new core.realm.Object();

  function isPromise(value: any): boolean {
    return typeof value === "object" && value !== null && hidden.has(value);
  }

  function makeBox(): Box {
    const promise = Object.create(proto);
    promise.state = PENDING;
    hidden.set(promise, {});
    return { promise, done: false };
  }

  /**
   * Calls and returns what was thrown. An error that a listener left uncaught in the same idle pass is taken for one
   * of this call: that is how the engine behaves, and then the callback's own result is lost.
   */
  function attempt(fn: () => void): { error: unknown } | undefined {
    try {
      fn();
    } catch (error) {
      if (core.stopped) throw error;
      core.takePending();
      return { error };
    }
    return core.takePending();
  }

  function react(reaction: Reaction, value: unknown, isThen: boolean): void {
    let result = value;
    let ok = isThen;
    if (reaction.callback) {
      const thrown = attempt(() => {
        result = reaction.callback?.call(undefined, value);
      });
      ok = !thrown;
      if (thrown) result = thrown.error;
    }
    settle(reaction.next, result, ok);
  }

  function queueReaction(promise: any, reaction: Reaction, value: unknown, isThen: boolean): void {
    core.queue(promise, () => react(reaction, value, isThen), []);
  }

  function seal(promise: any, value: unknown, resolving: boolean): void {
    promise.state = resolving ? FULFILLED : REJECTED;
    const h = hidden.get(promise) as Hidden;
    const reactions = resolving ? h.thens : h.catches;
    if (reactions) {
      for (const reaction of reactions) queueReaction(promise, reaction, value, resolving);
    } else if (!resolving) {
      core.uncaught(core.error("Error", `Unhandled promise rejection: ${describe(core, value)}`));
    }
  }

  function settle(box: Box, value: any, resolving: boolean): void {
    if (box.done) return;
    box.done = true;
    const promise = box.promise;
    if (value === promise) throw core.error("Error", "Illegal resolving to self");
    (hidden.get(promise) as Hidden).value = value;
    const then = resolving && isObject(core, value) ? value.then : undefined;
    if (typeof then !== "function") return seal(promise, value, resolving);
    const inner: Box = { promise, done: false };
    const thrown = attempt(() =>
      then.call(
        value,
        (v: unknown) => settle(inner, v, true),
        (e: unknown) => settle(inner, e, false),
      ),
    );
    if (thrown) settle(inner, thrown.error, false);
  }

  function queueSettle(box: Box, value: unknown, resolving: boolean): void {
    core.queue(box, () => settle(box, value, resolving), []);
  }

  function construct(executor: Fn): any {
    if (executor === undefined) throw core.error("Error", "Function required in promise constructor");
    const box = makeBox();
    const thrown = attempt(() =>
      executor.call(
        box.promise,
        (value: unknown) => queueSettle(box, value, true),
        (error: unknown) => queueSettle(box, error, false),
      ),
    );
    if (thrown) queueSettle(box, thrown.error, false);
    return box.promise;
  }

  function then(parent: any, onFulfilled: unknown, onRejected: unknown): any {
    const next = makeBox();
    const h = hidden.get(parent) ?? {};
    const onThen: Reaction = { callback: typeof onFulfilled === "function" ? (onFulfilled as Fn) : undefined, next };
    const onCatch: Reaction = { callback: typeof onRejected === "function" ? (onRejected as Fn) : undefined, next };
    if (parent.state === PENDING) {
      h.thens = [...(h.thens ?? []), onThen];
      h.catches = [...(h.catches ?? []), onCatch];
    } else {
      // a settled promise without a fitting callback passes its value on as a rejection (a bug of the engine)
      queueReaction(parent, parent.state === FULFILLED ? onThen : onCatch, h.value, false);
    }
    return next.promise;
  }

  function resolve(value: any): any {
    if (isPromise(value)) return value;
    if (isObject(core, value) && typeof value.then === "function") return construct(value.then);
    const box = makeBox();
    queueSettle(box, value, true);
    return box.promise;
  }

  function all(list: any): any {
    if (!core.realm.isArray(list)) {
      throw core.error("TypeError", `Expecting something iterable, got ${typeName(core, list)}`);
    }
    const results = new core.realm.Array();
    const box = makeBox();
    let open: boolean | undefined = true;
    let remaining = 0;
    const reject = (error: unknown) => {
      if (!open) return;
      open = false;
      queueSettle(box, error, false);
    };
    list.forEach((item: any, index: number) => {
      if (!isPromise(item)) {
        results[index] = item;
        return;
      }
      remaining++;
      const arrive = (value: unknown) => {
        if (!open) return;
        results[index] = value;
        remaining--;
        if (remaining === 0) queueSettle(box, results, true);
      };
      then(item, arrive, reject);
    });
    return remaining === 0 ? resolve(results) : box.promise;
  }

  function DevicePromise(this: unknown, executor: Fn): any {
    return construct(executor);
  }
  const native = (name: string, fn: Fn) => core.native(`Promise.${name}`, fn);
  DevicePromise.prototype = proto;
  define(proto, "constructor", DevicePromise);
  const onThen = native("then", function (this: any, a, b) {
    return then(this, a, b);
  });
  define(proto, "then", onThen);
  const onCatch = native("catch", function (this: any, b) {
    return then(this, undefined, b);
  });
  define(proto, "catch", onCatch);
  DevicePromise.all = native("all", all);
  DevicePromise.resolve = native("resolve", resolve);
  DevicePromise.reject = native("reject", (error) => {
    const box = makeBox();
    queueSettle(box, error, false);
    return box.promise;
  });
  return DevicePromise;
}
