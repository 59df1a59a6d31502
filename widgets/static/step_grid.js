/* Steps x blocks, filling live; and one cell in depth. Buffers are named "cell/block/step/kind/frames/width/height". */

import { GRID_BETWEEN, gridDetail, gridFrame, gridPicture } from "./step_detail.js";
import { laCanvas } from "#liveavatar/web/canvas.js";
import { laElement } from "#liveavatar/web/element.js";
import { laPercent, laSeconds } from "#liveavatar/web/format.js";
import { LA_TERMS } from "#liveavatar/web/glossary.js";
import { laTerm } from "#liveavatar/web/term.js";
import { live } from "./live.js";

const GRID_HEAD = 34, GRID_GAP = 4;                        // px
const GRID_SHOWN = [["both", "noisy x and guess"], ["clean", "clean guess"], ["x", "noisy latent x"],
  ["velocity", "velocity"], ["difference", "difference to the step before"], ["channel", "one latent channel"],
  ["mean", "channel mean"]];

const view = {
  ...gridDetail,
  name: "la-grid",

  build(ctx) {
    ctx.transport();
    ctx.space();
    ctx.newest = ctx.button("Follow newest", "Open the newest cell again, and every new one", () => {
      ctx.set("block", -1);
      ctx.set("step", -1);
    }, "la-quiet");
    ctx.copyButton();
    ctx.bar2 = laElement("div", { class: "la-bar" });
    ctx.main.append(ctx.bar2);
    const bar = ctx.bar;
    ctx.bar = ctx.bar2;
    ctx.select("show", "Show", "What is drawn in every cell", GRID_SHOWN);
    ctx.channelField = ctx.slider("channel", "channel", "Latent channel", { min: 0, max: 15, step: 1 });
    ctx.exactField = ctx.check("exact", "real decoder", LA_TERMS.preview);
    ctx.words = laElement("span", { class: "la-note la-grid-note", role: "status" });
    ctx.bar.append(ctx.words);
    ctx.bar = bar;

    ctx.labels = laElement("div", { class: "la-grid-labels" });
    ctx.canvas = laElement("canvas", { role: "img", "aria-label": "sampler steps by blocks" });
    ctx.spacer = laElement("div", { class: "la-grid-spacer" }, ctx.canvas);
    ctx.scroller = laElement("div", { class: "la-grid-scroll" }, ctx.spacer);
    const wrap = laElement("div", { class: "la-grid-wrap" }, ctx.labels, ctx.scroller);
    ctx.main.append(wrap);
    ctx.bar = wrap;                                          // above the labels, where nothing else is
    ctx.branchHere = ctx.button("Branch here", "Make another future from the chosen step on", () => ctx.send("branch"),
      "la-grid-branch");
    ctx.bar = bar;
    ctx.scroller.addEventListener("scroll", () => { view.tellVisible(ctx); ctx.changed(); });
    ctx.canvas.addEventListener("pointerdown", (event) => view.pressed(ctx, event));
    ctx.canvas.addEventListener("pointermove", (event) => view.moved(ctx, event));
    ctx.canvas.addEventListener("pointerup", () => { ctx.dragging = false; });

    ctx.cells = new Map();
    view.buildDetail(ctx);
    ctx.remarks = laElement("div", { class: "la-note la-grid-remarks" });
    ctx.main.append(ctx.remarks);
  },

  received(ctx, names, full) {
    const { shown } = ctx.store.body;
    if (full && shown !== ctx.shown) {                       // else each stays until its new picture is there
      ctx.cells.clear();
      ctx.picture = null;
    }
    ctx.shown = shown;
    for (const name of names) {
      const [what, block, step, kind, ...numbers] = name.split("/"), [frames, width, height] = numbers.map(Number);
      const bytes = ctx.store.buffers.get(name);
      if (!bytes || !numbers.length) continue;
      const key = `${block}/${step}`, before = what === "cell" ? ctx.cells.get(key) : ctx[what];
      const picture = gridPicture(ctx, bytes, kind, frames, width, height, before);
      if (what === "cell") ctx.cells.set(key, picture);
      else ctx[what] = picture;                            // picture, channels: of the chosen cell
    }
  },

  /* ---- the grid */

  geometry(ctx) {
    const { run, pictures } = ctx.body, rows = Math.max(run.steps, 1), columns = Math.max(run.blocks, 1);
    const room = (ctx.scroller.clientWidth / columns - GRID_GAP - GRID_BETWEEN * (pictures - 1)) / pictures;
    const most = rows > 5 ? 72 : 96, one = ctx.get("cell_px") || Math.floor(Math.min(Math.max(room, 60), most));
    const width = one * pictures + GRID_BETWEEN * (pictures - 1), sample = ctx.cells.values().next().value;
    const height = sample ? Math.round((one * sample.height * pictures) / sample.width) : one;
    return { width, height, rows, columns, pictures, pitch: width + GRID_GAP, drop: height + GRID_GAP,
      offset: ctx.scroller.scrollLeft };
  },

  cellAt(ctx, event) {
    const g = view.geometry(ctx), x = event.offsetX + g.offset, block = Math.floor(x / g.pitch);
    const step = Math.floor((event.offsetY - GRID_HEAD) / g.drop);
    const share = Math.min((x - block * g.pitch) / g.width, 0.999);
    const time = Math.min(block + share, g.columns) * ctx.body.run.block_s;
    return { block, step, time, inHead: event.offsetY < GRID_HEAD, known: block < g.columns };
  },

  pressed(ctx, event) {
    const cell = view.cellAt(ctx, event);
    if (!cell.known) return;
    if (cell.inHead) {
      ctx.dragging = true;
      ctx.canvas.setPointerCapture(event.pointerId);
      ctx.move(cell.time);
      return;
    }
    if (!view.has(ctx, cell.block, cell.step)) return;
    ctx.set("step", cell.step);
    ctx.set("block", cell.block);
    ctx.move(cell.time);
  },

  moved(ctx, event) {
    const cell = view.cellAt(ctx, event);
    if (ctx.dragging) { ctx.move(cell.time); return; }
    const has = view.has(ctx, cell.block, cell.step), { block_s } = ctx.body.run, sigmas = ctx.body.sigmas;
    ctx.canvas.style.cursor = cell.inHead ? "ew-resize" : has ? "pointer" : "default";
    const from = sigmas?.[cell.step]?.toFixed(3), to = sigmas?.[cell.step + 1]?.toFixed(3);
    const preview = view.isPreview(ctx, ctx.cells.get(`${cell.block}/${cell.step}`)) ? `. ${LA_TERMS.preview}` : "";
    ctx.canvas.title = cell.inHead ? "Drag to move the time cursor" : !has ? ""
      : `block ${cell.block} (${laSeconds(cell.block * block_s)}), step ${cell.step}: `
        + `noise ${from} → ${to}${preview}`;
  },

  /* Whether a cell is still to be drawn by the decoder. */
  isPreview(ctx, picture) { return !!ctx.body.decodes && !!picture && picture.kind !== "jpeg"; },

  has(ctx, block, step) { return ctx.seen?.has(`${block}/${step}`) ?? false; },

  tellVisible(ctx) {
    const g = view.geometry(ctx), first = Math.max(0, Math.floor(g.offset / g.pitch) - 2);
    const last = Math.ceil((g.offset + ctx.scroller.clientWidth) / g.pitch) + 2, [a, b] = ctx.get("_visible");
    if (first < a || last > b || b - a > 3 * (last - first)) ctx.set("_visible", [Math.max(0, first - 4), last + 4]);
  },

  drawGrid(ctx, theme) {
    const g = view.geometry(ctx), { run, sigmas } = ctx.body, detail = ctx.body.detail;
    const height = GRID_HEAD + g.rows * g.drop, width = Math.max(ctx.scroller.clientWidth, 50);
    ctx.spacer.style.width = `${view.widthOf(ctx, g)}px`;
    ctx.spacer.style.height = `${height}px`;
    ctx.scroller.dataset.pitch = g.pitch;
    const pen = laCanvas(ctx.canvas, width, height);
    const first = Math.floor(g.offset / g.pitch), last = Math.floor((g.offset + width) / g.pitch);
    const now = Math.min(Math.floor(ctx.time / run.block_s + 1e-6), g.columns - 1);
    for (let block = first; block <= Math.min(last, g.columns - 1); block++) {
      const x = block * g.pitch - g.offset;
      view.drawHead(pen, theme, g, block, x + 1, laSeconds(block * run.block_s), block === now);
      for (let step = 0; step < g.rows; step++) {
        view.drawCell(ctx, pen, theme, g, block, step, x, GRID_HEAD + step * g.drop);
      }
    }
    view.drawCursor(ctx, pen, theme, g, height);
    if (detail) view.follow(ctx, g, detail.block);
    view.drawLabels(ctx, theme, g, sigmas);
  },

  /* A block's number and time, and what is what in its cells. */
  drawHead(pen, theme, g, block, x, time, strong) {
    pen.textAlign = "left";
    pen.textBaseline = "alphabetic";
    pen.fillStyle = strong ? theme.ink : theme.soft;
    pen.font = `${strong ? "600 " : ""}12px ${theme.font}`;
    const words = `block ${block}`, half = (g.width + GRID_BETWEEN) / 2, beside = g.pictures === 2;
    pen.fillText(words, x, 12);
    const wide = pen.measureText(words).width + 7;
    pen.fillStyle = theme.soft;
    pen.font = `11px ${theme.font}`;
    if (!beside) pen.fillText(time, x, 26);
    else if (wide + pen.measureText(time).width < g.width) pen.fillText(time, x + wide, 12);
    if (beside) ["x", "guess"].forEach((one, i) => pen.fillText(one, x + i * half, 28));
  },

  drawCell(ctx, pen, theme, g, block, step, x, y) {
    const picture = ctx.cells.get(`${block}/${step}`), detail = ctx.body.detail;
    pen.save();
    pen.beginPath();
    pen.roundRect(x, y, g.width, g.height, 4);
    if (picture?.source || picture?.before) {
      pen.clip();
      gridFrame(pen, picture, 0.5, x, y, g.width, g.height, g.pictures);
      if (view.isPreview(ctx, picture)) view.drawCorner(pen, theme, x + g.width, y);
    } else {
      pen.fillStyle = theme.faint;
      pen.globalAlpha = view.has(ctx, block, step) ? 1 : 0.55;
      pen.fill();
    }
    pen.restore();
    if (detail && detail.block === block && detail.step === step) {
      pen.lineWidth = 3;
      pen.strokeStyle = theme.vermilion;
      pen.beginPath();
      pen.roundRect(x + 0.5, y + 0.5, g.width - 1, g.height - 1, 4);
      pen.stroke();
    }
  },

  /* The mark of a preview: a folded corner. */
  drawCorner(pen, theme, right, y) {
    const corner = (size, colour) => {
      pen.fillStyle = colour;
      pen.beginPath();
      pen.moveTo(right - size, y);
      pen.lineTo(right, y);
      pen.lineTo(right, y + size);
      pen.fill();
    };
    corner(15, "#fff");
    corner(13, theme.vermilion);
  },

  drawCursor(ctx, pen, theme, g, height) {
    const block = Math.min(ctx.time / ctx.body.run.block_s, g.columns - 1e-6), whole = Math.floor(block);
    const x = whole * g.pitch + (block - whole) * g.width - g.offset;
    pen.strokeStyle = pen.fillStyle = theme.ink;
    pen.lineWidth = 1;
    pen.globalAlpha = 0.75;
    pen.beginPath();
    pen.moveTo(x, GRID_HEAD - 5);
    pen.lineTo(x, height);
    pen.stroke();
    pen.globalAlpha = 1;
    pen.beginPath();
    pen.moveTo(x - 5, GRID_HEAD - 7);
    pen.lineTo(x + 5, GRID_HEAD - 7);
    pen.lineTo(x, GRID_HEAD);
    pen.fill();
  },

  /* Keep the chosen cell in view when it changes. */
  follow(ctx, g, block) {
    const place = `${block} ${ctx.scroller.clientWidth}`;
    if (ctx.followed === place) return;
    ctx.followed = place;
    const left = block * g.pitch, right = left + g.width, { scrollLeft, clientWidth } = ctx.scroller;
    const wanted = Math.min(left, Math.max(scrollLeft, right - clientWidth));
    ctx.scroller.scrollLeft = Math.ceil(wanted / g.pitch - 1e-3) * g.pitch;                 // the first column is whole
  },

  /* Width of all columns in px, and what it takes to scroll by whole columns. */
  widthOf(ctx, g) {
    const all = g.columns * g.pitch, room = ctx.scroller.clientWidth;
    return all - GRID_GAP > room ? Math.ceil((all - GRID_GAP - room) / g.pitch) * g.pitch + room : all;
  },

  drawLabels(ctx, theme, g, sigmas) {
    const key = JSON.stringify([g.rows, g.drop, sigmas, theme.dark]);
    if (ctx.labelled === key) return;
    ctx.labelled = key;
    ctx.labels.style.paddingTop = `${GRID_HEAD}px`;
    ctx.labels.replaceChildren(...Array.from({ length: g.rows }, (_, step) => {
      const [from, to] = [sigmas[step], sigmas[step + 1]], share = (from - to) / sigmas[0];
      const style = `height:${g.height}px;margin-bottom:${GRID_GAP}px;border-color:${theme.steps[step % 8]}`;
      const noise = laElement("span", {}, laTerm("sigma", "noise"), ` ${from.toFixed(2)} → ${to.toFixed(2)}`);
      const path = laElement("span", {}, `${laPercent(share)} of `, laTerm("share_of_path", "the path"));
      return laElement("div", { class: "la-grid-label", style }, laElement("b", {}, `step ${step}`), noise,
        g.height > 56 ? path : null);
    }));
  },

  leave(ctx) { clearInterval(ctx.animation); },

  draw(ctx) {
    const { body } = ctx, theme = ctx.theme(), show = ctx.get("show");
    ctx.seen = new Set((body.seen ?? []).map(([block, step]) => `${block}/${step}`));
    for (const key of ctx.cells.keys()) if (!ctx.seen.has(key)) ctx.cells.delete(key);
    ctx.channelField.hidden = show !== "channel";
    ctx.exactField.hidden = !["both", "clean", "x"].includes(show);
    ctx.newest.hidden = ctx.get("block") < 0;
    ctx.branchHere.hidden = !ctx.get("_branching");
    ctx.branchHere.disabled = !ctx.seen.size || body.run?.state === "running";
    ctx.words.textContent = ctx.words.title = body.words ?? "";
    ctx.remarks.textContent = body.remarks ?? "";
    ctx.remarks.hidden = !body.remarks;
    if (!ctx.playing && body.detail && ctx.picture) {          // the cursor chooses the frame
      const inside = ctx.time / body.run.block_s - body.detail.block;
      const frame = Math.floor(inside * view.wholeBlock(ctx) + 1e-6);
      if (inside >= 0 && inside < 1) ctx.frame = Math.min(frame, ctx.picture.frames - 1);
    }
    view.drawGrid(ctx, theme);
    view.tellVisible(ctx);
    ctx.detail.hidden = !ctx.get("detail") || !body.detail;
    if (!ctx.detail.hidden) view.drawDetail(ctx, theme);
  },

  key(ctx, key) {
    const detail = ctx.body?.detail, run = ctx.body?.run;
    const hop = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key];
    if (!hop || !run || !ctx.seen?.size) return false;
    const chosen = (name) => (ctx.get(name) >= 0 ? ctx.get(name) : detail?.[name] ?? 0);    // the picture may be behind
    const block = Math.max(0, chosen("block") + hop[0]);
    const step = Math.min(Math.max(chosen("step") + hop[1], 0), run.steps - 1);
    if (!view.has(ctx, block, step)) return true;
    ctx.set("step", step);
    ctx.set("block", block);
    if (hop[0]) ctx.move((block + 0.01) * run.block_s);
    return true;
  },
};

export default live(view);
