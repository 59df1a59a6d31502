/* The plane of FlowLab: density of the data, arrows of a field, ways of points, modes. */

import { laPixel, laPixels, laRgb } from "#liveavatar/web/canvas.js";

/* Where a point is that goes straight from level to level: path (levels, count, 2). */
export function placeAt(path, count, sigmas, sigma, point) {
  let step = sigmas.findIndex((level) => level <= sigma);
  if (step < 0) step = sigmas.length - 1;
  const at = (level, axis) => path[2 * (level * count + point) + axis];
  if (step === 0) return [at(0, 0), at(0, 1)];
  const share = (sigmas[step - 1] - sigma) / (sigmas[step - 1] - sigmas[step]);
  return [0, 1].map((axis) => at(step - 1, axis) + share * (at(step, axis) - at(step - 1, axis)));
}

/* The plane's points to pixels, and back. */
export function planeScale(ctx, side) {
  const unit = side / (2 * ctx.body.reach);
  return { unit, x: (value) => side / 2 + value * unit, y: (value) => side / 2 - value * unit };
}

export function drawDensity(ctx, pen, side) {
  const bytes = ctx.buffers.get("density"), count = Math.sqrt(bytes?.length ?? 0);
  if (!count) return;
  const rgb = laRgb(ctx.colours.dark ? ctx.colours.sky : ctx.colours.blue);
  const picture = laPixels(count, count, (out) => {
    for (let i = 0; i < bytes.length; i++) out[i] = laPixel(...rgb, Math.round(bytes[i] * 0.45));
  });
  pen.drawImage(picture, 0, 0, side, side);
}

export function drawArrows(pen, side, vectors, count, colour) {
  if (!vectors) return;
  const cell = side / count, lengths = [];
  for (let i = 0; i < vectors.length; i += 2) lengths.push(Math.hypot(vectors[i], vectors[i + 1]));
  const longest = Math.max(...lengths, 1e-6);
  pen.strokeStyle = pen.fillStyle = colour;
  pen.lineWidth = 1;
  lengths.forEach((length, i) => {
    const size = (0.95 * cell * length) / longest, x = (i % count + 0.5) * cell;
    const y = (Math.floor(i / count) + 0.5) * cell;
    const [dx, dy] = [vectors[2 * i] / (length || 1), -vectors[2 * i + 1] / (length || 1)];
    pen.beginPath();
    pen.moveTo(x - dx * size / 2, y - dy * size / 2);
    pen.lineTo(x + dx * size / 2, y + dy * size / 2);
    pen.stroke();
    if (size < 3) return;
    const head = Math.min(0.35 * size, 3.5), [tx, ty] = [x + dx * size / 2, y + dy * size / 2];
    pen.beginPath();
    pen.moveTo(tx, ty);
    pen.lineTo(tx - dx * head - dy * head * 0.6, ty - dy * head + dx * head * 0.6);
    pen.lineTo(tx - dx * head + dy * head * 0.6, ty - dy * head - dx * head * 0.6);
    pen.fill();
  });
}

/* Ways of some points as lines in the colours of the steps, and all points where they are at this noise level. */
export function drawPath(ctx, pen, side, path, sigmas) {
  if (!path) return;
  const { x, y } = planeScale(ctx, side), count = ctx.body.drawn, sigma = ctx.get("sigma");
  const levels = path.length / (2 * count);
  pen.lineWidth = 1.1;
  for (let level = 1; level < levels; level++) {
    pen.strokeStyle =
      `${ctx.colours.steps[(levels > 9 ? Math.floor((level - 1) * 8 / (levels - 1)) : level - 1) % 8]}99`;
    pen.beginPath();
    for (let point = 0; point < count; point += 6) {
      const [from, to] = [2 * ((level - 1) * count + point), 2 * (level * count + point)];
      pen.moveTo(x(path[from]), y(path[from + 1]));
      pen.lineTo(x(path[to]), y(path[to + 1]));
    }
    pen.stroke();
  }
  for (let point = 0; point < count; point++) {
    const [px, py] = placeAt(path, count, sigmas, sigma, point);
    drawDot(pen, x(px), y(py), 2, ctx.colours.ink);
  }
  for (let point = 0; point < count; point++) {
    const end = 2 * ((levels - 1) * count + point);
    drawDot(pen, x(path[end]), y(path[end + 1]), 2, ctx.colours.vermilion);
  }
}

export function drawDot(pen, x, y, radius, colour) {
  pen.fillStyle = colour;
  pen.beginPath();
  pen.arc(x, y, radius, 0, 7);
  pen.fill();
}

export function drawModes(ctx, pen, side) {
  const { unit, x, y } = planeScale(ctx, side);
  ctx.means.forEach(([mx, my], mode) => {
    const there = mode < ctx.body.open;
    pen.strokeStyle = there ? ctx.colours.ink : ctx.colours.soft;
    pen.lineWidth = there ? 1.2 : 1;
    pen.setLineDash(there ? [] : [3, 4]);
    pen.beginPath();
    pen.arc(x(mx), y(my), 2 * ctx.get("width") * unit, 0, 7);
    pen.stroke();
  });
  pen.setLineDash([]);
}
