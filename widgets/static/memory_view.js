/* A curve that grows twenty times a second (uPlot): owners stacked below it, behind it the blocks, below it the
   steps. */

const MEMORY_STRIP = 13, MEMORY_HEAD = 20;                  // px: the steps at the foot, the blocks at the head
const MEMORY_STEP = 1, MEMORY_DECODE = 2;                   // stages, as numbered in Python
const MEMORY_POINTS = 1400;                                 // drawn at most

const memoryTicks = Array.from({ length: 30 }, (_, i) => 2 ** (14 + i));
const memoryShort = (value) => (value >= 2 ** 30 ? `${Number((value / 2 ** 30).toFixed(2))} GiB`
  : `${Number((value / 2 ** 20).toFixed(1))} MiB`);

const MEMORY_LINES = ["used", "reserved", "allocated", "process"];       // series that are lines; owners are areas
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
        for (let i = 0; i < values.length; i += 5)
          ctx.labels.push({ from: values[i], to: values[i + 1], stage: values[i + 2], block: values[i + 3],
          step: values[i + 4] });
      }
    }
  },

  /* Rows that came, cut by the number of series, which the body tells. */
  takeRows(ctx) {
    const width = ctx.body.names.length + 1;
    for (const values of ctx.waiting ?? [])
      for (let i = 0; i < values.length; i += width) ctx.rows.push(values.subarray(i, i + width));
    ctx.waiting = [];
  },

  /* ---- columns of the plot: time, the cumulated owners from the top, the lines, the forecast */

  series(ctx) {
    const { names, owners, main, forecast } = ctx.body, at = (name) => 1 + names.indexOf(name), list = [];
    if (ctx.get("owners")) {
      [...owners].reverse().forEach((owner, i) => {
        const members = owners.slice(0, owners.length - i).map(at);
        list.push({ name: owner, kind: "area", value: (row) => members.reduce((sum, column) => sum + row[column], 0) });
      });
    }
    for (const name of MEMORY_LINES)
      if (names.includes(name))
      list.push({ name, kind: name === main ? "main" : "line", value: (row) => row[at(name)] });
    if (forecast) list.push({ name: "forecast", kind: "forecast", value: null });
    return list;
  },

  rowsInView(ctx) {
    const [from, to] = view.range(ctx), rows = ctx.rows.filter((row, i) => (ctx.rows[i + 1]?.[0] ?? row[0]) >= from
      && (ctx.rows[i - 1]?.[0] ?? row[0]) <= to);
    if (rows.length <= MEMORY_POINTS) return rows;
    // the highest of each group
    const main = 1 + ctx.body.names.indexOf(ctx.body.main), group = rows.length / MEMORY_POINTS;
    return Array.from({ length: MEMORY_POINTS }, (_, i) => rows.slice(Math.floor(i * group),
      Math.floor((i + 1) * group)).reduce((a, b) => (b[main] > a[main] ? b : a)));
  },

  columns(ctx, list) {
    const rows = view.rowsInView(ctx), times = rows.map((row) => row[0]), { forecast } = ctx.body;
    return [times, ...list.map((one) => (one.kind === "forecast" ? times.map((time) => view.expected(forecast, time))
      : rows.map(one.value)))];
  },

  expected([times, values], time) {
    let i = times.findIndex((one) => one > time);
    if (i <= 0) return i === 0 ? null : time > times.at(-1) ? null : values.at(-1);
    return values[i - 1] + ((time - times[i - 1]) / (times[i] - times[i - 1])) * (values[i] - values[i - 1]);
  },

  range(ctx) {
    const zoom = ctx.get("zoom"), last = ctx.rows.at(-1)?.[0] ?? 1, forecast = ctx.body.forecast?.[0].at(-1) ?? 0;
    return zoom.length === 2 ? zoom : [0, Math.max(last, forecast, ctx.body.going ? 2 : 0.01)];
  },

  peak(ctx) {
    const main = 1 + ctx.body.names.indexOf(ctx.body.main);
    // while the run was going
    const from = ctx.labels[0]?.from ?? -Infinity, to = ctx.labels.at(-1)?.to ?? Infinity;
    const going = ctx.rows.filter((row) => from <= row[0] && row[0] <= to);
    let best = null;
    for (const row of going.length ? going : ctx.rows) if (!best || row[main] > best[main]) best = row;
    return best && { time: best[0], bytes: best[main] };
  },

  labelAt(ctx, time) { return ctx.labels.findLast((label) => label.from <= time && time <= label.to) ?? null; },

  wordsOf(label) {
    if (!label) return "";
    return label.stage === MEMORY_STEP ? `block ${label.block}, step ${label.step}` : label.stage === MEMORY_DECODE
      ? `block ${label.block}, decoding` : label.stage === 0 ? "preparing" : "closing the file";
  },

  /* ---- between the time of the video and the time on the wall */

  wallOf(ctx, time) {
    const { block_s } = ctx.body.run, block = Math.floor(time / block_s + 1e-6);
    const own = ctx.labels.filter((label) => label.block === block);
    if (!own.length) return null;
    const from = Math.min(...own.map((label) => label.from)), to = Math.max(...own.map((label) => label.to));
    return from + (time / block_s - block) * (to - from);
  },

  videoOf(ctx, wall) {
    const { block_s } = ctx.body.run, label = ctx.labels.findLast((one) => one.block >= 0 && one.from <= wall);
    if (!label) return 0;
    const own = ctx.labels.filter((one) => one.block === label.block), from = own[0].from, to = own.at(-1).to;
    return (label.block + Math.min(Math.max((wall - from) / (to - from), 0), 0.999)) * block_s;
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
      width: one.kind === "main" ? 1.8 : one.kind === "area" ? 0 : 1.2, dash: one.kind === "forecast" ? [6, 4]
        : one.name === "allocated" ? [3, 3] : undefined,
      fill: one.kind === "area" ? () => `${paint.area(one)}${one.name === "rest" ? "40" : "b8"}` : undefined, fillTo
        : (u) => u.scales.y.min,
    }));
    const areas = list.filter((one) => one.kind === "area").length;
    const options = {
      width: 600, height: ctx.get("height_px"), padding: [MEMORY_HEAD, 12, 0, 0], legend: { show: false },
      scales: { x: { time: false, range: () => view.range(ctx) },
        y: { range: (u, low, high) => view.scaleY(ctx, low, high) } },
      series: [{}, ...series],
      bands: Array.from({ length: Math.max(areas - 1, 0) }, (_, i) => ({ series: [i + 1, i + 2] })),
      axes: [{ ...axis, size: 26 + MEMORY_STRIP, gap: MEMORY_STRIP + 3,
        values: (u, ticks) => ticks.map((tick) => `${Number(tick.toFixed(2))} s`) },
             { ...axis, size: 74, incrs: memoryTicks, values: (u, ticks) => ticks.map(memoryShort) }],
      cursor: { y: false, points: { show: false }, drag: { x: true, y: false, setScale: false },
        bind: { dblclick: () => () => { ctx.set("zoom", []); return null; } } },
      hooks: {
        drawClear: [(u) => view.drawBack(ctx, u)], draw: [(u) => view.drawFront(ctx, u)],
          setCursor: [() => view.drawLegend(ctx)],
        setSelect: [(u) => {
          if (u.select.width > 4)
            ctx.set("zoom", [u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x")].map(
            (value) => Number(value.toFixed(3))));
          u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
        }],
      },
    };
    ctx.plot.replaceChildren();
    ctx.uplot = new uPlot(options, view.columns(ctx, list), ctx.plot);
    let pressed = 0;
    ctx.uplot.over.addEventListener("pointerdown", (event) => { pressed = event.offsetX; });
    ctx.uplot.over.addEventListener("pointerup", (event) => {
      if (Math.abs(event.offsetX - pressed) < 4 && ctx.labels.length && ctx.body.run)
        ctx.move(view.videoOf(ctx, ctx.uplot.posToVal(event.offsetX, "x")));
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

  /* Behind the curve: a field for every block and its number; at the foot a strip of the steps. */
  drawBack(ctx, u) {
    const pen = u.ctx, scale = devicePixelRatio || 1, { left, top, width, height } = u.bbox, theme = ctx.colours;
    const x = (time) => Math.min(Math.max(u.valToPos(time, "x", true), left), left + width);
    const [from, to] = [u.scales.x.min, u.scales.x.max];
    pen.save();
    pen.font = `${11 * scale}px ${theme.font}`;
    pen.textAlign = "center";
    pen.textBaseline = "alphabetic";
    const blocks = new Map();
    for (const label of ctx.labels) {
      if (label.to < from || label.from > to) continue;
      const x0 = x(label.from), x1 = Math.max(x(label.to), x0 + 1);
      pen.fillStyle = label.stage === MEMORY_STEP ? theme.steps[label.step % 8] : label.stage === MEMORY_DECODE
        ? theme.ink : theme.line;
      pen.globalAlpha = label.stage === MEMORY_DECODE ? 0.55 : 1;
      pen.fillRect(x0, top + height + 3 * scale, x1 - x0, (MEMORY_STRIP - 4) * scale);
      pen.globalAlpha = 1;
      if (label.block < 0) continue;
      const block = blocks.get(label.block) ?? [label.from, label.to];
      blocks.set(label.block, [Math.min(block[0], label.from), Math.max(block[1], label.to)]);
    }
    let used = -1e9;
    for (const [block, [began, ended]] of blocks) {
      const x0 = x(began), x1 = x(ended);
      if (block % 2 === 0) {
        pen.fillStyle = theme.ink;
        pen.globalAlpha = theme.dark ? 0.07 : 0.045;
        pen.fillRect(x0, top, x1 - x0, height);
        pen.globalAlpha = 1;
      }
      const words = x1 - x0 > 58 * scale ? `block ${block}` : `${block}`, middle = (x0 + x1) / 2;
      const wide = pen.measureText(words).width;
      if (middle - wide / 2 < used + 8 * scale || wide > Math.max(x1 - x0, 16 * scale) + 6 * scale) continue;
      used = middle + wide / 2;
      pen.fillStyle = theme.soft;
      pen.fillText(words, middle, top - 7 * scale);
    }
    pen.restore();
  },

  /* Over it: the peak, and the time cursor. */
  drawFront(ctx, u) {
    const pen = u.ctx, scale = devicePixelRatio || 1, { left, top, width, height } = u.bbox, theme = ctx.colours;
    const peak = view.peak(ctx);
    pen.save();
    const wall = ctx.labels.length && ctx.body.run ? view.wallOf(ctx, ctx.time) : null;
    if (wall !== null) {
      const x = u.valToPos(wall, "x", true);
      if (x >= left - 1 && x <= left + width + 1) {
        pen.fillStyle = theme.ink;
        pen.globalAlpha = 0.75;
        pen.fillRect(x - 0.5 * scale, top - 3 * scale, scale, height + 3 * scale);
        pen.globalAlpha = 1;
        pen.beginPath();
        pen.moveTo(x - 4 * scale, top - 5 * scale);
        pen.lineTo(x + 4 * scale, top - 5 * scale);
        pen.lineTo(x, top);
        pen.fill();
      }
    }
    const x = peak && u.valToPos(peak.time, "x", true), y = peak && u.valToPos(peak.bytes, "y", true);
    if (peak && x >= left && x <= left + width && y >= top) {
      const label = view.labelAt(ctx, peak.time);
      const words = `peak ${laBytes(peak.bytes)}${label ? ` · ${view.wordsOf(label)}` : ""}`;
      pen.font = `600 ${12 * scale}px ${theme.font}`;
      const wide = pen.measureText(words).width, toRight = x + wide + 14 * scale < left + width;
      pen.fillStyle = pen.strokeStyle = theme.vermilion;
      pen.beginPath();
      pen.arc(x, y, 4 * scale, 0, 7);
      pen.fill();
      pen.textAlign = toRight ? "left" : "right";
      pen.textBaseline = "middle";
      pen.lineWidth = 4 * scale;
      pen.lineJoin = "round";
      pen.strokeStyle = theme.ground;
      const at = x + (toRight ? 9 : -9) * scale, over = Math.max(y - 11 * scale, top + 8 * scale);
      pen.strokeText(words, at, over);
      pen.fillStyle = theme.dark ? "#ff8a3d" : theme.vermilion;
      pen.fillText(words, at, over);
    }
    pen.restore();
  },

  /* ---- what the colours are, and how much it is where the mouse is, or now */

  drawLegend(ctx) {
    const { names, owners, main, called, colours, forecast } = ctx.body, index = ctx.uplot?.cursor.idx;
    const left = ctx.uplot?.cursor.left ?? -1;
    const hovered = left >= 0 && index !== null && index !== undefined ? view.rowsInView(ctx)[index] : null;
    const row = hovered ?? ctx.rows.at(-1);
    if (!row) { ctx.legend.replaceChildren(); return; }
    const value = (name) => row[1 + names.indexOf(name)];
    const chip = (kind, style, words, number) => laElement("span", { class: `la-memory-chip ${kind}` },
      laElement("i", { style }), words, " ", laElement("b", {}, number));
    const lines = names.filter((name) => MEMORY_LINES.includes(name));
    const when = hovered
      ? `${row[0].toFixed(2)} s${view.labelAt(ctx, row[0]) ? ` · ${view.wordsOf(view.labelAt(ctx, row[0]))}` : ""}`
      : ctx.body.going ? "now" : "at the end";
    ctx.legend.replaceChildren(
      laElement("span", { class: "la-memory-when" }, when),
      ...lines.map((name) => chip("la-line-chip",
        `background:${name === main ? "var(--la-ink)" : name === "used" ? "var(--la-soft)" : LA_COLOURS.purple}`,
        MEMORY_TERMS[name] ? laTerm(MEMORY_TERMS[name], called[name]) : called[name], laBytes(value(name)))),
      ...(ctx.get("owners") ? owners.map((name) => chip("", `background:${colours[name]}${name === "rest" ? "80" : ""}`,
        called[name], laBytes(value(name)))) : []),
      ...(forecast ? [chip("la-line-chip", `background:${LA_COLOURS.vermilion}`, laTerm("expected_memory", "expected"),
        laBytes(view.expected(forecast, row[0]) ?? forecast[1].at(-1)))] : []));
  },

  draw(ctx) {
    if (!ctx.body.names) return;
    view.takeRows(ctx);
    ctx.colours = ctx.theme();
    const list = view.series(ctx);
    const shape = JSON.stringify([list.map((one) => one.name), ctx.get("height_px"), ctx.colours.dark]);
    const width = Math.max(ctx.main.clientWidth, 240);
    if (ctx.shape !== shape) { ctx.shape = shape; view.makePlot(ctx, list); }
    if (ctx.uplot.width !== width) ctx.uplot.setSize({ width, height: ctx.get("height_px") });
    ctx.uplot.setData(view.columns(ctx, list));
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
