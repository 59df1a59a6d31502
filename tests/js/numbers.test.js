/* Numbers as people read them, and what the kernel sends as numbers. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { laColourTable, laPixel, laRgb } from "#liveavatar/web/canvas.js";
import {
  laBytes, laFileSize, laFloats, laGib, laLag, laNumber, laPercent, laSeconds, laShort, laShortBytes, laTicks, timeToGo,
  wholeNumber,
} from "#liveavatar/web/format.js";
import { labelsFrom, rowsFrom } from "../../widgets/static/memory_series.js";

const going = (left_s, speed = 1) => ({ state: "running", x_realtime: speed, total_s: left_s * speed, done_s: 0 });

test("times, shares and delays carry their unit", () => {
  assert.equal(laSeconds(1.5), "1.50 s");
  assert.equal(laPercent(0.031), "3.1 %");
  assert.equal(laPercent(0.5), "50 %");
  assert.equal(laLag(-42.4), "−42 ms");
  assert.equal(laLag(4.25), "+4.3 ms");
});

test("what is typed as a seed becomes the number that is used", () => {
  assert.equal(wholeNumber("7", 420), 7);
  assert.equal(wholeNumber("-1", 420), 0);
  assert.equal(wholeNumber("1.5", 420), 2);
  assert.equal(wholeNumber(" ", 420), 420);
  assert.equal(wholeNumber("a", 420), 420);
  assert.equal(wholeNumber("99999999999999999999", 420), 2 ** 53 - 1);
});

test("what is not known is a dash", () => {
  assert.equal(laNumber(null), "–");
  assert.equal(laNumber(0.1234, 3), "0.123");
  assert.equal(laShort(undefined), "–");
  assert.equal(laShort(Number.NaN), "–");
});

test("a number of any size is short", () => {
  assert.deepEqual([4, 0.01234, 2.345, 23.45, 234.5, "Euler"].map(laShort),
    ["4", "0.012", "2.35", "23.4", "235", "Euler"]);
});

test("bytes are told in the unit that fits", () => {
  assert.equal(laBytes(1536), "2 KiB");
  assert.equal(laBytes(3 * 2 ** 20), "3.0 MiB");
  assert.equal(laShortBytes(1.5 * 2 ** 30), "1.5 GiB");
  assert.equal(laGib(0.25), "256 MiB");
  assert.equal(laFileSize(1_500_000), "1.5 MB");
});

test("the time that is left is told in seconds, minutes, hours, and never as 60 minutes", () => {
  assert.equal(timeToGo(going(12.2)), "13 s");
  assert.equal(timeToGo(going(120, 0.5)), "2 min");
  assert.equal(timeToGo(going(3599)), "1 h 0 min");
  assert.equal(timeToGo(going(7190)), "2 h 0 min");
  assert.equal(timeToGo({ ...going(10), state: "paused" }), "");
  assert.equal(timeToGo({ ...going(10), x_realtime: 0 }), "");
});

test("ticks are round numbers within their range", () => {
  assert.deepEqual(laTicks(0, 1), [0, 0.2, 0.4, 0.6, 0.8, 1]);
  assert.deepEqual(laTicks(13, 92), [20, 40, 60, 80]);
});

test("colours come apart into channels, and a table goes from the first to the last", () => {
  assert.deepEqual(laRgb("#56b4e9"), [86, 180, 233]);
  assert.equal(laPixel(1, 2, 3), 0xff030201);
  const table = laColourTable([[0, 0, 0], [10, 20, 30], [255, 255, 255]]);
  assert.equal(table[0], 0xff000000);
  assert.equal(table[255], 0xffffffff);
});

test("buffers of the kernel become numbers, wherever they lie in the message", () => {
  const message = new Uint8Array(12);
  new DataView(message.buffer).setFloat32(6, 1.5, true);
  const buffers = new Map([["wave", message.subarray(6, 10)]]);
  assert.deepEqual([...laFloats(buffers, "wave")], [1.5]);
  assert.equal(laFloats(buffers, "heat"), null);
});

test("rows and labels of the memory are cut out of one list", () => {
  const rows = rowsFrom(Float64Array.of(0, 10, 20, 0.5, 11, 21), 3);
  assert.deepEqual(rows.map((row) => [...row]), [[0, 10, 20], [0.5, 11, 21]]);
  assert.deepEqual(labelsFrom(Float64Array.of(0, 1, 2, 3, 4)), [{ from: 0, to: 1, stage: 2, block: 3, step: 4 }]);
});
