/* What each step changed: the guesses, their differences as colours on one scale, any two against each other, and
   numbers. Buffers are named "guess/step/frames/width/height" and "change/step/...", strips of frames; step -1 is the
   portrait. */

import { laBlinks, laBoxes, laChip, laPart, laPut, laRound, laSplit, LaStrips, laWipe } from "./compare.js";
import { laCanvas } from "#liveavatar/web/canvas.js";
import { laElement } from "#liveavatar/web/element.js";
import { laPercent } from "#liveavatar/web/format.js";
import { laTerm } from "#liveavatar/web/term.js";
import { laHeatScale } from "./heat_scale.js";
import { live } from "./live.js";

const CHANGE_GAP = 8, CHANGE_HEAD = 22, CHANGE_STAGE = 250;          // px
const CHANGE_TILES = [72, 150];                                       // px, the smallest and the largest picture
const CHANGE_FOLLOW = -2;
const CHANGE_COLUMNS = [   // field of an effect, term of the glossary, words
  ["change", "change", "changed"], ["left", "left", "left"], ["done", "done", "done"],
  ["detail_kept", "detail", "detail"], ["mouth", "mouth_opening", "mouth"],
];

const changeName = (step) => (step < 0 ? "portrait" : `step ${step}`);
const changeNumber = (field, value) => (value === null || value === undefined ? "–"
  : field === "mouth" ? value.toFixed(2) : laPercent(value));

const view = {
  name: "la-change",

  build(ctx) {
    ctx.transport();
    ctx.select("against", "Differences to", "What each guess is compared with",
      [["before", "the step before"], ["finished", "the finished picture"], ["other", "the other run's step"]]);
    ctx.otherChoice = ctx.bar.querySelector("select[data-trait=against]").options[2];
    ctx.check("on_face", "on the face", "Draw the differences over the grey picture instead of on black");
    ctx.note = laElement("span", { class: "la-note", role: "status" });
    ctx.bar.append(ctx.note);
    ctx.empty = laElement("div", { class: "la-change-empty" });
    ctx.space();
    ctx.copyButton();
    ctx.headline = laElement("p", { class: "la-change-headline" });
    ctx.tiles = laElement("canvas", { role: "img" });
    ctx.scale = laElement("canvas", { role: "img" });
    ctx.scaleWords = laTerm("change_scale", "difference, % of black against white");
    ctx.table = laElement("table", { class: "la-numbers la-change-table" });
    ctx.steps = new Map();                                 // step -> the cells of its row
    ctx.scroller = laElement("div", { class: "la-change-scroll" }, ctx.tiles);
    const legend = laElement("div", { class: "la-change-scale" }, ctx.scale, ctx.scaleWords);
    ctx.main.append(ctx.empty, ctx.headline, laElement("div", { class: "la-change-wrap" }, view.buildStage(ctx),
      laElement("div", { class: "la-change-right" }, ctx.scroller, legend)), ctx.table);
    ctx.tiles.addEventListener("click", (event) => {
      const step = view.stepAt(ctx, event);
      if (step === null) return;
      ctx.set("second", step);
      ctx.set("first", Math.max(step - 1, -1));
    });
    ctx.tiles.addEventListener("pointermove", (event) => {
      const step = view.stepAt(ctx, event), words = step === null ? "" : ctx.known.sentences[step];
      ctx.tiles.title = words ? `step ${step}: ${words} Click to compare it with what it began from` : "";
      ctx.tiles.style.cursor = step === null ? "default" : "pointer";
    });
    ctx.strips = new LaStrips(() => ctx.changed());
  },

  /* Two of the pictures against each other. */
  buildStage(ctx) {
    const bar = ctx.bar;
    ctx.stage = laElement("canvas", { role: "img", class: "la-stage" });
    const drag = (event) => {
      if (event.buttons && ctx.box && ctx.get("compare") === "wipe") ctx.set("split", laSplit(ctx.box, event.offsetX));
    };
    ctx.stage.addEventListener("pointerdown", (event) => {
      ctx.stage.setPointerCapture(event.pointerId);
      drag(event);
    });
    ctx.stage.addEventListener("pointermove", drag);
    ctx.bar = laElement("div", { class: "la-bar la-change-choice" });
    ctx.first = view.chooser(ctx, "first", "The one of the two", "step before");
    ctx.second = view.chooser(ctx, "second", "The other of the two", "newest step");
    ctx.select("compare", "", "How the two are compared",
      [["wipe", "wipe"], ["blink", "blink"], ["side", "side by side"]]).querySelector("select")
      .setAttribute("aria-label", "How the two are compared");
    ctx.closeUp = ctx.check("close_up", "close-up", "Show the face alone, enlarged");
    const box = laElement("div", { class: "la-change-stage" }, ctx.stage, ctx.bar);
    ctx.bar = bar;
    return box;
  },

  /* A list of the portrait and the steps, and what follows the newest. */
  chooser(ctx, trait, tip, follows) {
    const list = laElement("select", { title: tip, "aria-label": tip, "data-trait": trait });
    list.addEventListener("change", () => ctx.set(trait, Number(list.value)));
    ctx.bar.append(list);
    return { list, show: (steps, portrait) => {
      const values = [CHANGE_FOLLOW, ...(portrait ? [-1] : []), ...Array(steps).keys()];
      if (list.dataset.values !== values.join()) {
        list.dataset.values = values.join();
        list.replaceChildren(...values.map((value) =>
          laElement("option", { value }, value === CHANGE_FOLLOW ? follows : changeName(value))));
      }
      list.value = values.includes(ctx.get(trait)) ? ctx.get(trait) : CHANGE_FOLLOW;
    } };
  },

  received(ctx, names, full) {
    if (full) ctx.strips.forget();
    for (const name of names) {
      const [kind, step, ...numbers] = name.split("/"), bytes = ctx.store.buffers.get(name);
      if (bytes && numbers.length === 3) ctx.strips.take(`${kind}/${step}`, bytes, ...numbers.map(Number));
    }
  },

  /* The two that are compared: [first, second]. */
  compared(ctx) {
    const last = ctx.known.made - 1, wanted = [ctx.get("first"), ctx.get("second")];
    const second = wanted[1] === CHANGE_FOLLOW ? last : Math.min(wanted[1], last);
    return [wanted[0] === CHANGE_FOLLOW ? Math.max(second - 1, -1) : Math.min(wanted[0], last), second];
  },

  stepAt(ctx, event) {
    const place = ctx.placed;
    if (!place) return null;
    const step = Math.floor(event.offsetX / (place.wide + CHANGE_GAP)) - (ctx.known.portrait ? 1 : 0);
    return step >= 0 && step < ctx.known.made ? step : null;
  },

  /* The picture under the cursor of a guess, or of a change. */
  frame(ctx, kind, step) {
    const { run } = ctx.body, whole = step < 0 ? 1 : Math.round(run.block_s * run.fps);
    return ctx.strips.frame(`${kind}/${step}`, view.share(ctx), whole);
  },

  /* How far into the block the cursor is, 0..1. */
  share(ctx) {
    const inside = ctx.time / ctx.body.run.block_s - ctx.known.block;
    return Math.min(Math.max(inside, 0), 0.999);
  },

  /* ---- the pictures */

  drawTiles(ctx, theme) {
    const { known } = ctx, steps = Array(known.made).keys(), columns = [...(known.portrait ? [-1] : []), ...steps];
    const sample = ctx.strips.frame("guess/0", 0), room = ctx.scroller.clientWidth;
    if (!sample) return;
    const fits = Math.floor((room + CHANGE_GAP) / Math.max(columns.length, 4)) - CHANGE_GAP;
    const wide = Math.min(Math.max(fits, CHANGE_TILES[0]), CHANGE_TILES[1]);
    const tall = Math.round((wide * sample.height) / sample.width);
    ctx.placed = { wide, tall };
    const width = columns.length * (wide + CHANGE_GAP) - CHANGE_GAP;
    const pen = laCanvas(ctx.tiles, width, CHANGE_HEAD + 2 * tall + CHANGE_GAP);
    const [first, second] = view.compared(ctx);
    columns.forEach((step, column) => {
      const x = column * (wide + CHANGE_GAP), colour = step < 0 ? theme.soft : theme.steps[step % 8];
      pen.fillStyle = colour;
      pen.fillRect(x, 2, 4, 14);
      pen.fillStyle = theme.ink;
      pen.font = `600 12px ${theme.font}`;
      pen.textAlign = "left";
      pen.textBaseline = "alphabetic";
      pen.fillText(changeName(step), x + 9, 14);
      view.drawTile(pen, theme, view.frame(ctx, "guess", step), x, CHANGE_HEAD, wide, tall);
      const below = CHANGE_HEAD + tall + CHANGE_GAP;
      if (step >= 0) view.drawTile(pen, theme, view.frame(ctx, "change", step), x, below, wide, tall);
      if (step !== first && step !== second) return;
      pen.strokeStyle = theme.accent;
      pen.lineWidth = 2;
      pen.beginPath();
      pen.roundRect(x + 1, CHANGE_HEAD + 1, wide - 2, tall - 2, 5);
      pen.stroke();
    });
    if (known.portrait) view.drawKey(ctx, pen, theme, wide, tall);
    ctx.tiles.setAttribute("aria-label", [known.headline, ...known.sentences].join(" "));
  },

  drawTile(pen, theme, frame, x, y, wide, tall) {
    const box = { x, y, w: wide, h: tall };
    pen.fillStyle = theme.faint;
    laRound(pen, box, () => { pen.fillRect(x, y, wide, tall); laPut(pen, frame, box); }, 6);
  },

  /* Below the portrait, which has no change: what the row shows. */
  drawKey(ctx, pen, theme, wide, tall) {
    const changed = ["what each", "step changed"], left = ["what is left", "after each step"];
    const other = ["against that", "of the other run"];
    const against = { before: changed, finished: left, other }[ctx.get("against")];
    pen.fillStyle = theme.soft;
    pen.font = `12px ${theme.font}`;
    pen.textAlign = "left";
    pen.textBaseline = "middle";
    against.forEach((words, i) => pen.fillText(words, 0, CHANGE_HEAD + CHANGE_GAP + 1.5 * tall + 16 * (i - 0.5), wide));
  },

  drawStage(ctx, theme) {
    const [first, second] = view.compared(ctx), compare = ctx.get("compare");
    const part = ctx.get("close_up") ? ctx.known.face : null;
    const [a, b] = [first, second].map((step) => laPart(view.frame(ctx, "guess", step), part));
    ctx.closeUp.hidden = !ctx.known.face;
    const sample = a ?? b, room = ctx.stage.parentElement.clientWidth, beside = compare === "side";
    if (!sample) return;
    const boxes = laBoxes(room, CHANGE_STAGE, beside ? 2 : 1, sample.width / sample.height), [box] = boxes;
    const pen = laCanvas(ctx.stage, room, Math.round(box.h)), names = [first, second].map(changeName);
    ctx.box = box;
    const chip = (i, right) => laChip(pen, theme, names[i], right ? right - 8 : boxes[beside ? i : 0].x + 8, 8,
      right ? "right" : "left", true, box.w / (compare === "wipe" ? 2 : 1) - 12);
    if (beside) {
      [a, b].forEach((one, i) => { laRound(pen, boxes[i], () => laPut(pen, one, boxes[i])); chip(i); });
    } else if (compare === "wipe") {
      laWipe(pen, a, b, box, ctx.get("split"));
      chip(0);
      chip(1, box.x + box.w);
    } else {
      const now = laBlinks(ctx.get("blink_s")) ? 1 : 0;
      laRound(pen, box, () => laPut(pen, now ? b : a, box));
      chip(now, now ? box.x + box.w : 0);
      ctx.blinking ??= setTimeout(() => { ctx.blinking = null; ctx.changed(); }, 1000 * ctx.get("blink_s"));
    }
    ctx.stage.title = compare === "wipe" ? "Drag to move the wipe" : "";
    ctx.stage.style.cursor = compare === "wipe" ? "ew-resize" : "default";
    ctx.stage.setAttribute("aria-label", `${names[0]} against ${names[1]}`);
    ctx.first.show(ctx.known.made, ctx.known.portrait);
    ctx.second.show(ctx.known.made, ctx.known.portrait);
  },

  /* ---- numbers and words */

  drawTable(ctx, theme) {
    const { effects, sentences } = ctx.known;
    if (!ctx.table.childElementCount) {
      ctx.table.append(laElement("tr", {}, laElement("th", {}), ...CHANGE_COLUMNS.map(([, term, words]) =>
        laElement("th", {}, laTerm(term, words))), laElement("th", {}, "in words")));
    }
    for (const [step, row] of ctx.steps) if (step >= effects.length) { row.line.remove(); ctx.steps.delete(step); }
    effects.forEach((effect, step) => {
      if (!ctx.steps.has(step)) ctx.steps.set(step, view.newRow(ctx, step, theme));
      const row = ctx.steps.get(step);
      for (const [field] of CHANGE_COLUMNS) row[field].textContent = changeNumber(field, effect[field]);
      row.bar.style.width = `${Math.min(Math.max(effect.done ?? 0, 0), 1) * 100}%`;
      row.words.textContent = ctx.get("against") === "other" ? view.apart(ctx, step) : sentences[step];
    });
  },

  /* How far a step is from that of the other run, in a sentence. */
  apart(ctx, step) {
    const { pictures, latents } = ctx.known.apart?.[step] ?? {};
    if (pictures === undefined || pictures === null) return "The other run has no such step of this size.";
    if (latents === 0) return "The same as in the other run.";
    return `The guess differs by ${laPercent(pictures)} from the other run's, the latents by ${laPercent(latents)}.`;
  },

  newRow(ctx, step, theme) {
    const row = { bar: laElement("i", { style: `background:${theme.steps[step % 8]}` }), words: laElement("td", {}) };
    row.line = laElement("tr", {}, laElement("td", {}, laElement("b", {}, `step ${step}`)));
    for (const [field] of CHANGE_COLUMNS) {
      row[field] = laElement("span", {});
      const bar = field === "done" ? laElement("span", { class: "la-change-done" }, row.bar) : null;
      row.line.append(laElement("td", {}, bar, row[field]));
    }
    row.line.append(row.words);
    ctx.table.append(row.line);
    return row;
  },

  draw(ctx) {
    const { body } = ctx, theme = ctx.theme();
    if (ctx.number !== body.run.number) Object.assign(ctx, { number: body.run.number, known: null });
    if (body.ready) ctx.known = body;
    for (const part of ctx.main.children) part.hidden = (part === ctx.empty) === !!ctx.known;
    ctx.otherChoice.hidden = ctx.otherChoice.disabled = !body.other;
    ctx.note.textContent = ctx.known ? body.words : "";
    ctx.empty.textContent = body.words;
    if (!ctx.known) return;
    ctx.headline.replaceChildren(laElement("b", {}, `Block ${ctx.known.block}. `), ctx.known.headline);
    view.drawTiles(ctx, theme);
    view.drawStage(ctx, theme);
    laHeatScale(ctx.scale, theme, ctx.known);
    view.drawTable(ctx, theme);
  },

  key(ctx, key) {
    const run = ctx.body?.run, hop = { ArrowLeft: -1, ArrowRight: 1 }[key];
    if (!hop || !run || !ctx.known) return false;
    ctx.move((Math.min(Math.max(ctx.known.block + hop, 0), run.blocks - 1) + view.share(ctx)) * run.block_s);
    return true;
  },

  leave(ctx) { clearTimeout(ctx.blinking); },
};

export default live(view);
