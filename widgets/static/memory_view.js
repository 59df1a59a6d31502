/* A curve that grows twenty times a second (uPlot): owners stacked below it, behind it the blocks, below it the
   steps. */

import uPlot from "./uplot/uPlot.min.js";
import { drawBack, drawFront, MEMORY_HEAD, MEMORY_STRIP } from "./memory_paint.js";
import {
  columnsOf, expectedAt, labelAt, labelsFrom, MEMORY_LINES, rangeInView, rowsFrom, rowsInView, seriesOf, videoOf,
  wordsOf,
} from "./memory_series.js";
import { laElement } from "#liveavatar/web/element.js";
import { laBytes, laShortBytes } from "#liveavatar/web/format.js";
import { LA_COLOURS } from "#liveavatar/web/palette.js";
import { laTerm } from "#liveavatar/web/term.js";
import { live } from "./live.js";

const memoryTicks = Array.from({ length: 30 }, (_, i) => 2 ** (14 + i));

const MEMORY_TERMS = { process: "process_memory", allocated: "allocated_memory", reserved: "reserved_memory",
  used: "card_memory" };                                     // line -> term of the glossary

const view = {
  name: "la-memory",

  build(ctx) {
    ctx.transport();
    ctx.space();
    ctx.ownersField = ctx.check("owners", "by owner", "Show to whom the memory belongs");
    ctx.check("from_zero", "from zero", "Off: only what changes is shown, large");
    ctx.all = ctx.button("See all", "Undo the zoom (Escape, or double-click)", () => ctx.set("zoom", []));
    ctx.all.hidden = true;
    ctx.copyButton();
    ctx.legend = laElement("div", { class: "la-memory-legend" });
    ctx.plot = laElement("div", { class: "la-memory-plot", title: "Drag to zoom in, double-click to see all; a " +
      "click moves the time cursor to that block" });
    ctx.words = laElement("div", { class: "la-note la-memory-words" });
    ctx.steps = laElement("div", { class: "la-note la-memory-steps" });
    ctx.empty = laElement("div", { class: "la-memory-empty", hidden: true }, "The curve begins with the run.");
    ctx.main.append(ctx.legend, ctx.empty, ctx.plot, laElement("div", { class: "la-memory-foot" }, ctx.words,
      ctx.steps));
    ctx.rows = [];
    ctx.labels = [];
  },

  received(ctx, names) {
    for (const name of names) {
      const [what, first] = name.split("/"), bytes = ctx.store.buffers.get(name);
      const values = bytes.length ? new Float64Array(bytes.slice().buffer) : new Float64Array();
      if (what === "rows") {
        if (first === "fresh") ctx.rows = [];
        ctx.waiting = (first === "fresh" ? [] : ctx.waiting ?? []).concat([values]);
      } else if (what === "labels") {
        if (first === "fresh") ctx.labels = [];
        ctx.labels.push(...labelsFrom(values));
      }
    }
  },

  /* Rows that came, cut by the number of series, which the body tells. */
  takeRows(ctx) {
    const width = ctx.body.names.length + 1;
    for (const values of ctx.waiting ?? []) ctx.rows.push(...rowsFrom(values, width));
    ctx.waiting = [];
  },

  /* ---- the plot */

  makePlot(ctx, list) {
    ctx.uplot?.destroy();
    const grid = { stroke: () => ctx.colours.line, width: 0.5 };
    const axis = { stroke: () => ctx.colours.soft, font: `11px ${ctx.colours.font}`, grid, ticks: { show: false } };
    const paint = { area: (one) => ctx.body.colours[one.name], main: () => ctx.colours.ink,
      line: (one) => (one.name === "used" ? ctx.colours.soft : ctx.colours.purple),
      forecast: () => ctx.colours.vermilion };
    const series = list.map((one) => ({
      label: one.name, points: { show: false }, stroke: one.kind === "area" ? null : () => paint[one.kind](one),
      width: one.kind === "main" ? 1.8 : one.kind === "area" ? 0 : 1.2,
      dash: one.kind === "forecast" ? [6, 4] : one.name === "allocated" ? [3, 3] : undefined,
      fill: one.kind === "area" ? () => `${paint.area(one)}${one.name === "rest" ? "40" : "b8"}` : undefined,
      fillTo: (u) => u.scales.y.min,
    }));
    const areas = list.filter((one) => one.kind === "area").length;
    const options = {
      width: 600, height: ctx.get("height_px"), padding: [MEMORY_HEAD, 12, 0, 0], legend: { show: false },
      scales: {
        x: { time: false, range: () => rangeInView(ctx) },
        y: { range: (_, low, high) => view.scaleY(ctx, low, high) },
      },
      series: [{}, ...series],
      bands: Array.from({ length: Math.max(areas - 1, 0) }, (_, i) => ({ series: [i + 1, i + 2] })),
      axes: [
        { ...axis, size: 26 + MEMORY_STRIP, gap: MEMORY_STRIP + 3,
          values: (_, ticks) => ticks.map((tick) => `${Number(tick.toFixed(2))} s`) },
        { ...axis, size: 74, incrs: memoryTicks, values: (_, ticks) => ticks.map(laShortBytes) },
      ],
      cursor: { y: false, points: { show: false }, drag: { x: true, y: false, setScale: false },
        bind: { dblclick: () => () => { ctx.set("zoom", []); return null; } } },
      hooks: {
        drawClear: [(u) => drawBack(ctx, u)], draw: [(u) => drawFront(ctx, u)],
        setCursor: [() => view.drawLegend(ctx)],
        setSelect: [(u) => {
          const { left, width } = u.select, ends = [left, left + width].map((x) => u.posToVal(x, "x"));
          if (width > 4) ctx.set("zoom", ends.map((value) => Number(value.toFixed(3))));
          u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
        }],
      },
    };
    ctx.plot.replaceChildren();
    ctx.uplot = new uPlot(options, columnsOf(ctx, list), ctx.plot);
    let pressed = 0;
    ctx.uplot.over.addEventListener("pointerdown", (event) => { pressed = event.offsetX; });
    ctx.uplot.over.addEventListener("pointerup", (event) => {
      if (Math.abs(event.offsetX - pressed) < 4 && ctx.labels.length && ctx.body.run)
        ctx.move(videoOf(ctx, ctx.uplot.posToVal(event.offsetX, "x")));
    });
  },

  scaleY(ctx, low, high) {
    if (low === null || low === undefined) return [0, 2 ** 20];
    const main = 1 + ctx.body.names.indexOf(ctx.body.main);
    let [least, most] = [Infinity, 0];
    for (const row of ctx.rows) { least = Math.min(least, row[main]); most = Math.max(most, row[main]); }
    for (const value of ctx.body.forecast?.[1] ?? []) most = Math.max(most, value);
    most = Math.max(most, ctx.body.names.includes("used") && ctx.get("from_zero") ? high : 0);
    if (ctx.get("from_zero")) return [0, most * 1.12];
    const spread = Math.max(most - least, 4 * 2 ** 20);
    return [Math.max(least - 0.12 * spread, 0), most + 0.25 * spread];
  },

  /* ---- what the colours are, and how much it is where the mouse is, or now */

  drawLegend(ctx) {
    const { names, owners, main, called, colours, forecast } = ctx.body, index = ctx.uplot?.cursor.idx;
    const left = ctx.uplot?.cursor.left ?? -1;
    const hovered = left >= 0 && index !== null && index !== undefined ? rowsInView(ctx)[index] : null;
    const row = hovered ?? ctx.rows.at(-1);
    if (!row) { ctx.legend.replaceChildren(); return; }
    const value = (name) => row[1 + names.indexOf(name)];
    const chip = (kind, style, words, number) => laElement("span", { class: `la-memory-chip ${kind}` },
      laElement("i", { style }), words, " ", laElement("b", {}, number));
    const lines = names.filter((name) => MEMORY_LINES.includes(name));
    const when = hovered
      ? `${row[0].toFixed(2)} s${labelAt(ctx, row[0]) ? ` · ${wordsOf(labelAt(ctx, row[0]))}` : ""}`
      : ctx.body.going ? "now" : "at the end";
    ctx.legend.replaceChildren(
      laElement("span", { class: "la-memory-when" }, when),
      ...lines.map((name) => chip("la-line-chip",
        `background:${name === main ? "var(--la-ink)" : name === "used" ? "var(--la-soft)" : LA_COLOURS.purple}`,
        MEMORY_TERMS[name] ? laTerm(MEMORY_TERMS[name], called[name]) : called[name], laBytes(value(name)))),
      ...(ctx.get("owners") ? owners.map((name) => chip("", `background:${colours[name]}${name === "rest" ? "80" : ""}`,
        called[name], laBytes(value(name)))) : []),
      ...(forecast ? [chip("la-line-chip", `background:${LA_COLOURS.vermilion}`, laTerm("expected_memory", "expected"),
        laBytes(expectedAt(forecast, row[0]) ?? forecast[1].at(-1)))] : []));
  },

  draw(ctx) {
    if (!ctx.body.names) return;
    view.takeRows(ctx);
    ctx.colours = ctx.theme();
    const list = seriesOf(ctx);
    const shape = JSON.stringify([list.map((one) => one.name), ctx.get("height_px"), ctx.colours.dark]);
    const width = Math.max(ctx.main.clientWidth, 240);
    if (ctx.shape !== shape) { ctx.shape = shape; view.makePlot(ctx, list); }
    if (ctx.uplot.width !== width) ctx.uplot.setSize({ width, height: ctx.get("height_px") });
    ctx.uplot.setData(columnsOf(ctx, list));
    ctx.all.hidden = !ctx.get("zoom").length;
    ctx.ownersField.hidden = !ctx.body.owners.length;
    ctx.words.textContent = ctx.body.words;
    ctx.empty.hidden = ctx.rows.length > 0;
    ctx.plot.hidden = !ctx.rows.length;
    ctx.empty.style.height = `${ctx.get("height_px")}px`;
    const steps = Array.from({ length: ctx.body.run?.steps ?? 0 }, (_, i) => laElement("span", {},
      laElement("i", { style: `background:${ctx.colours.steps[i % 8]}` }), `step ${i}`));
    if (ctx.labels.length)
      ctx.steps.replaceChildren(...steps, laElement("span", {},
      laElement("i", { style: "background:var(--la-ink);opacity:0.55" }), "decoding"));
    else ctx.steps.replaceChildren();
    view.drawLegend(ctx);
  },

  key(ctx, key) {
    const run = ctx.body?.run, hop = { ArrowLeft: -1, ArrowRight: 1 }[key];
    if (key === "Escape") { ctx.set("zoom", []); return true; }
    if (!hop || !run) return false;
    ctx.move((Math.max(0, Math.floor(ctx.time / run.block_s + 1e-6) + hop) + 0.01) * run.block_s);
    return true;
  },

  leave(ctx) { ctx.uplot?.destroy(); },
};

export default live(view);
