/* What looks where: one large picture with the token that is pointed at, its portrait and earlier frames with heat over
   them, words and sounds as bars, and below the wave how much the place listens to which video frame, step by step.
   Buffers: "picture NAME" (JPEG), "heat NAME" (float32 rows x columns), "lane STEP" (float32 per video frame),
     "wave". */

import { laCanvas } from "#liveavatar/web/canvas.js";
import { laElement } from "#liveavatar/web/element.js";
import { laFloats, laPercent } from "#liveavatar/web/format.js";
import { laTerm } from "#liveavatar/web/term.js";
import { live } from "./live.js";

const LOOK_GAP = 8, LOOK_LANE = 14, LOOK_WAVE = 40;

const view = {
  name: "la-attention",

  build(ctx) {
    ctx.transport();
    ctx.lists = Object.fromEntries([["step", "Sampler step"], ["layer", "Layer of the transformer"],
      ["head", "Head of the attention"]].map(([trait, tip]) => {
      const list = laElement("select", { "data-trait": trait, onchange: () => ctx.set(trait, Number(list.value)) });
      ctx.field(trait, tip, list);
      return [trait, list];
    }));
    ctx.back = ctx.button("Back", "Show again where the token looks (Escape)", () => ctx.set("target", ""));
    ctx.space();
    ctx.copyButton();
    ctx.large = view.pane("the picture: click a place, or move it with the arrow keys");
    ctx.large.canvas.addEventListener("pointerdown", (event) => view.point(ctx, event));
    ctx.large.canvas.addEventListener("pointermove", (event) => { if (event.buttons) view.point(ctx, event); });
    ctx.portrait = view.pane("the portrait, with what the token looks at");
    ctx.frames = laElement("canvas", { role: "img", "aria-label": "latent frames that the token can look at" });
    ctx.frames.addEventListener("click", (event) => view.chooseFrame(ctx, event));
    ctx.framesTitle = laElement("div", { class: "la-look-title" });
    ctx.shares = laElement("div", { class: "la-look-bars", role: "group", "aria-label": "shares of the attention" });
    ctx.words = laElement("div", { class: "la-look-bars", role: "group", "aria-label": "words" });
    ctx.sounds = laElement("div", { class: "la-look-bars", role: "group", "aria-label": "sounds" });
    ctx.note = laElement("p", { class: "la-note", role: "status" });
    ctx.lane = laElement("canvas", { role: "img", "aria-label": "how much the place listens to each video frame of " +
      "the sound, by step" });
    ctx.lane.addEventListener("pointerdown", (event) => view.moveTime(ctx, event));
    ctx.lane.addEventListener("pointermove", (event) => { if (event.buttons) view.moveTime(ctx, event); });
    ctx.lag = laElement("p", { class: "la-note" });
    const part = (title, list) => laElement("section", {}, laElement("div", { class: "la-look-title" }, title), list);
    const bars = laElement("div", { class: "la-look-lists" }, part("words", ctx.words), part("sounds", ctx.sounds));
    ctx.beside = laElement("section", {}, ctx.portrait.root, part(laTerm("attention", "attention"), ctx.shares));
    ctx.main.append(laElement("div", { class: "la-look-row" }, ctx.large.root, ctx.beside,
      laElement("section", {}, ctx.framesTitle, ctx.frames, bars)),
      ctx.note, ctx.lane, ctx.lag);
    ctx.images = new Map();
  },

  pane(label) {
    const title = laElement("div", { class: "la-look-title" });
    const canvas = laElement("canvas", { role: "img", "aria-label": label });
    return { root: laElement("section", {}, title, canvas), title, canvas };
  },

  received(ctx, names) {
    for (const name of names.filter((one) => one.startsWith("picture "))) {
      const image = new Image();
      const url = URL.createObjectURL(new Blob([ctx.store.buffers.get(name)], { type: "image/jpeg" }));
      image.onload = () => { URL.revokeObjectURL(url); ctx.changed(); };
      image.src = url;
      ctx.images.set(name.slice(8), image);
    }
  },

  /* ---- pointing */

  point(ctx, event) {
    const { rows, columns } = ctx.body, canvas = ctx.large.canvas;
    const held = (value, count) => Math.min(Math.max(Math.floor(value * count), 0), count - 1);
    ctx.set("row", held(event.offsetY / canvas.clientHeight, rows));
    ctx.set("column", held(event.offsetX / canvas.clientWidth, columns));
    if (ctx.get("target")) ctx.set("target", "");
  },

  chooseFrame(ctx, event) {
    const { side, across } = ctx.layout ?? {}, names = view.others(ctx);
    const place = Math.floor(event.offsetX / (side + LOOK_GAP)) +
      across * Math.floor(event.offsetY / (side + LOOK_GAP + 14));
    const frame = Number(names[place]?.split(" ")[1]) - ctx.body.first;
    if (frame >= 0) ctx.set("frame", frame);
  },

  moveTime(ctx, event) {
    const run = ctx.body.run;
    if (run) ctx.move(Math.min(event.offsetX / ctx.lane.clientWidth, 1) * run.total_s);
  },

  key(ctx, key) {
    if (!ctx.body?.rows) return false;
    const [, row, column] = ctx.body.token, { rows, columns, first } = ctx.body;
    const held = (value, count) => Math.min(Math.max(value, 0), count - 1);
    const turn = { PageUp: -1, PageDown: 1 }[key], move = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0],
      ArrowDown: [1, 0] }[key];
    if (key === "Escape") { ctx.set("target", ""); return true; }
    if (turn) {
      ctx.set("frame", held(ctx.body.token[0] - first + turn, ctx.body.run?.block_latents ?? 3));
      return true;
    }
    if (!move) return false;
    ctx.set("row", held(row + move[0], rows));
    ctx.set("column", held(column + move[1], columns));
    return true;
  },

  /* ---- drawing */

  draw(ctx) {
    const body = ctx.body;
    if (!body?.rows) return;
    ctx.colours = ctx.theme();
    const room = Math.max(window.innerHeight - 430, 210), width = ctx.main.clientWidth;
    const side = Math.floor(Math.min(room, 0.27 * width, 300));
    ctx.most = Math.max(...body.heats.map((name) => Math.max(...(laFloats(ctx.buffers, `heat ${name}`) ?? []))), 1e-9);
    view.fillLists(ctx);
    view.drawLarge(ctx, side);
    view.drawPortrait(ctx, Math.floor(0.62 * side));
    view.drawFrames(ctx, Math.max(width - Math.floor(1.62 * side) - 44, 200));
    view.writeBars(ctx);
    ctx.note.textContent = body.note;
    view.drawLane(ctx, width);
  },

  fillLists(ctx) {
    const { steps, layers, heads, step, layer } = ctx.body;
    const options = { step: steps, layer: layers, head: [-1, ...heads] }, now = { step, layer, head: ctx.get("head") };
    for (const [trait, list] of Object.entries(ctx.lists)) {
      const key = options[trait].join();
      if (list.dataset.options !== key) {
        list.dataset.options = key;
        list.replaceChildren(...options[trait].map((value) =>
          laElement("option", { value }, value < 0 ? "mean" : value)));
      }
      list.value = now[trait];
    }
    ctx.back.hidden = !ctx.get("target");
  },

  /* A picture with heat over it: the more is looked at a place, the less grey and the more orange it is. */
  paint(ctx, pen, name, x, y, side) {
    const image = ctx.images.get(name), { rows, columns } = ctx.body;
    const heat = (laFloats(ctx.buffers, `heat ${name}`) ?? []);
    pen.fillStyle = ctx.colours.faint;
    pen.fillRect(x, y, side, side);
    if (image?.complete && image.naturalWidth) {
      pen.filter = "grayscale(0.85)";
      pen.drawImage(image, x, y, side, side);
      pen.filter = "none";
    }
    for (let i = 0; i < heat.length; i++) {
      const share = Math.sqrt(Math.max(heat[i], 0) / ctx.most);
      pen.fillStyle =
        `rgb(${Math.round(213 + 42 * share)} ${Math.round(94 + 120 * share * share)} 0 / ${(0.78 * share).toFixed(3)})`;
      pen.fillRect(x + (i % columns) * side / columns, y + Math.floor(i / columns) * side / rows, side / columns + 0.5,
        side / rows + 0.5);
    }
  },

  drawLarge(ctx, side) {
    const { token, rows, columns, block, step } = ctx.body, pen = laCanvas(ctx.large.canvas, side, side);
    const name = `frame ${token[0]}`;
    ctx.large.title.textContent = `Block ${block}, frame ${token[0]}, step ${step}`;
    const image = ctx.images.get(name);
    if (ctx.get("target")) view.paint(ctx, pen, name, 0, 0, side);
    else if (image?.complete && image.naturalWidth) pen.drawImage(image, 0, 0, side, side);
    pen.strokeStyle = ctx.colours.soft;
    pen.globalAlpha = 0.25;
    pen.lineWidth = 0.5;
    for (let i = 1; i < Math.max(rows, columns); i++) {
      pen.beginPath();
      if (i < rows) { pen.moveTo(0, i * side / rows); pen.lineTo(side, i * side / rows); }
      if (i < columns) { pen.moveTo(i * side / columns, 0); pen.lineTo(i * side / columns, side); }
      pen.stroke();
    }
    pen.globalAlpha = 1;
    if (ctx.get("target")) return;
    const [x, y, w, h] = [token[2] * side / columns, token[1] * side / rows, side / columns, side / rows];
    pen.lineWidth = 4;
    pen.strokeStyle = "#000";
    pen.strokeRect(x, y, w, h);
    pen.lineWidth = 2;
    pen.strokeStyle = ctx.colours.sky;
    pen.strokeRect(x, y, w, h);
  },

  drawPortrait(ctx, side) {
    ctx.portrait.root.hidden = !ctx.body.heats.includes("portrait");
    ctx.beside.style.width = `${side}px`;
    if (ctx.portrait.root.hidden) return;
    ctx.portrait.title.textContent = "Portrait";
    view.paint(ctx, laCanvas(ctx.portrait.canvas, side, side), "portrait", 0, 0, side);
  },

  others(ctx) { return ctx.body.heats.filter((name) => name !== "portrait"); },

  drawFrames(ctx, width) {
    const names = view.others(ctx), { first } = ctx.body, across = Math.min(names.length, 6);
    const side = Math.floor(Math.min(Math.max((width - LOOK_GAP * across) / across, 40), 92));
    const rows = Math.ceil(names.length / across);
    ctx.framesTitle.textContent = ctx.get("target") ? "Who attends to it: the block's frames"
      : "Earlier frames, and the block's own (framed)";
    ctx.layout = { side, across };
    const pen = laCanvas(ctx.frames, across * (side + LOOK_GAP), rows * (side + LOOK_GAP + 14));
    pen.font = `11px ${ctx.colours.font}`;
    names.forEach((name, i) => {
      const x = (i % across) * (side + LOOK_GAP), y = Math.floor(i / across) * (side + LOOK_GAP + 14);
      const frame = Number(name.split(" ")[1]);
      view.paint(ctx, pen, name, x, y, side);
      if (frame >= first) {
        pen.strokeStyle = frame === ctx.body.token[0] ? ctx.colours.sky : ctx.colours.ink;
        pen.lineWidth = frame === ctx.body.token[0] ? 2.5 : 1;
        pen.strokeRect(x + 1, y + 1, side - 2, side - 2);
      }
      pen.fillStyle = ctx.colours.soft;
      pen.fillText(name, x, y + side + 11);
    });
  },

  writeBars(ctx) {
    const { shares, words, sounds } = ctx.body, target = ctx.get("target");
    const key = JSON.stringify([shares, words, sounds, target]);
    if (ctx.written === key) return;
    ctx.written = key;
    const names = { portrait: "portrait", motion: "motion", past: "earlier blocks", block: "own block" };
    const bar = (label, value, kind) => {
      const inside = [laElement("span", { class: "la-look-label" }, label), laElement("span", { class: "la-look-bar" },
        laElement("span", { style: `width:${(100 * value).toFixed(1)}%` })),
          laElement("span", { class: "la-look-value" }, laPercent(value))];
      if (!kind) return laElement("div", { class: "la-look-line" }, ...inside);
      return laElement("button", { type: "button", class: "la-look-line", "aria-pressed": kind === target,
        "data-target": kind,
        title: `See which places attend to this`, onclick: () => ctx.set("target", kind === target ? "" : kind) },
          ...inside);
    };
    ctx.shares.replaceChildren(...Object.entries(shares).map(([name, value]) => bar(names[name] ?? name, value)));
    ctx.words.replaceChildren(...words.map(([name, value, place]) => bar(name, value, `text ${place}`)));
    ctx.sounds.replaceChildren(...(sounds.length ? sounds.map(([name, value], i) => bar(name, value, `sound ${i}`))
      : [laElement("span", { class: "la-note" }, "This layer does not attend to the sound.")]));
  },

  /* ---- the sound */

  drawLane(ctx, width) {
    const { lane_steps: steps, run, lags, lips, step } = ctx.body, wave = (laFloats(ctx.buffers, "wave") ?? []);
    const theme = ctx.colours;
    const pen = laCanvas(ctx.lane, width, LOOK_WAVE + LOOK_LANE * steps.length + 2);
    pen.fillStyle = theme.soft;
    for (let x = 0; x < width; x++) {
      const tall = (wave[Math.floor(x * wave.length / width)] ?? 0) * (LOOK_WAVE - 6);
      pen.fillRect(x, (LOOK_WAVE - tall) / 2, 1, Math.max(tall, 0.5));
    }
    steps.forEach((at, row) => {
      const lane = (laFloats(ctx.buffers, `lane ${at}`) ?? []), most = Math.max(...lane.slice(1), 1e-9);
      const y = LOOK_WAVE + row * LOOK_LANE;
      pen.fillStyle = theme.steps[at % 8];
      lane.forEach((value, i) => {
        pen.globalAlpha = Math.min(Math.max(value, 0) / most, 1);      // frame 0 stands for all before it
        pen.fillRect(i * width / lane.length, y, width / lane.length + 0.5, LOOK_LANE - 2);
      });
      pen.globalAlpha = 1;
      if (at === step) {
        pen.strokeStyle = theme.ink;
        pen.lineWidth = 1;
        pen.strokeRect(0.5, y + 0.5, width - 1, LOOK_LANE - 3);
      }
    });
    const x = run?.total_s ? ctx.time / run.total_s * width : 0;
    pen.fillStyle = theme.vermilion;
    pen.fillRect(Math.min(x, width - 2), 0, 2, LOOK_WAVE + LOOK_LANE * steps.length);
    const signed = (value) => `${value > 0 ? "+" : "−"}${Math.abs(Math.round(value))} ms`;
    const parts = Object.entries(lags).map(([at, value]) => `step ${at} ${signed(value)}`);
    ctx.lag.replaceChildren(...(parts.length ? [laTerm("attention_lag", "The sound it listens to"),
      `, against the picture: ${parts.join(", ")}.`] : ["This layer does not attend to the sound."]),
      ...(lips === null ? [] : [" Measured delay of the ", laTerm("lip_delay", "lips"), `: ${signed(lips)}.`]));
  },
};

export default live(view);
