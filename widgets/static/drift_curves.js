/* Curves of streams as plain values: ranges, places, words. */

export const DRIFT_PANES = {
  identity: ["stream_identity", "identity, 0 is the portrait, 1 another person"],
  colours: ["stream_colours", "colours moved, levels of 255"],
  corners_db: ["stream_corners", "static corners, dB"],
  seam: ["stream_seam", "seam, times the change within a block"],
};
const DRIFT_COLUMNS = ["block", "identity", "colours", "corners_db", "seam"];

/* Bytes of float32 rows to one array of [block, value] for each curve. */
export function driftCurves(bytes) {
  const numbers = new Float32Array(bytes.slice().buffer), width = DRIFT_COLUMNS.length;
  return Object.fromEntries(DRIFT_COLUMNS.slice(1).map((name, at) => [name,
    Array.from({ length: numbers.length / width }, (_, row) => [numbers[row * width], numbers[row * width + at + 1]])
      .filter(([, value]) => Number.isFinite(value))]));
}

/* The range of an axis: from 0 where nothing lies below, except for dB; seams are drawn by their logarithm. */
export function driftRange(name, curves) {
  const values = curves.flat().map(([, value]) => value);
  if (!values.length) return [0, 1];
  const [low, high] = [Math.min(...values), Math.max(...values)];
  if (name === "seam") return [Math.min(low, 0.7), Math.max(high, 2.2)];
  if (name === "corners_db") return [low - 1, high + 1];
  return [0, Math.max(high, name === "identity" ? 0.1 : 1)];
}

/* A value to its place on the axis: 0 at the bottom, 1 at the top. */
export function driftPlace(name, value, [low, high]) {
  if (name === "seam") return Math.log(Math.max(value, 0.05) / low) / Math.log(high / low);
  return (value - low) / Math.max(high - low, 1e-9);
}

export function driftNumber(name, value) {
  if (value === null || value === undefined) return "–";
  return value.toFixed(name === "identity" || name === "seam" ? 2 : 1);
}

/* What a stream says to those who do not see it. */
export function driftWords(stream) {
  if (!stream.blocks) return `${stream.name}: nothing made yet`;
  const names = Object.keys(DRIFT_PANES), kinds = { jump: "jump", colours: "shift of colour" };
  const now = names.map((name) => `${name.replace("_db", "")} ${driftNumber(name, stream.last[name])}`);
  const found = stream.found.map(([block, kind]) => `${kinds[kind]} at block ${block}`);
  return [`${stream.name}: ${stream.blocks} blocks`, ...now, ...found].join(", ");
}
