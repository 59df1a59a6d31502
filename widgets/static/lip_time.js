/* Where things lie in LipView: its lanes from top to bottom, its time line from left to right. */

export const LIP_GUTTER = 76;                   // px, left of the lanes, for their names
export const LIP_TOP = 20;                      // px, above the lanes, for the ticks
export const LIP_LANES = [["wave", 58], ["mel", 66], ["sounds", 40], ["mouth", 118], ["agreement", 34]];      // px
export const LIP_GAP = 8;

/* The time line in view: x(time) in px, time(x) in s, both ways. It follows the run, or the time cursor once moved. */
export function timeScale(ctx) {
  const run = ctx.body.run, total = ctx.body.frames / run.fps, span = Math.min(ctx.get("window_s"), total);
  const idle = ctx.time === (ctx.firstTime ??= ctx.time);
  const at = run.state === "running" && idle ? run.done_s : ctx.time;
  if (ctx.from === undefined || at < ctx.from || at > ctx.from + span * 0.9 || ctx.spanBefore !== span)
    ctx.from = at - span * (run.state === "running" && idle ? 0.6 : 0.15);
  ctx.spanBefore = span;
  ctx.from = Math.min(Math.max(ctx.from, 0), total - span);
  const width = ctx.width - LIP_GUTTER;
  return {
    total, span, from: ctx.from, to: ctx.from + span, per_s: width / span,
    x: (time) => LIP_GUTTER + ((time - ctx.from) / span) * width,
    time: (x) => ctx.from + ((x - LIP_GUTTER) / width) * span,
  };
}

/* The number of the sound of the language at a time, or -1. */
export function soundAt(ctx, time) { return ctx.sounds.findIndex(([, from, to]) => from <= time && time < to); }

/* The lane at a height, or null between two. */
export function laneAt(y) {
  let top = LIP_TOP;
  for (const [name, height] of LIP_LANES) {
    if (y >= top && y < top + height) return name;
    top += height + LIP_GAP;
  }
  return null;
}
