/* FlowLab's distance to the data, by number of steps. */

import { drawDot } from "./flow_plane.js";
import { laCanvas } from "#liveavatar/web/canvas.js";

export const FLOW_STEPS = [1, 2, 3, 4, 8, 32];

export function drawChart(ctx, wide, side) {
  const { curves, knees, open, student, figures } = ctx.body, pen = laCanvas(ctx.chart.canvas, wide, side);
  const theme = ctx.colours;
  const [left, top, foot] = [34, 26, 40], all = Object.values(curves).flat().map(([, value]) => value);
  const most = 1.05 * Math.max(...all, figures.distance, student?.figures.distance ?? 0, 0.5);
  const x = (steps) => left + 12 + FLOW_STEPS.indexOf(steps) * (wide - left - 24) / (FLOW_STEPS.length - 1);
  const y = (value) => top + (side - top - foot) * (1 - value / most);
  pen.font = `11px ${theme.font}`;
  pen.textBaseline = "middle";
  for (let value = 0; value <= most; value += 0.5) {
    pen.strokeStyle = theme.line;
    pen.lineWidth = 0.5;
    pen.beginPath(); pen.moveTo(left, y(value)); pen.lineTo(wide, y(value)); pen.stroke();
    pen.fillStyle = theme.soft;
    pen.textAlign = "right";
    pen.fillText(value.toFixed(1), left - 6, y(value));
  }
  pen.textAlign = "center";
  for (const steps of FLOW_STEPS) pen.fillText(steps, x(steps), side - foot + 14);
  pen.fillText("steps", (left + wide) / 2, side - 8);
  for (const [count, curve] of Object.entries(curves)) {
    const chosen = Number(count) === open;
    pen.strokeStyle = chosen ? theme.ink : theme.soft;
    pen.globalAlpha = chosen ? 1 : 0.45;
    pen.lineWidth = chosen ? 2 : 1;
    pen.beginPath();
    curve.forEach(([steps, value], i) => pen[i ? "lineTo" : "moveTo"](x(steps), y(value)));
    pen.stroke();
    const knee = curve.find(([steps]) => steps === knees[count]);
    pen.beginPath();
    pen.arc(x(knee[0]), y(knee[1]), chosen ? 5.5 : 3.5, 0, 7);
    pen.stroke();
    pen.fillStyle = pen.strokeStyle;
    pen.textAlign = "right";
    pen.fillText(count, x(1) - 5, y(curve[0][1]));
  }
  pen.globalAlpha = 1;
  drawDot(pen, x(ctx.get("steps")), y(figures.distance), 4.5, theme.vermilion);
  if (student) drawDiamond(pen, x(student.jobs.length), y(student.figures.distance), theme);
  pen.textAlign = "right";
  pen.fillStyle = theme.soft;
  pen.fillText("numbers: modes left open; rings: knees", wide - 2, 8);
}

function drawDiamond(pen, x, y, theme) {
  pen.fillStyle = theme.orange;
  pen.strokeStyle = theme.ink;
  pen.lineWidth = 1;
  pen.beginPath();
  for (const [dx, dy] of [[0, -7], [7, 0], [0, 7], [-7, 0]]) pen.lineTo(x + dx, y + dy);
  pen.closePath();
  pen.fill();
  pen.stroke();
  pen.textAlign = "left";
  pen.fillStyle = theme.ink;
  pen.fillText("student", x + 11, y);
}
