/* The noise levels as a curve whose points can be dragged. */

import { laCanvas } from "#liveavatar/web/canvas.js";

const PATH_W = 430, PATH_H = 250;          // px

/* Levels to pixels, and back: x(i) of the i-th level, y(sigma) and sigma(y). */
export function pathAt(sigmas) {
  const left = 54, right = PATH_W - 14, top = 14, bottom = PATH_H - 34, count = sigmas.length - 1;
  return {
    left, right, top, bottom, x: (i) => left + (i / count) * (right - left),
    y: (sigma) => bottom - sigma * (bottom - top), sigma: (y) => (bottom - y) / (bottom - top),
  };
}

export function drawLevels(ctx, theme, sigmas) {
  const at = pathAt(sigmas), pen = laCanvas(ctx.path, PATH_W, PATH_H), renoise = ctx.get("solver") === "renoise";
  pen.font = `11px ${theme.font}`;
  pen.textBaseline = "middle";
  for (const level of [0, 0.25, 0.5, 0.75, 1]) {
    pen.strokeStyle = theme.line;
    pen.lineWidth = level === 0 ? 1.2 : 0.6;
    pen.beginPath();
    pen.moveTo(at.left, at.y(level));
    pen.lineTo(at.right, at.y(level));
    pen.stroke();
    pen.fillStyle = theme.soft;
    pen.textAlign = "right";
    pen.fillText(level === 1 ? "noise 1" : level === 0 ? "clean 0" : level, at.left - 5, at.y(level));
  }
  pen.textAlign = "center";
  for (let i = 0; i < sigmas.length - 1; i++) {
    const [x0, x1] = [at.x(i), at.x(i + 1)], [y0, y1] = [at.y(sigmas[i]), at.y(sigmas[i + 1])];
    const colour = theme.steps[i % 8];
    pen.fillStyle = theme.soft;
    pen.fillText(`step ${i}`, (x0 + x1) / 2, PATH_H - 18);
    pen.fillStyle = colour;
    pen.globalAlpha = 0.16;
    pen.fillRect(x0, y0, x1 - x0, y1 - y0);
    pen.globalAlpha = 1;
    pen.strokeStyle = colour;
    pen.lineWidth = 3;
    pen.lineCap = "round";
    pen.beginPath();
    pen.moveTo(x0, y0);
    if (renoise && sigmas[i + 1] > 0) {                 // to the clean guess, and back up with fresh noise
      const turn = x0 + 0.62 * (x1 - x0);
      pen.lineTo(turn, at.y(0));
      pen.stroke();
      pen.setLineDash([2, 6]);
      pen.beginPath();
      pen.moveTo(turn, at.y(0));
    }
    pen.lineTo(x1, y1);
    pen.stroke();
    pen.setLineDash([]);
  }
  sigmas.forEach((sigma, i) => {
    pen.beginPath();
    pen.arc(at.x(i), at.y(sigma), i && i < sigmas.length - 1 ? 5.5 : 4, 0, 7);
    pen.fillStyle = theme.ground;
    pen.fill();
    pen.strokeStyle = theme.ink;
    pen.lineWidth = 1.8;
    pen.stroke();
  });
  ctx.pathWords.textContent = renoise
    ? "Re-noise: each step jumps to its clean guess, then fresh noise is added (dotted). Drag a point to make an " +
      "own list."
    : "Euler: each step follows the velocity in a straight line. Drag a point to make an own list.";
}

export function dragPoints(ctx) {
  let held = null;
  const nearest = (event) => {
    const sigmas = ctx.get("sigmas"), at = pathAt(sigmas);
    for (let i = 1; i < sigmas.length - 1; i++)
      if (Math.hypot(event.offsetX - at.x(i), event.offsetY - at.y(sigmas[i])) < 12) return i;
    return null;
  };
  ctx.path.addEventListener("pointerdown", (event) => {
    held = nearest(event);
    if (held !== null) ctx.path.setPointerCapture(event.pointerId);
  });
  ctx.path.addEventListener("pointermove", (event) => {
    const near = held !== null || nearest(event) !== null;
    ctx.path.style.cursor = near ? "ns-resize" : "default";
    ctx.path.title = near ? "Drag to change this noise level: the list becomes your own" : "";
    if (held === null) return;
    const sigmas = [...ctx.get("sigmas")], wanted = pathAt(sigmas).sigma(event.offsetY);
    sigmas[held] = Number(Math.min(Math.max(wanted, sigmas[held + 1] + 0.002), sigmas[held - 1] - 0.002).toFixed(4));
    ctx.set("sigmas", sigmas);
  });
  ctx.path.addEventListener("pointerup", () => { held = null; });
}
