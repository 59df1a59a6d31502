/* The latents on their way from noise to picture, in the plane of their principal components. */

import { laCanvas } from "#liveavatar/web/canvas.js";
import { laElement } from "#liveavatar/web/element.js";
import { laPercent } from "#liveavatar/web/format.js";
import { laTerm } from "#liveavatar/web/term.js";
import { live } from "./live.js";

const WAY_HEIGHT = 340, WAY_EDGE = 26;                        // px

const view = {
  name: "la-trajectory",

  build(ctx) {
    ctx.transport();
    ctx.check("guesses", "guesses", "Draw the clean guess of each step");
    ctx.check("velocities", "velocities", "Draw where each velocity, noise minus picture, points back to");
    ctx.check("every_block", "all blocks", "Draw the other blocks faintly");
    ctx.space();
    ctx.copyButton();
    ctx.canvas = laElement("canvas", { role: "img" });
    ctx.note = laElement("p", { role: "status" });
    ctx.table = laElement("table", { class: "la-numbers" });
    ctx.axes = laElement("p", {});
    ctx.main.append(laElement("div", { class: "la-trajectory-wrap" },
      laElement("div", { class: "la-trajectory-plane" }, ctx.canvas),
      laElement("div", { class: "la-trajectory-side" }, ctx.table, ctx.axes, ctx.note)));
  },

  blockNow(ctx) {
    const { run } = ctx.body;
    return Math.min(Math.floor(ctx.time / run.block_s + 1e-6), Math.max(run.blocks - 1, 0));
  },

  /* Data to pixels: one scale for both axes. */
  scale(ctx, width) {
    const points = ctx.body.runs.flatMap((one) => one.paths.flatMap((path) => [...path.x, ...path.clean]));
    const [xs, ys] = [0, 1].map((axis) => points.map((point) => point[axis]));
    const [left, right, low, high] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const unit = Math.min((width - 2 * WAY_EDGE) / Math.max(right - left, 1e-6),
      (WAY_HEIGHT - 2 * WAY_EDGE) / Math.max(high - low, 1e-6));
    return ([x, y]) => [width / 2 + (x - (left + right) / 2) * unit, WAY_HEIGHT / 2 - (y - (low + high) / 2) * unit];
  },

  draw(ctx) {
    const { body } = ctx;
    if (!body.runs) return;
    const theme = ctx.theme(), width = Math.max(ctx.canvas.parentElement.clientWidth, 200);
    const pen = laCanvas(ctx.canvas, width, WAY_HEIGHT), now = view.blockNow(ctx);
    ctx.note.textContent = body.words || "Large points: where the sampler stood, from the noise (ring) to the picture. "
      + "Squares: what each step guessed.";
    view.drawTable(ctx, now);
    if (!body.runs.length) return;
    const place = view.scale(ctx, width);
    if (ctx.get("every_block")) {
      body.runs.forEach((one, number) => one.paths.forEach((path) => {
        if (path.block !== now) view.drawPath(ctx, pen, theme, path, number, place, 0.22);
      }));
    }
    body.runs.forEach((one, number) => {
      const path = one.paths.find(({ block }) => block === now);
      if (path) view.drawPath(ctx, pen, theme, path, number, place, 1);
    });
    pen.globalAlpha = 1;
    // biome-ignore lint/performance/useDomNodeTextContent: the lines of the table as a reader sees them
    ctx.canvas.setAttribute("aria-label", `block ${now}: ${ctx.table.innerText.replaceAll("\n", ", ")}`);
  },

  drawPath(ctx, pen, theme, path, number, place, alpha) {
    const points = path.x.map(place), strong = alpha === 1;
    pen.globalAlpha = alpha;
    pen.strokeStyle = theme.ink;
    pen.lineWidth = strong ? 1.5 : 1;
    pen.setLineDash(number ? [5, 3 + number] : []);
    pen.beginPath();
    points.forEach(([x, y], i) => (i ? pen.lineTo(x, y) : pen.moveTo(x, y)));
    pen.stroke();
    pen.setLineDash([]);
    points.forEach(([x, y], i) => {
      pen.beginPath();
      pen.arc(x, y, strong ? 5 : 2.5, 0, 7);
      pen.fillStyle = pen.strokeStyle = i ? theme.steps[(i - 1) % 8] : theme.ink;
      if (i) pen.fill(); else pen.stroke();
    });
    if (!strong) return;
    if (ctx.get("guesses")) {
      path.clean.map(place).forEach(([x, y], i) => {
        pen.strokeStyle = theme.steps[i % 8];
        pen.lineWidth = 2;
        pen.strokeRect(x - 4, y - 4, 8, 8);
      });
    }
    if (ctx.get("velocities")) view.drawVelocities(pen, theme, path, place);
  },

  /* From each x the way that its velocity goes back, a fifth of it. */
  drawVelocities(pen, theme, path, place) {
    path.velocity.forEach(([vx, vy], i) => {
      const [x, y] = path.x[i], [ax, ay] = place([x, y]), [bx, by] = place([x - 0.2 * vx, y - 0.2 * vy]);
      const angle = Math.atan2(by - ay, bx - ax);
      pen.strokeStyle = theme.steps[i % 8];
      pen.lineWidth = 2;
      pen.beginPath();
      pen.moveTo(ax, ay);
      pen.lineTo(bx, by);
      for (const side of [-1, 1]) {
        pen.moveTo(bx, by);
        pen.lineTo(bx - 7 * Math.cos(angle + side * 0.5), by - 7 * Math.sin(angle + side * 0.5));
      }
      pen.stroke();
    });
  },

  drawTable(ctx, now) {
    const { runs, explained } = ctx.body, key = JSON.stringify([now, runs]);
    if (ctx.shown === key) return;
    ctx.shown = key;
    const mean = (values) => values.reduce((sum, value) => sum + value, 0) / Math.max(values.length, 1);
    const head = laElement("tr", {}, laElement("th", {}, `block ${now}`), laElement("th", {},
      laTerm("path_length", "length")), laElement("th", {}, laTerm("straightness", "straight")));
    const row = (name, length, straight) => laElement("tr", {}, laElement("th", { scope: "row" }, name),
      laElement("td", {}, length === undefined ? "–" : length.toFixed(2)),
      laElement("td", {}, straight === undefined ? "–" : `${(100 * straight).toFixed(1)} %`));
    ctx.table.replaceChildren(...(runs.length ? [head] : []), ...runs.flatMap(({ name, paths }, number) => {
      const path = paths.find(({ block }) => block === now), label = runs.length > 1 ? name : "this block";
      return [row(`${label}${number ? " (dashed)" : ""}`, path?.length, path?.straightness),
        row("mean of all blocks", mean(paths.map((one) => one.length)), mean(paths.map((one) => one.straightness)))];
    }));
    ctx.axes.replaceChildren(...(explained ? [laTerm("principal_plane", "this plane"),
      ` shows ${laPercent(explained[0] + explained[1])} of how they vary`] : []));
  },

  key(ctx, key) {
    const hop = { ArrowLeft: -1, ArrowRight: 1 }[key], { run } = ctx.body ?? {};
    if (!hop || !run) return false;
    ctx.move((Math.min(Math.max(view.blockNow(ctx) + hop, 0), run.blocks - 1) + 0.01) * run.block_s);
    return true;
  },
};

export default live(view);
