/* What is possible: a column for each step, the guess above the mean of what is still possible and their difference,
   one true video beside them, and the distance from the mean as a curve. Buffers: "guess STEP", "mean STEP",
   "apart STEP" and the same of "true", JPEG. */

import { laCanvas } from "#liveavatar/web/canvas.js";
import { laElement } from "#liveavatar/web/element.js";
import { laTerm } from "#liveavatar/web/term.js";
import { laHeatScale } from "./heat_scale.js";
import {
  POSSIBLE_PARTS, possibleCount, possibleInterval, possibleNumber, possiblePoints, possibleTop, possibleWords,
} from "./possible_curve.js";
import { live } from "./live.js";
import { laShowStudy, laStudyButton } from "./study_button.js";

const POSSIBLE_KINDS = ["guess", "mean", "apart"], POSSIBLE_HEIGHT = 270;
const POSSIBLE_EDGE = { left: 30, right: 10, above: 10, below: 22 };               // px

const view = {
  name: "la-possible",

  build(ctx) {
    laStudyButton(ctx, "Draw other videos of this block, or stop; what is drawn stays (space)");
    ctx.count = ctx.slider("renderings", "renderings", "Other videos that are drawn", { min: 4, max: 64, step: 4 });
    ctx.blocks = laElement("select", { onchange: () => ctx.move(Number(ctx.blocks.value) + 0.001) });
    ctx.blockField = ctx.field("block", "The block that is drawn again: that under the time cursor", ctx.blocks);
    ctx.select("part", "distance", "Where the distance from the mean is measured", Object.entries(POSSIBLE_PARTS));
    ctx.space();
    ctx.copyButton();
    ctx.images = new Map();
    ctx.grid = laElement("div", { class: "la-possible-grid", role: "table", "aria-label": "steps" });
    ctx.range = laElement("input", { type: "range", min: 0, step: 1, "aria-label": "picture of the block",
      oninput: () => view.moveTo(ctx, Number(ctx.range.value)) });
    ctx.place = laElement("output");
    ctx.scale = laElement("canvas", { role: "img" });
    ctx.below = laElement("div", { class: "la-possible-below" }, laElement("label", { class: "la-field" },
      laElement("span", {}, "picture"), ctx.range, ctx.place), laElement("div", { class: "la-possible-scale" },
      ctx.scale, laTerm("change_scale", "difference, % of black against white")));
    ctx.title = laElement("div", { class: "la-possible-title" }, laTerm("from_the_mean", "distance"),
      ": 0 is the mean, 1 a true video");
    ctx.curve = laElement("canvas", { role: "img" });
    ctx.note = laElement("p", { class: "la-possible-note" });
    ctx.pane = laElement("div", { class: "la-possible-pane" }, ctx.title, ctx.curve, ctx.note);
    ctx.main.append(laElement("div", { class: "la-possible-wrap" },
      laElement("div", { class: "la-possible-left" }, ctx.grid, ctx.below), ctx.pane));
  },

  received(ctx, names) {
    for (const name of names) {
      const url = URL.createObjectURL(new Blob([ctx.store.buffers.get(name)], { type: "image/jpeg" }));
      const before = ctx.images.get(name);
      ctx.images.set(name, url);
      if (before) setTimeout(() => URL.revokeObjectURL(before), 1000);      // it may still be on its way to the page
    }
  },

  leave(ctx) {
    for (const url of ctx.images.values()) URL.revokeObjectURL(url);
  },

  draw(ctx) {
    const { body } = ctx;
    laShowStudy(ctx, body);
    ctx.toggle.disabled = !body.can_draw || (body.done && !body.running);
    ctx.toggle.hidden = ctx.count.hidden = body.saved;
    view.fillBlocks(ctx);
    const steps = body.steps, bare = !steps.length;
    ctx.main.hidden = bare;
    if (bare) return;
    view.makeColumns(ctx, steps.length);
    for (const [name, column] of ctx.columns) view.fillColumn(ctx, name, column);
    ctx.range.max = body.frames - 1;
    ctx.range.value = body.frame;
    ctx.place.textContent = `${body.frame + 1} of ${body.frames}`;
    laHeatScale(ctx.scale, ctx.theme(), { ticks: body.ticks, scale: body.scale });
    ctx.note.textContent = `${body.note} Thin lines: the other places.`;
    view.drawCurve(ctx);
  },

  fillBlocks(ctx) {
    const { blocks, block } = ctx.body, key = blocks.join();
    ctx.blockField.hidden = blocks.length < 2;
    if (ctx.blocks.dataset.key !== key) {
      ctx.blocks.dataset.key = key;
      ctx.blocks.replaceChildren(...blocks.map((start, number) => laElement("option", { value: start }, number)));
    }
    ctx.blocks.selectedIndex = block;
  },

  /* A column for each step, and one of a true video. */
  makeColumns(ctx, count) {
    if (ctx.columns?.size === count + 1) return;
    const heads = [laTerm("guess", "the guess"), laTerm("still_possible", "mean of what is still possible"),
      "the difference"];
    const corner = laElement("div", { role: "row", class: "la-possible-column la-possible-heads" },
      laElement("span", { role: "columnheader" }, ""), ...heads.map((head) => laElement("span",
        { role: "columnheader", class: "la-possible-head" }, head)), laElement("span",
        { role: "columnheader", class: "la-possible-head la-possible-foot" }, "distance"));
    const names = [...Array(count).keys()].map(String).concat("true");
    ctx.columns = new Map(names.map((name) => [name, view.makeColumn(name)]));
    ctx.grid.replaceChildren(corner, ...[...ctx.columns.values()].map((column) => column.root));
    ctx.grid.style.setProperty("--columns", count + 1);
  },

  makeColumn(name) {
    const of = name === "true" ? "a true video" : `step ${name}`;
    const alts = name === "true" ? { guess: "one of the true videos", mean: "the mean of all of them",
      apart: "the difference of the two" } : { guess: `the guess of ${of}`,
        mean: `the mean of the videos that are still possible at ${of}`, apart: `the difference at ${of}` };
    const pictures = Object.fromEntries(POSSIBLE_KINDS.map((kind) => [kind, laElement("img", { alt: alts[kind] })]));
    const head = laElement("div", { class: "la-possible-top", role: "rowheader" }), foot = laElement("div",
      { class: "la-possible-foot", role: "cell" });
    const cells = POSSIBLE_KINDS.map((kind) => laElement("div", { role: "cell" }, pictures[kind]));
    const root = laElement("div", { class: "la-possible-column", role: "row", "data-column": name }, head, ...cells,
      foot);
    return { root, head, foot, pictures };
  },

  fillColumn(ctx, name, column) {
    const { steps, count } = ctx.body, step = steps[name], theme = ctx.theme();
    for (const kind of POSSIBLE_KINDS) {
      const url = ctx.images.get(`${kind} ${name}`);
      if (url && column.pictures[kind].src !== url) column.pictures[kind].src = url;
    }
    const colour = step ? theme.steps[name % theme.steps.length] : theme.soft;
    column.root.style.setProperty("--colour", colour);
    const key = JSON.stringify([step, count]);
    if (column.key === key) return;
    column.key = key;
    if (!step) {
      column.head.replaceChildren(laElement("b", {}, "a true video"), laElement("span", {}, `mean of all ${count}`));
      column.foot.replaceChildren(laElement("b", {}, "1.00"), laElement("span", {}, "by definition"));
      return;
    }
    const sigma = laElement("small", {}, ` σ ${step.sigma.toFixed(2)}`);
    column.head.replaceChildren(laElement("b", {}, `step ${name}`, sigma),
      laElement("span", {}, laTerm("remaining", `${possibleCount(step.remaining)} of ${count} remain`)));
    column.foot.replaceChildren(laElement("b", {}, possibleNumber(step.share), laElement("small", {
      title: "95 % interval: what other renderings, as many, would say" }, possibleInterval(step))),
      laElement("span", {}, step.verdict),
      laElement("small", { title: "Distance from the mean of what is still possible, against a true video's from the " +
        "mean of all" }, `${possibleNumber(step.to_expected)} to this mean`));
  },

  drawCurve(ctx) {
    const { body } = ctx, { steps, shares, part, limits } = body, theme = ctx.theme();
    const width = Math.max(ctx.pane.clientWidth, 180), height = POSSIBLE_HEIGHT;
    const pen = laCanvas(ctx.curve, width, height), top = possibleTop(shares);
    const pane = { ...POSSIBLE_EDGE, width, height }, floor = height - pane.below;
    const y = (share) => floor - (floor - pane.above) * share / top;
    pen.font = `11px ${theme.font}`;
    view.drawBands(pen, theme, { pane, y, limits, top });
    for (const name of Object.keys(shares).filter((one) => one !== part).concat(part)) {
      const points = possiblePoints(shares[name], top, pane), strong = name === part;
      pen.strokeStyle = strong ? theme.ink : theme.soft;
      pen.globalAlpha = strong ? 1 : 0.45;
      pen.lineWidth = strong ? 2 : 1;
      pen.beginPath();
      points.forEach(([px, py], at) => pen[at ? "lineTo" : "moveTo"](px, py));
      pen.stroke();
      if (strong) points.forEach(([px, py], at) => {
        const { low, high } = steps[at];
        pen.fillStyle = theme.steps[at % theme.steps.length];
        if (high !== null) pen.fillRect(px - 1, y(Math.min(high, top)), 2, y(low) - y(Math.min(high, top)));
        pen.beginPath();
        pen.arc(px, py, 5, 0, 7);
        pen.fill();
      });
    }
    pen.globalAlpha = 1;
    pen.fillStyle = theme.soft;
    pen.textAlign = "center";
    possiblePoints(shares[part].map(() => 0), top, pane).forEach(([px], at) => {
      pen.fillText(at ? at : "step 0", px, height - 6);
    });
    ctx.curve.setAttribute("aria-label", possibleWords(steps, part));
  },

  /* Where a distance is called the mean, and where a sample; the lines of both. */
  drawBands(pen, theme, { pane, y, limits, top }) {
    const { left, right, width } = pane, [mean, sample, tooFar] = limits, end = Math.min(tooFar, top);
    pen.globalAlpha = theme.dark ? 0.22 : 0.13;
    for (const [from, to, colour] of [[0, mean, theme.sky], [sample, end, theme.orange]]) {
      pen.fillStyle = colour;
      pen.fillRect(left, y(to), width - left - right, y(from) - y(to));
    }
    pen.globalAlpha = 1;
    pen.strokeStyle = pen.fillStyle = theme.soft;
    pen.lineWidth = 1;
    pen.textBaseline = "middle";
    for (const value of [0, 0.5, 1]) {
      pen.setLineDash(value === 1 ? [4, 3] : []);
      pen.beginPath();
      pen.moveTo(left, y(value));
      pen.lineTo(value === 0.5 ? left + 4 : width - right, y(value));
      pen.stroke();
      pen.textAlign = "right";
      pen.fillText(value, left - 5, y(value));
    }
    pen.setLineDash([]);
    pen.textAlign = "right";
    pen.fillText("one sample", width - right - 6, y(sample) - 9);
    pen.fillText("holds the mean", width - right - 6, y(0) - 9);
    pen.textBaseline = "alphabetic";
  },

  moveTo(ctx, frame) {
    const { start_s, fps, frames } = ctx.body;
    ctx.move(start_s + (Math.min(Math.max(frame, 0), frames - 1) + 0.5) / fps);
  },

  key(ctx, key) {
    const { frame, frames, blocks, block } = ctx.body ?? {};
    const hop = { ArrowLeft: -1, ArrowRight: 1 }[key], turn = { ArrowUp: -1, ArrowDown: 1 }[key];
    if (key === " ") { ctx.send("study"); return true; }
    if (hop && frames) { view.moveTo(ctx, frame + hop); return true; }
    if (!turn || !blocks?.length) return false;
    ctx.move(blocks[Math.min(Math.max(block + turn, 0), blocks.length - 1)] + 0.001);
    return true;
  },
};

export default live(view);
