/* Views without a page: every module is found with all that it imports, keys, and messages of the kernel. */

import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { test } from "node:test";

import { keyGoesOn, keyIsTaken } from "../../widgets/static/keys.js";
import { live } from "../../widgets/static/live.js";
import { PlayerEngine } from "../../widgets/static/player_engine.js";

const STATIC = new URL("../../widgets/static/", import.meta.url);
const NEEDS_A_PAGE = ["memory_view.js"];                 // uPlot asks the page at once

test("every module imports only what others export, and every view is an anywidget module", async () => {
  for (const name of readdirSync(STATIC).filter((one) => one.endsWith(".js") && !NEEDS_A_PAGE.includes(one))) {
    const module = await import(new URL(name, STATIC));
    if (/_view|_grid|_lab|player\.js|workbench/.test(name)) assert.equal(typeof module.default, "function", name);
  }
});

/* An element that matches a tag, or a type of input. */
const element = (kind) => ({ matches: (selector) => selector.split(/,\s*/).includes(kind) });
const FREE = { ctrlKey: false, metaKey: false, altKey: false, shiftKey: false };
const pressed = (key, kind = "div", held = {}) => keyGoesOn({ key, target: element(kind), ...FREE, ...held });

test("plain keys end in the view; chords go on to the page, unless they edit text", () => {
  assert.equal(pressed("r"), false);
  assert.equal(pressed("s", "div", { ctrlKey: true }), true);
  assert.equal(pressed("c", "textarea", { ctrlKey: true }), false);
  assert.equal(pressed("Enter", "div", { shiftKey: true }), true);
});

test("a control keeps the keys that it needs", () => {
  assert.equal(keyIsTaken(element("textarea"), "r"), true);
  assert.equal(keyIsTaken(element("input[type=range]"), "ArrowLeft"), true);
  assert.equal(keyIsTaken(element("button"), "ArrowLeft"), false);
  assert.equal(keyIsTaken(element("button"), " "), true);
});

test("a view greets the kernel, and answers each picture with its number, once", () => {
  const sent = [], heard = {};
  const model = { on: (event, handler) => { heard[event] = handler; }, off() {}, send: (message) => sent.push(message) };
  live({ name: "la-none", build() {}, draw() {} })().initialize({ model });
  heard["msg:custom"]({ body: {}, names: ["wave"], full: true, number: 7 }, [new DataView(new ArrayBuffer(4))]);
  heard["msg:custom"]({ kind: "something else" }, []);
  assert.deepEqual(sent, [{ kind: "hello" }, { kind: "ack", number: 7 }]);
});

test("the player keeps blocks and sound by the names of their buffers", () => {
  const engine = new PlayerEngine({ store: { places: new Set(), body: { total_s: 2, ready_s: 0.5, others: {
    a: { over: false, ready_s: 0.5, total_s: 2 } } } }, get: () => false });
  engine.take("a/3/12/64/48", Uint8Array.of(1));
  engine.take("wave/a", Uint8Array.of(0, 1, 255, 255));
  assert.deepEqual({ ...engine.films.a.get(3), bytes: null },
    { bytes: null, count: 12, width: 64, height: 48, bitmap: null, opening: false });
  assert.deepEqual([...engine.waves.a.pcm], [256, -1]);
  assert.deepEqual([engine.ready, engine.end, engine.complete], [0.5, 2, false]);
});
