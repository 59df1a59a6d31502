/* Coordinates, scales and times: from data to pixels and back. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { shownCells } from "#liveavatar/study/static/sweep_order.js";
import { ringAngles, ringSlots, slotAt } from "../../widgets/static/cache_view.js";
import { laBoxes, laPart, laSplit } from "../../widgets/static/compare.js";
import { placeAt, planeScale } from "../../widgets/static/flow_plane.js";
import { LIP_GUTTER, LIP_TOP, laneAt, soundAt, timeScale } from "../../widgets/static/lip_time.js";
import { expectedAt, peakOf, seriesOf, videoOf, wallOf } from "../../widgets/static/memory_series.js";
import { pathAt } from "../../widgets/static/schedule_curve.js";

const near = (a, b) => assert.ok(Math.abs(a - b) < 1e-9, `${a} is not ${b}`);

test("two pictures side by side keep their aspect and stay within the room", () => {
  const [a, b] = laBoxes(614, 1000, 2, 1.5);
  assert.equal(a.w / a.h, 1.5);
  assert.equal(b.x + b.w, 614);
  assert.equal(laBoxes(600, 100, 1, 1)[0].x, 250);
  assert.equal(laSplit({ x: 10, w: 100 }, 60), 0.5);
  assert.equal(laSplit({ x: 10, w: 100 }, 500), 1);
});

test("a close-up is a part of its frame and not of the strip", () => {
  const frame = { bitmap: "strip", x: 512, y: 0, width: 256, height: 128 };
  assert.deepEqual(laPart(frame, [0.25, 0.5, 0.5]), { bitmap: "strip", x: 576, y: 64, width: 128, height: 64 });
  assert.equal(laPart(frame, null), frame);
  assert.equal(laPart(null, [0, 0, 1]), null);
});

test("a point of the flow goes straight from level to level", () => {
  const path = Float32Array.of(0, 0, 4, 2, 8, 2);                  // one point at three levels
  assert.deepEqual(placeAt(path, 1, [1, 0.5, 0], 1, 0), [0, 0]);
  assert.deepEqual(placeAt(path, 1, [1, 0.5, 0], 0.75, 0), [2, 1]);
  assert.deepEqual(placeAt(path, 1, [1, 0.5, 0], 0, 0), [8, 2]);
});

test("the plane is drawn with its middle in the middle and up as up", () => {
  const { x, y } = planeScale({ body: { reach: 2 } }, 100);
  assert.deepEqual([x(0), y(0), x(2), y(2)], [50, 50, 100, 0]);
});

test("a noise level is found again at the height at which it is drawn", () => {
  const at = pathAt([1, 0.5, 0]);
  near(at.sigma(at.y(0.37)), 0.37);
  assert.ok(at.x(0) < at.x(1) && at.y(1) < at.y(0));
});

test("a ring holds each frame in the slot that it takes turns for, and a slot is found under the pointer", () => {
  const ring = { capacity: 4, held: [4, 5, 2, 3] };
  assert.deepEqual(ringSlots(ring), [4, 5, 2, 3]);
  for (let slot = 0; slot < 4; slot++) {
    const turn = (ringAngles(ring, slot)[0] + ringAngles(ring, slot)[1]) / 2;
    assert.equal(slotAt(ring, 84 + 60 * Math.cos(turn), 84 + 60 * Math.sin(turn)), slot);
  }
  assert.equal(slotAt(ring, 84, 84), null);
});

const lips = (traits = {}) => ({ body: { frames: 100, run: { fps: 25, state: "finished", done_s: 4 } }, time: 1,
  width: LIP_GUTTER + 200, get: (name) => ({ window_s: 2, ...traits })[name] });

test("the time line of the lips leads to pixels and back, and keeps the cursor in view", () => {
  const ctx = lips(), scale = timeScale(ctx);
  near(scale.time(scale.x(1.3)), 1.3);
  near(scale.to - scale.from, 2);
  ctx.time = 3.9;
  assert.ok(timeScale(ctx).from <= 3.9 && timeScale(ctx).to <= 4);
  near(timeScale(lips({ window_s: 20 })).span, 4);
});

test("lanes and sounds are found where they lie", () => {
  assert.equal(laneAt(LIP_TOP + 1), "wave");
  assert.equal(laneAt(LIP_TOP + 60), null);
  const ctx = { sounds: [["m", 0, 0.1], ["a", 0.1, 0.4]] };
  assert.equal(soundAt(ctx, 0.1), 1);
  assert.equal(soundAt(ctx, 0.5), -1);
});

const memory = { rows: [[0, 5, 2], [1, 9, 3], [2, 7, 3]].map((row) => Float64Array.from(row)),
  labels: [{ from: 0, to: 1, stage: 1, block: 0, step: 0 }, { from: 1, to: 2, stage: 2, block: 0, step: -1 },
    { from: 2, to: 4, stage: 1, block: 1, step: 0 }],
  body: { names: ["allocated", "caches"], owners: ["caches"], main: "allocated", run: { block_s: 0.5 } },
  get: () => true };

test("the peak is the most of the main series, the owners come as areas before it", () => {
  assert.deepEqual(peakOf(memory), { time: 1, bytes: 9 });
  assert.deepEqual(seriesOf(memory).map(({ name, kind }) => [name, kind]), [["caches", "area"], ["allocated", "main"]]);
});

test("a time of the video and the time on the wall lead to each other", () => {
  near(wallOf(memory, 0.25), 1);
  near(videoOf(memory, wallOf(memory, 0.75)), 0.75);
  assert.equal(wallOf(memory, 5), null);
});

test("the forecast goes straight between its points and ends with the last", () => {
  assert.equal(expectedAt([[0, 2], [10, 20]], 1), 15);
  assert.equal(expectedAt([[0, 2], [10, 20]], -1), null);
  assert.equal(expectedAt([[0, 2], [10, 20]], 3), null);
});

test("videos of a sweep are sorted by number, those without it last in either order", () => {
  const cells = [["a", 10], ["b", 9], ["c", null]].map(([key, ms]) => ({ key, settings: {}, numbers: { ms } }));
  const keys = (state) => shownCells(cells, { sort: "ms", ...state }).map((cell) => cell.key).join("");
  assert.equal(keys({}), "bac");
  assert.equal(keys({ descending: true }), "abc");
  assert.equal(keys({ selected: ["a", "c"] }), "ac");
  assert.equal(keys({ most: 1 }), "b");
});
