/* Distances from the mean over the steps: their places and words. */

import assert from "node:assert/strict";
import { test } from "node:test";

import {
  possibleCount, possibleInterval, possiblePoints, possibleTop, possibleWords,
} from "../../widgets/static/possible_curve.js";

const PANE = { left: 10, right: 10, above: 0, below: 0, width: 120, height: 100 };

test("the axis holds all that is known, and a true video's distance in any case", () => {
  assert.equal(possibleTop({ latents: [0.1, null] }), 1.2);
  assert.ok(possibleTop({ latents: [0.1], mouth: [2] }) > 2);
});

test("steps lie from left to right, 0 at the bottom; what is not known is left out", () => {
  assert.deepEqual(possiblePoints([0, null, 2], 2, PANE), [[10, 100], [110, 0]]);
  assert.deepEqual(possiblePoints([1], 2, PANE), [[60, 50]]);
});

test("numbers and words", () => {
  assert.equal(possibleCount(5.9999), "6");
  assert.equal(possibleCount(1.26), "1.3");
  assert.equal(possibleInterval({ low: 0.2, high: 0.5 }), " 0.20–0.50");
  assert.equal(possibleInterval({ low: null, high: null }), "");
  const steps = [{ share: 0.31, verdict: "holds the mean" }, { share: null, verdict: "" }];
  assert.ok(possibleWords(steps, "mouth").endsWith("around the mouth, a true video's is 1: step 0 0.31, "
    + "holds the mean; step 1 –, "));
});
