/* The colours of differences and what they stand for. */

import { laCanvas } from "#liveavatar/web/canvas.js";

/* Draw a scale, px wide. ticks: [[place 0..1, words], ...]; scale: colours from its beginning to its end, [r, g, b]. */
export function laHeatScale(canvas, theme, { ticks, scale }, wide = 230) {
  const pen = laCanvas(canvas, wide, 26), part = wide / scale.length;
  scale.forEach(([r, g, b], i) => {
    pen.fillStyle = `rgb(${r},${g},${b})`;
    pen.fillRect(i * part, 0, part + 0.5, 10);
  });
  pen.strokeStyle = theme.line;
  pen.strokeRect(0.5, 0.5, wide - 1, 9);
  pen.fillStyle = theme.soft;
  pen.font = `11px ${theme.font}`;
  pen.textBaseline = "top";
  for (const [place, words] of ticks) {
    pen.textAlign = place === 0 ? "left" : place === 1 ? "right" : "center";
    pen.fillText(words, place * wide, 13);
  }
  canvas.setAttribute("aria-label", `colours from 0 to ${ticks.at(-1)[1]}`);
}
