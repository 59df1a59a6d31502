/* Curves of streams: read from bytes, placed on their axes, told in words. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { driftCurves, driftPlace, driftRange, driftWords } from "../../widgets/static/drift_curves.js";

test("bytes become a curve for each measure, without what is not a number", () => {
  const rows = new Float32Array([0, 0.5, 0, 40, NaN, 1, 0.25, 2, 41, 3]);
  const curves = driftCurves(new Uint8Array(rows.buffer));
  assert.deepEqual(curves.identity, [[0, 0.5], [1, 0.25]]);
  assert.deepEqual(curves.seam, [[1, 3]]);
});

test("axes begin at 0, those of dB near their values, seams are drawn by their logarithm", () => {
  assert.deepEqual(driftRange("colours", [[[0, 0.2]]]), [0, 1]);
  assert.deepEqual(driftRange("corners_db", [[[0, 40], [1, 42]]]), [39, 43]);
  assert.equal(driftPlace("identity", 0.5, [0, 2]), 0.25);
  assert.ok(Math.abs(driftPlace("seam", 2, [1, 4]) - 0.5) < 1e-9);
});

test("a stream says what was found in it", () => {
  const last = { identity: 0.123, colours: 1, corners_db: 40, seam: null };
  const words = driftWords({ name: "ring of 3", blocks: 9, last, found: [[4, "colours"]] });
  assert.equal(words, "ring of 3: 9 blocks, identity 0.12, colours 1.0, corners 40.0, seam –, "
    + "shift of colour at block 4");
  assert.equal(driftWords({ name: "x", blocks: 0 }), "x: nothing made yet");
});
