/* Numbers as people read them, and numbers out of what the kernel sends. */

export const laSeconds = (value) => `${value.toFixed(2)} s`;
export const laPercent = (share) => (share < 0.0995 ? `${(100 * share).toFixed(1)} %` : `${Math.round(100 * share)} %`);

/* How long a run will still take, in words; "" where nothing can be said. */
export function timeToGo(run) {
  if (run?.state !== "running" || !run.x_realtime || run.stopping) return "";
  const left = Math.max((run.total_s - run.done_s) / run.x_realtime, 0);
  if (left < 60) return `${Math.ceil(left)} s`;
  const minutes = Math.ceil(left / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/* A delay with its sign, in ms. */
export const laLag = (value) =>
  `${value > 0 ? "+" : value < 0 ? "−" : ""}${Math.abs(value).toFixed(Math.abs(value) < 9.95 ? 1 : 0)} ms`;

/* How long something took, or a dash where that is not known. */
export const laMs = (value) => (value === null || value === undefined ? "–" : `${Math.round(value)} ms`);

/* A number with some digits, or a dash where there is none. */
export const laNumber = (value, digits = 2) => (value === null || value === undefined ? "–" : value.toFixed(digits));

export const laBytes = (count) => (count >= 2 ** 30 ? `${(count / 2 ** 30).toFixed(2)} GiB`
  : count >= 2 ** 20 ? `${(count / 2 ** 20).toFixed(1)} MiB` : `${(count / 1024).toFixed(0)} KiB`);

/* Memory of a card: GiB, or MiB where it is little. */
export const laGib = (value) => (value >= 0.5 ? `${value.toFixed(2)} GiB` : `${Math.round(value * 1024)} MiB`);

/* What is typed as a whole number from 0 on, as near as it can be kept; `otherwise` where it is none. */
export function wholeNumber(text, otherwise) {
  const value = text.trim() === "" ? NaN : Math.round(Number(text));
  return Number.isNaN(value) ? otherwise : Math.min(Math.max(value, 0), Number.MAX_SAFE_INTEGER);
}

/* Memory without digits that say nothing, for axes. */
export const laShortBytes = (value) => (value >= 2 ** 30 ? `${Number((value / 2 ** 30).toFixed(2))} GiB`
  : `${Number((value / 2 ** 20).toFixed(1))} MiB`);

/* The size of a file, in powers of ten as file managers have it. */
export const laFileSize = (bytes) => (bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

/* A number of any size with three digits or so, or the text that stands in its place. */
export function laShort(value) {
  if (typeof value !== "number") return value === null || value === undefined || value === "" ? "–" : String(value);
  if (!Number.isFinite(value)) return "–";
  if (Number.isInteger(value) && Math.abs(value) < 1e5) return String(value);
  const size = Math.abs(value);
  return size >= 100 ? value.toFixed(0) : size >= 10 ? value.toFixed(1) : size >= 1 ? value.toFixed(2)
    : value.toPrecision(2);
}

/* Round numbers from low to high, about so many. */
export function laTicks(low, high, about = 5) {
  const rough = (high - low) / about || 1, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
  const ticks = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high + step * 1e-6; tick += step)
    ticks.push(Number(tick.toPrecision(12)));
  return ticks;
}

/* A buffer of the kernel's as numbers, or null where it has not come. */
export const laFloats = (buffers, name) => {
  const bytes = buffers.get(name);
  return bytes ? new Float32Array(bytes.slice().buffer) : null;
};
