/* What MemoryView paints behind its curve and over it. */

import { labelAt, MEMORY_DECODE, MEMORY_STEP, peakOf, wallOf, wordsOf } from "./memory_series.js";
import { laBytes } from "#liveavatar/web/format.js";

export const MEMORY_STRIP = 13;                 // px, the steps at the foot
export const MEMORY_HEAD = 20;                  // px, the blocks at the head

/* Behind the curve: a field for every block and its number; at the foot a strip of the steps. */
export function drawBack(ctx, u) {
  const pen = u.ctx, scale = devicePixelRatio || 1, { left, top, width, height } = u.bbox, theme = ctx.colours;
  const x = (time) => Math.min(Math.max(u.valToPos(time, "x", true), left), left + width);
  const [from, to] = [u.scales.x.min, u.scales.x.max];
  pen.save();
  pen.font = `${11 * scale}px ${theme.font}`;
  pen.textAlign = "center";
  pen.textBaseline = "alphabetic";
  const blocks = new Map();
  for (const label of ctx.labels) {
    if (label.to < from || label.from > to) continue;
    const x0 = x(label.from), x1 = Math.max(x(label.to), x0 + 1);
    pen.fillStyle = label.stage === MEMORY_STEP ? theme.steps[label.step % 8]
      : label.stage === MEMORY_DECODE ? theme.ink : theme.line;
    pen.globalAlpha = label.stage === MEMORY_DECODE ? 0.55 : 1;
    pen.fillRect(x0, top + height + 3 * scale, x1 - x0, (MEMORY_STRIP - 4) * scale);
    pen.globalAlpha = 1;
    if (label.block < 0) continue;
    const block = blocks.get(label.block) ?? [label.from, label.to];
    blocks.set(label.block, [Math.min(block[0], label.from), Math.max(block[1], label.to)]);
  }
  let used = -1e9;
  for (const [block, [began, ended]] of blocks) {
    const x0 = x(began), x1 = x(ended);
    if (block % 2 === 0) {
      pen.fillStyle = theme.ink;
      pen.globalAlpha = theme.dark ? 0.07 : 0.045;
      pen.fillRect(x0, top, x1 - x0, height);
      pen.globalAlpha = 1;
    }
    const words = x1 - x0 > 58 * scale ? `block ${block}` : `${block}`, middle = (x0 + x1) / 2;
    const wide = pen.measureText(words).width;
    if (middle - wide / 2 < used + 8 * scale || wide > Math.max(x1 - x0, 16 * scale) + 6 * scale) continue;
    used = middle + wide / 2;
    pen.fillStyle = theme.soft;
    pen.fillText(words, middle, top - 7 * scale);
  }
  pen.restore();
}

/* Over it: the peak, and the time cursor. */
export function drawFront(ctx, u) {
  const pen = u.ctx, scale = devicePixelRatio || 1, { left, top, width, height } = u.bbox, theme = ctx.colours;
  const peak = peakOf(ctx);
  pen.save();
  const wall = ctx.labels.length && ctx.body.run ? wallOf(ctx, ctx.time) : null;
  if (wall !== null) {
    const x = u.valToPos(wall, "x", true);
    if (x >= left - 1 && x <= left + width + 1) {
      pen.fillStyle = theme.ink;
      pen.globalAlpha = 0.75;
      pen.fillRect(x - 0.5 * scale, top - 3 * scale, scale, height + 3 * scale);
      pen.globalAlpha = 1;
      pen.beginPath();
      pen.moveTo(x - 4 * scale, top - 5 * scale);
      pen.lineTo(x + 4 * scale, top - 5 * scale);
      pen.lineTo(x, top);
      pen.fill();
    }
  }
  const x = peak && u.valToPos(peak.time, "x", true), y = peak && u.valToPos(peak.bytes, "y", true);
  if (peak && x >= left && x <= left + width && y >= top) {
    const label = labelAt(ctx, peak.time);
    const words = `peak ${laBytes(peak.bytes)}${label ? ` · ${wordsOf(label)}` : ""}`;
    pen.font = `600 ${12 * scale}px ${theme.font}`;
    const wide = pen.measureText(words).width, toRight = x + wide + 14 * scale < left + width;
    pen.fillStyle = pen.strokeStyle = theme.vermilion;
    pen.beginPath();
    pen.arc(x, y, 4 * scale, 0, 7);
    pen.fill();
    pen.textAlign = toRight ? "left" : "right";
    pen.textBaseline = "middle";
    pen.lineWidth = 4 * scale;
    pen.lineJoin = "round";
    pen.strokeStyle = theme.ground;
    const at = x + (toRight ? 9 : -9) * scale, over = Math.max(y - 11 * scale, top + 8 * scale);
    pen.strokeText(words, at, over);
    pen.fillStyle = theme.dark ? "#ff8a3d" : theme.vermilion;
    pen.fillText(words, at, over);
  }
  pen.restore();
}
