/* The distance from the mean over the steps, as plain values: places, and the same in words. */

export const POSSIBLE_PARTS = {
  latents: "in the latents", picture: "in the whole picture", face: "around the face", mouth: "around the mouth",
  background: "in the background",
};

/* The top of the axis: a true video's distance, 1, is always in view. */
export function possibleTop(shares) {
  const known = Object.values(shares).flat().filter((share) => share !== null);
  return Math.max(1.2, ...known.map((share) => 1.06 * share));
}

/* Steps and shares to points in a pane of a size, px; steps whose share is not known are left out. */
export function possiblePoints(shares, top, { left, right, above, below, width, height }) {
  const across = (width - left - right) / Math.max(shares.length - 1, 1);
  return shares.map((share, step) => [left + across * (shares.length > 1 ? step : 0.5), share === null ? null
    : height - below - (height - above - below) * share / top]).filter(([, y]) => y !== null);
}

/* A distance as people read it. */
export const possibleNumber = (share) => (share === null || share === undefined ? "–" : share.toFixed(2));

/* The interval of a distance, behind it; "" where none is known. */
export const possibleInterval = ({ low, high }) => (high === null || high === undefined ? ""
  : ` ${low.toFixed(2)}–${high.toFixed(2)}`);

/* How many renderings remain: with a digit where it is no whole number. */
export const possibleCount = (remaining) => String(Number(remaining.toFixed(1)));

/* What the curve says to those who do not see it. */
export function possibleWords(steps, part) {
  const each = steps.map(({ share, verdict }, step) => `step ${step} ${possibleNumber(share)}, ${verdict}`);
  return `distance of the guess from the mean ${POSSIBLE_PARTS[part]}, a true video's is 1: ${each.join("; ")}`;
}
