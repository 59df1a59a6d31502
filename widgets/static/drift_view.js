/* The drift laboratory: four curves of every stream while they are made, and each stream's first picture beside now. */

import { laCanvas, laPicture } from "#liveavatar/web/canvas.js";
import { laElement } from "#liveavatar/web/element.js";
import { laTerm } from "#liveavatar/web/term.js";
import {
  DRIFT_PANES, driftCurves, driftNumber, driftPlace, driftRange, driftWords,
} from "./drift_curves.js";
import { live } from "./live.js";
import { laShowStudy, laStudyButton } from "./study_button.js";

const DRIFT_HEIGHT = 132, DRIFT_EDGE = { left: 38, right: 8, top: 8, bottom: 18 };      // px

const view = {
  name: "la-drift",

  build(ctx) {
    laStudyButton(ctx, "Make a block of each stream in turn, or stop; what is made stays (space)");
    ctx.space();
    ctx.copyButton();
    ctx.curves = new Map();
    ctx.pictures = new Map();
    ctx.list = laElement("div", { class: "la-drift-list", role: "listbox", "aria-label": "streams" });
    ctx.panes = Object.fromEntries(Object.entries(DRIFT_PANES).map(([name, [term, words]]) => {
      const canvas = laElement("canvas", { role: "img", "aria-label": words });
      return [name, { canvas, root: laElement("div", { class: "la-drift-pane" },
        laElement("div", { class: "la-drift-title" }, laTerm(term, words)), canvas) }];
    }));
    const grid = laElement("div", { class: "la-drift-panes" }, ...Object.values(ctx.panes).map((pane) => pane.root));
    ctx.numbers = laElement("table", { class: "la-numbers" });
    ctx.main.append(laElement("div", { class: "la-drift-wrap" }, ctx.list, laElement("div", {}, grid, ctx.numbers)));
  },

  received(ctx, names) {
    for (const name of names) {
      const [kind, number, width, height] = name.split("/"), bytes = ctx.store.buffers.get(name);
      if (kind === "curve") ctx.curves.set(Number(number), driftCurves(bytes));
      else ctx.pictures.set(`${kind}/${number}`, laPicture(bytes, Number(width), Number(height)));
    }
  },

  chosen(ctx) {
    const at = ctx.body.streams.findIndex((one) => one.name === ctx.get("chosen"));
    return Math.max(at, 0);
  },

  draw(ctx) {
    const { streams, done } = ctx.body;
    laShowStudy(ctx, { ...ctx.body, begun: streams.some((one) => one.blocks) });
    ctx.toggle.disabled = !streams.length || done;
    const theme = ctx.theme();
    view.drawList(ctx, theme);
    view.drawNumbers(ctx);
    for (const name of Object.keys(DRIFT_PANES)) view.drawPane(ctx, name, theme);
  },

  /* A row for each stream: colour, name, first picture and now, a box that hides its curves. */
  drawList(ctx, theme) {
    const { streams } = ctx.body;
    if (ctx.rows?.length !== streams.length) {
      ctx.rows = streams.map((stream, number) => view.makeRow(ctx, stream, number));
      ctx.list.replaceChildren(...ctx.rows.map((row) => row.root));
    }
    ctx.rows.forEach((row, number) => {
      const stream = streams[number], strong = number === view.chosen(ctx);
      row.root.style.borderLeftColor = theme.steps[number % theme.steps.length];
      row.root.setAttribute("aria-selected", strong);
      row.root.setAttribute("aria-label", driftWords(stream));
      row.box.checked = !ctx.get("hidden").includes(stream.name);
      row.note.textContent = stream.found.length ? stream.found.map(([block, kind]) => `${kind} at ${block}`).join(", ")
        : `${(stream.blocks * ctx.body.block_s).toFixed(1)} s`;
      for (const kind of ["first", "now"]) {
        const picture = ctx.pictures.get(`${kind}/${number}`);
        if (picture) laCanvas(row[kind], 46, 46).drawImage(picture, 0, 0, 46, 46);
      }
    });
  },

  makeRow(ctx, { name }, number) {
    const first = laElement("canvas", { role: "img", "aria-label": `first picture of ${name}`, width: 46, height: 46 });
    const now = laElement("canvas", { role: "img", "aria-label": `newest picture of ${name}`, width: 46, height: 46 });
    const box = laElement("input", {
      type: "checkbox", title: "Draw its curves", "aria-label": `draw the curves of ${name}`,
      onclick: (event) => event.stopPropagation(),
      onchange: () => {
        const hidden = ctx.get("hidden").filter((other) => other !== name);
        ctx.set("hidden", box.checked ? hidden : [...hidden, name]);
      },
    });
    const note = laElement("span", { class: "la-note" });
    const root = laElement("div", { class: "la-drift-row", role: "option", "data-stream": number,
      onclick: () => ctx.set("chosen", name) }, box, first, now, laElement("span", { class: "la-drift-name" },
      laElement("b", {}, name), note));
    return { root, box, first, now, note };
  },

  drawNumbers(ctx) {
    const stream = ctx.body.streams[view.chosen(ctx)];
    if (!stream) { ctx.numbers.replaceChildren(); return; }
    const key = JSON.stringify(stream);
    if (ctx.written === key) return;
    ctx.written = key;
    const row = (head, values) => laElement("tr", {}, laElement("th", { scope: "row" }, head),
      ...Object.keys(DRIFT_PANES).map((name) => laElement("td", {}, driftNumber(name, values?.[name]))));
    ctx.numbers.replaceChildren(
      laElement("tr", {}, laElement("th", {}, stream.name), ...Object.entries(DRIFT_PANES).map(([name, [term]]) =>
        laElement("th", { scope: "col" }, laTerm(term, name.replace("_db", ", dB"))))),
      row("first tenth", stream.first), row("newest tenth", stream.last));
  },

  drawPane(ctx, name, theme) {
    const { canvas, root } = ctx.panes[name], width = Math.max(root.clientWidth, 120);
    const pen = laCanvas(canvas, width, DRIFT_HEIGHT), { left, right, top, bottom } = DRIFT_EDGE;
    const shown = ctx.body.streams.map((stream, number) => [stream, number])
      .filter(([stream]) => !ctx.get("hidden").includes(stream.name));
    const curves = shown.map(([, number]) => ctx.curves.get(number)?.[name] ?? []);
    const range = driftRange(name, curves), last = Math.max(...shown.map(([stream]) => stream.blocks), 2) - 1;
    const x = (block) => left + (width - left - right) * block / last;
    const y = (value) => DRIFT_HEIGHT - bottom - (DRIFT_HEIGHT - top - bottom) * driftPlace(name, value, range);
    view.drawAxes(pen, { name, range, y, width, last, block_s: ctx.body.block_s, theme });
    const order = shown.map(([, number], at) => [number, at]).sort(([a], [b]) =>
      (a === view.chosen(ctx)) - (b === view.chosen(ctx)));
    for (const [number, at] of order) {
      const strong = number === view.chosen(ctx);
      pen.strokeStyle = theme.steps[number % theme.steps.length];
      pen.globalAlpha = strong ? 1 : 0.85;
      pen.lineWidth = strong ? 2.8 : 1.6;
      pen.setLineDash(number >= theme.steps.length ? [5, 3] : []);
      pen.beginPath();
      curves[at].forEach(([block, value], point) => pen[point ? "lineTo" : "moveTo"](x(block), y(value)));
      pen.stroke();
      pen.setLineDash([]);
      if (strong) for (const [block] of shown[at][0].found) view.drawMark(pen, x(block), theme);
    }
    pen.globalAlpha = 1;
    const stream = ctx.body.streams[view.chosen(ctx)];
    if (stream) canvas.setAttribute("aria-label", `${DRIFT_PANES[name][1]}; ${driftWords(stream)}`);
  },

  drawAxes(pen, { name, range, y, width, last, block_s, theme }) {
    const { left, right } = DRIFT_EDGE;
    pen.font = `11px ${theme.font}`;
    pen.fillStyle = theme.soft;
    pen.strokeStyle = theme.line;
    pen.lineWidth = 1;
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    const ticks = name === "seam" ? [1, 2, 5, 20, 100].filter((value) => value >= range[0] && value <= range[1])
      : [0, 0.5, 1].map((share) => range[0] + share * (range[1] - range[0]));
    for (const value of ticks) {
      pen.beginPath();
      pen.moveTo(left, y(value));
      pen.lineTo(width - right, y(value));
      pen.stroke();
      pen.fillText(driftNumber(name, value), left - 5, y(value));
    }
    pen.textBaseline = "alphabetic";
    pen.textAlign = "left";
    pen.fillText("0 s", left, DRIFT_HEIGHT - 4);
    pen.textAlign = "right";
    pen.fillText(`${((last + 1) * block_s).toFixed(0)} s`, width - right, DRIFT_HEIGHT - 4);
  },

  /* Where a jump or a shift of the colours was found. */
  drawMark(pen, x, theme) {
    pen.fillStyle = theme.vermilion;
    pen.beginPath();
    for (const [dx, dy] of [[-5, 0], [5, 0], [0, 8]]) pen.lineTo(x + dx, DRIFT_EDGE.top + dy);
    pen.fill();
  },

  key(ctx, key) {
    const hop = { ArrowUp: -1, ArrowDown: 1 }[key], streams = ctx.body?.streams ?? [];
    if (key === " ") { ctx.send("study"); return true; }
    if (!hop || !streams.length) return false;
    ctx.set("chosen", streams[Math.min(Math.max(view.chosen(ctx) + hop, 0), streams.length - 1)].name);
    return true;
  },
};

export default live(view);
