/* What MemoryView draws, as numbers: series, rows in view, forecast, peak, and times of video and wall. */

export const MEMORY_STEP = 1;                   // stages, as numbered in Python
export const MEMORY_DECODE = 2;
// series that are lines; owners are areas
export const MEMORY_LINES = ["used", "reserved", "allocated", "process"];
const MEMORY_POINTS = 1400;                     // drawn at most

/* Numbers that came, cut into rows: [seconds, bytes of each series]. */
export function rowsFrom(values, width) {
  return Array.from({ length: Math.floor(values.length / width) }, (_, i) =>
    values.subarray(i * width, (i + 1) * width));
}

/* Numbers that came, as what the run did from when to when. */
export function labelsFrom(values) {
  return rowsFrom(values, 5).map(([from, to, stage, block, step]) => ({ from, to, stage, block, step }));
}

/* The columns of the plot: the cumulated owners from the top, the lines, the forecast. */
export function seriesOf(ctx) {
  const { names, owners, main, forecast } = ctx.body, at = (name) => 1 + names.indexOf(name), list = [];
  if (ctx.get("owners")) {
    [...owners].reverse().forEach((owner, i) => {
      const members = owners.slice(0, owners.length - i).map(at);
      list.push({ name: owner, kind: "area", value: (row) => members.reduce((sum, column) => sum + row[column], 0) });
    });
  }
  for (const name of MEMORY_LINES.filter((one) => names.includes(one)))
    list.push({ name, kind: name === main ? "main" : "line", value: (row) => row[at(name)] });
  if (forecast) list.push({ name: "forecast", kind: "forecast", value: null });
  return list;
}

/* Rows in view and one on either side; of too many the highest of each group. */
export function rowsInView(ctx) {
  const [from, to] = rangeInView(ctx);
  const rows = ctx.rows.filter((row, i) => (ctx.rows[i + 1]?.[0] ?? row[0]) >= from
    && (ctx.rows[i - 1]?.[0] ?? row[0]) <= to);
  if (rows.length <= MEMORY_POINTS) return rows;
  const main = 1 + ctx.body.names.indexOf(ctx.body.main), group = rows.length / MEMORY_POINTS;
  return Array.from({ length: MEMORY_POINTS }, (_, i) => rows.slice(Math.floor(i * group),
    Math.floor((i + 1) * group)).reduce((a, b) => (b[main] > a[main] ? b : a)));
}

export function columnsOf(ctx, list) {
  const rows = rowsInView(ctx), times = rows.map((row) => row[0]), { forecast } = ctx.body;
  const expected = () => times.map((time) => expectedAt(forecast, time));
  return [times, ...list.map((one) => (one.kind === "forecast" ? expected() : rows.map(one.value)))];
}

/* The forecast at a time, or null beyond it. */
export function expectedAt([times, values], time) {
  const i = times.findIndex((one) => one > time);
  if (i <= 0) return i === 0 ? null : time > times.at(-1) ? null : values.at(-1);
  return values[i - 1] + ((time - times[i - 1]) / (times[i] - times[i - 1])) * (values[i] - values[i - 1]);
}

export function rangeInView(ctx) {
  const zoom = ctx.get("zoom"), last = ctx.rows.at(-1)?.[0] ?? 1, forecast = ctx.body.forecast?.[0].at(-1) ?? 0;
  return zoom.length === 2 ? zoom : [0, Math.max(last, forecast, ctx.body.going ? 2 : 0.01)];
}

/* {time, bytes} of the most that the run has held, or null. */
export function peakOf(ctx) {
  const main = 1 + ctx.body.names.indexOf(ctx.body.main);
  // while the run was going
  const from = ctx.labels[0]?.from ?? -Infinity, to = ctx.labels.at(-1)?.to ?? Infinity;
  const going = ctx.rows.filter((row) => from <= row[0] && row[0] <= to);
  let best = null;
  for (const row of going.length ? going : ctx.rows) if (!best || row[main] > best[main]) best = row;
  return best && { time: best[0], bytes: best[main] };
}

export function labelAt(ctx, time) {
  return ctx.labels.findLast((label) => label.from <= time && time <= label.to) ?? null;
}

export function wordsOf(label) {
  if (!label) return "";
  if (label.stage === MEMORY_STEP) return `block ${label.block}, step ${label.step}`;
  if (label.stage === MEMORY_DECODE) return `block ${label.block}, decoding`;
  return label.stage === 0 ? "preparing" : "closing the file";
}

/* The time on the wall at which a time of the video was worked on, or null. */
export function wallOf(ctx, time) {
  const { block_s } = ctx.body.run, block = Math.floor(time / block_s + 1e-6);
  const own = ctx.labels.filter((label) => label.block === block);
  if (!own.length) return null;
  const from = Math.min(...own.map((label) => label.from)), to = Math.max(...own.map((label) => label.to));
  return from + (time / block_s - block) * (to - from);
}

/* The time of the video that was worked on at a time on the wall. */
export function videoOf(ctx, wall) {
  const { block_s } = ctx.body.run, label = ctx.labels.findLast((one) => one.block >= 0 && one.from <= wall);
  if (!label) return 0;
  const own = ctx.labels.filter((one) => one.block === label.block), from = own[0].from, to = own.at(-1).to;
  return (label.block + Math.min(Math.max((wall - from) / (to - from), 0), 0.999)) * block_s;
}
