/* The path from noise to picture: one wide bar cut into steps, the noise levels as a curve, and what each step
   covers. */

import { LA_STEP_COUNTS } from "./controls.js";
import { dragPoints, drawLevels } from "./schedule_curve.js";
import { exampleFace, noisyPicture } from "./schedule_example.js";
import { laCanvas, laInkOn } from "#liveavatar/web/canvas.js";
import { laElement } from "#liveavatar/web/element.js";
import { laMs, laPercent } from "#liveavatar/web/format.js";
import { LA_TERMS } from "#liveavatar/web/glossary.js";
import { laTerm } from "#liveavatar/web/term.js";
import { live } from "./live.js";

const view = {
  name: "la-schedule",

  build(ctx) {
    ctx.transport();
    ctx.select("schedule", "Schedule", "Where the noise levels come from",
      [["trained", "trained (mini)"], ["released", "released (Live Avatar)"], ["linear", "linear"],
        ["own", "own list"]]);
    const buttons = laElement("span", { class: "la-segments", role: "group", "aria-label": "sampler steps" });
    ctx.stepButtons = LA_STEP_COUNTS.map((count) => {
      const button = laElement("button", { type: "button", class: "la-button", title: `${count} sampler steps`,
        "data-steps": count, onclick: () => ctx.set("steps", count) }, count);
      buttons.append(button);
      return [count, button];
    });
    ctx.field("steps", "Sampler steps", buttons);
    ctx.shiftField = ctx.slider("shift", "shift", LA_TERMS.shift, { min: 0.5, max: 12, step: 0.1,
      words: (value) => value.toFixed(1) });
    ctx.select("solver", "solver", LA_TERMS.solver, [["euler", "Euler"], ["renoise", "re-noise"]]);
    ctx.list = laElement("input", { type: "text", size: 23, "aria-label": "own noise levels",
      placeholder: "1, 0.9, 0.75, 0.5, 0" });
    ctx.list.addEventListener("change", () => ctx.send("list", { text: ctx.list.value }));
    // not every browser calls that a change
    ctx.list.addEventListener("keydown", (event) => { if (event.key === "Enter") ctx.list.blur(); });
    ctx.field("noise levels", "An own list, from 1 down to 0; or time steps from 1000. Press Enter.", ctx.list);
    ctx.space();
    ctx.copyButton();

    ctx.strip = laElement("canvas", { role: "img", "aria-label": "share of the path that each step covers" });
    ctx.note = laElement("p", { class: "la-schedule-note" });
    ctx.path = laElement("canvas", { role: "img", "aria-label": "noise level before and after every step" });
    ctx.pathWords = laElement("p", { class: "la-note" });
    ctx.table = laElement("table", { class: "la-numbers la-schedule-table" });
    ctx.main.append(ctx.strip, ctx.note, laElement("div", { class: "la-schedule-lower" },
      laElement("section", {}, ctx.path, ctx.pathWords), laElement("section", { class: "la-schedule-right" },
        ctx.table)));
    dragPoints(ctx);
    ctx.strip.addEventListener("pointermove", (event) => {
      const sigmas = ctx.get("sigmas"), level = sigmas[0] * (1 - (event.offsetX - 28) / (ctx.strip.clientWidth - 56));
      const step = sigmas.findIndex((sigma) => sigma < level) - 1;
      ctx.strip.title = step < 0 ? ""
        : `step ${step}: noise ${sigmas[step].toFixed(3)} → ${sigmas[step + 1].toFixed(3)}, ` +
          `${laPercent((sigmas[step] - sigmas[step + 1]) / sigmas[0])} of the path`;
    });
  },

  received(ctx) {
    const bytes = ctx.store.buffers.get("example");
    ctx.noisy = null;
    ctx.face = bytes ?? exampleFace();
    ctx.face.channels = bytes ? 3 : 4;
  },

  /* ---- the bar */

  drawStrip(ctx, theme, sigmas, shares) {
    const width = Math.max(ctx.main.clientWidth, 300), picture = 56, top = picture + 26, tall = 62;
    const inset = picture / 2, wide = width - 2 * inset, pen = laCanvas(ctx.strip, width, top + tall + 50);
    const x = (sigma) => inset + (1 - sigma / sigmas[0]) * wide;
    let used = -1e9;
    sigmas.forEach((sigma, i) => {                                     // what the latent looks like between the steps
      const middle = x(sigma), last = i === sigmas.length - 1;
      const free = middle - used >= picture + 6, at = middle;
      if (free && (last || wide - (at - inset) >= picture + 6)) {
        used = at;
        pen.drawImage(noisyPicture(ctx, sigma), at - picture / 2, 0, picture, picture);
        pen.strokeStyle = theme.line;
        pen.lineWidth = 1;
        pen.strokeRect(at - picture / 2 + 0.5, 0.5, picture - 1, picture - 1);
      }
      pen.strokeStyle = theme.soft;
      pen.beginPath();
      pen.moveTo(at, free ? picture + 3 : top - 12);
      pen.lineTo(at, top - 2);
      pen.stroke();
    });
    pen.textBaseline = "middle";
    shares.forEach((share, i) => {
      const from = x(sigmas[i]), to = x(sigmas[i + 1]), colour = theme.steps[i % 8], broad = to - from;
      pen.fillStyle = colour;
      pen.fillRect(from, top, Math.max(broad - (i < shares.length - 1 ? 1.5 : 0), 1), tall);
      if (ctx.body.now?.[1] === i && ctx.body.run?.state === "running") {
        pen.strokeStyle = theme.ink;
        pen.lineWidth = 3;
        pen.strokeRect(from + 1.5, top + 1.5, broad - 4, tall - 3);
      }
      pen.textAlign = "center";
      if (broad > 46) {
        const size = Math.min(15 + share * 34, 34, broad / 3.2);
        pen.fillStyle = laInkOn(colour);
        pen.font = `700 ${size}px ${theme.font}`;
        pen.fillText(laPercent(share), (from + to) / 2, top + tall / 2 - 5);
        pen.font = `11px ${theme.font}`;
        pen.fillText(`step ${i}`, (from + to) / 2, top + tall / 2 + size / 2 + 6);
      } else if (share < 0.05) view.drawSliver(pen, theme, i, share, (from + to) / 2, top + tall);
    });
    pen.textBaseline = "alphabetic";
    pen.fillStyle = theme.soft;
    pen.font = `12px ${theme.font}`;
    pen.textAlign = "left";
    pen.fillText("pure noise", inset, top + tall + 16);
    pen.textAlign = "right";
    if (shares.at(-1) >= 0.05) pen.fillText("picture", width - inset, top + tall + 16);
  },

  /* A step that hardly moves: too thin to see, so it is called out. */
  drawSliver(pen, theme, index, share, x, y) {
    pen.strokeStyle = pen.fillStyle = theme.vermilion;
    pen.lineWidth = 2;
    pen.beginPath();
    pen.moveTo(x, y + 2);
    pen.lineTo(x, y + 26);
    pen.lineTo(x - 14, y + 26);
    pen.stroke();
    pen.beginPath();
    pen.moveTo(x - 5, y + 8);
    pen.lineTo(x + 5, y + 8);
    pen.lineTo(x, y);
    pen.fill();
    pen.textAlign = "right";
    pen.font = `700 20px ${theme.font}`;
    const words = `only ${laPercent(share)}`;
    pen.fillText(words, x - 20, y + 27);
    const wide = pen.measureText(words).width;
    pen.font = `12px ${theme.font}`;
    pen.fillText(`step ${index} covers`, x - 26 - wide, y + 28);
  },

  /* ---- numbers */

  drawTable(ctx, theme, sigmas, shares) {
    const times = ctx.body.milliseconds ?? [], timed = times.some((time) => time !== null && time !== undefined);
    const most = Math.max(...shares);
    const heads = ["", laTerm("sigma", "noise"), laTerm("time_step", "time step"),
      laTerm("share_of_path", "share of the path"),
      ...(timed ? [laTerm("step_time", "takes")] : [])];
    const head = laElement("tr", {}, ...heads.map((words) => laElement("th", {}, words)));
    ctx.table.replaceChildren(head, ...shares.map((share, i) => laElement("tr",
      { class: share < 0.05 ? "la-idle" : "" },
      laElement("td", {}, laElement("b", {}, `step ${i}`)),
      laElement("td", {}, `${sigmas[i].toFixed(3)} → ${sigmas[i + 1].toFixed(3)}`),
      laElement("td", {}, (1000 * sigmas[i]).toFixed(1)),
      laElement("td", { class: "la-share" }, laElement("i",
        { style: `width:${Math.max((170 * share) / most, 1)}px;background:${theme.steps[i % 8]}` }),
        laElement("b", {}, laPercent(share))),
      timed ? laElement("td", {}, laMs(times[i])) : null)));
  },

  draw(ctx) {
    const theme = ctx.theme(), sigmas = ctx.get("sigmas"), kind = ctx.get("schedule");
    if (!ctx.face) view.received(ctx);
    if (sigmas.length < 2) return;
    const shares = sigmas.slice(0, -1).map((sigma, i) => (sigma - sigmas[i + 1]) / sigmas[0]);
    for (const [count, button] of ctx.stepButtons) button.classList.toggle("la-chosen", count === shares.length);
    ctx.shiftField.hidden = !["trained", "released"].includes(kind);
    if (document.activeElement !== ctx.list)
      ctx.list.value = ctx.list.title = sigmas.map((sigma) => Number(sigma.toFixed(4))).join(", ");
    view.drawStrip(ctx, theme, sigmas, shares);
    drawLevels(ctx, theme, sigmas);
    view.drawTable(ctx, theme, sigmas, shares);
    ctx.note.textContent = ctx.body.note ?? "";
    ctx.note.classList.toggle("la-warn", shares.some((share) => share < 0.05));
  },

  key(ctx, key) {
    const hop = { ArrowLeft: -1, ArrowRight: 1 }[key];
    if (!hop) return false;
    ctx.set("steps", Math.min(Math.max(ctx.get("steps") + hop, 1), 12));
    return true;
  },
};

export default live(view);
