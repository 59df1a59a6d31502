/* One cell of the grid in depth: its pictures large, all channels, a histogram and numbers; and how pictures of cells
   are drawn. The functions are given the place of the page in which the grid is shown. */

import { laCanvas, laColourTable, laPicture, laPixels } from "#liveavatar/web/canvas.js";
import { laElement } from "#liveavatar/web/element.js";
import { laNumber, laPercent } from "#liveavatar/web/format.js";
import { laTerm } from "#liveavatar/web/term.js";

export const GRID_BETWEEN = 2;                                    // px, between x and the guess in a cell
const GRID_WIDE = 374;                                     // px, width of x and guess, large, side by side
const GRID_BIG = 268;                                      // px, width of the large picture and of the channels
const GRID_NUMBERS = [   // term of the glossary, words
  [["sigma", "sigma"], ["share_of_path", "share of path"], ["velocity_norm", "velocity norm"],
   ["cosine", "cosine to step before"], ["step_time", "time"]],
  [["mean", "mean"], ["std", "std"], ["skew", "skew"], ["kurtosis", "kurtosis"], ["range", "range"]],
];

const GRID_STOPS = {   // colour at 0, 0.25 ... 1
  signed: [[0, 68, 136], [86, 150, 214], [245, 245, 245], [232, 130, 66], [164, 52, 0]],
  heat: [[10, 8, 26], [84, 27, 109], [187, 55, 84], [249, 142, 9], [252, 255, 190]],
};

const gridTables = {};
const gridTable = (kind) => (gridTables[kind] ??= laColourTable(GRID_STOPS[kind]));

/* -> {source, frames, width, height, across, before}: frames lie one below the other, or side by side in a JPEG. Until
   that is unpacked, the picture before stands in for it. */
export function gridPicture(ctx, bytes, kind, frames, width, height, before) {
  const picture = { source: null, frames, width, height, across: kind === "jpeg", kind };
  picture.before = before?.source ? before : null;
  if (kind === "jpeg") {
    createImageBitmap(new Blob([bytes], { type: "image/jpeg" })).then((bitmap) => {
      Object.assign(picture, { source: bitmap, before: null });
      ctx.changed();
    });
  } else if (kind === "rgb") {
    picture.source = laPicture(bytes, width, frames * height);
  } else {
    const table = gridTable(kind);
    picture.source = laPixels(width, frames * height, (out) => out.forEach((_, i) => { out[i] = table[bytes[i]]; }));
  }
  return picture;
}

/* Draw a frame at a share 0..1 of the block; where it holds several pictures side by side, with a gap between them. */
export function gridFrame(pen, picture, share, x, y, width, height, pictures = 1) {
  const shown = picture?.source ? picture : picture?.before;
  if (!shown) return;
  pen.imageSmoothingEnabled = true;
  pen.imageSmoothingQuality = "high";
  const f = Math.min(Math.max(Math.floor(share * shown.frames + 1e-6), 0), shown.frames - 1), h = shown.height;
  const w = shown.width / pictures, wide = (width - GRID_BETWEEN * (pictures - 1)) / pictures;
  const [left, top] = shown.across ? [f * shown.width, 0] : [0, f * h];
  for (let i = 0; i < pictures; i++) {
    pen.drawImage(shown.source, left + i * w, top, w, h, x + i * (wide + GRID_BETWEEN), y, wide, height);
  }
}

export const gridDetail = {
  buildDetail(ctx) {
    ctx.title = laElement("div", { class: "la-grid-title" });
    ctx.big = laElement("canvas", { role: "img", "aria-label": "the chosen cell, large" });
    ctx.scrub = laElement("input", { type: "range", min: 0, max: 2, step: 1, value: 0, "data-trait": "frame",
      "aria-label": "frame of the block" });
    ctx.frameWords = laElement("output");
    ctx.playing = !window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    ctx.frame = 0;
    const play = laElement("button", { type: "button", class: "la-button" });
    play.title = "Play or pause the frames of this block";
    const showPlay = () => { play.textContent = ctx.playing ? "Pause" : "Play"; };
    play.addEventListener("click", () => { ctx.playing = !ctx.playing; showPlay(); gridDetail.animate(ctx); });
    showPlay();
    ctx.hold = () => { ctx.playing = false; showPlay(); };
    ctx.scrub.addEventListener("input", () => {
      ctx.hold();
      ctx.frame = Number(ctx.scrub.value);
      ctx.move((ctx.body.detail.block + (ctx.frame + 0.5) / gridDetail.wholeBlock(ctx)) * ctx.body.run.block_s);
    });
    ctx.channelsCanvas = laElement("canvas", { role: "img", "aria-label": "all latent channels" });
    ctx.channelsCanvas.addEventListener("click", (event) => {
      const channel = gridDetail.channelAt(ctx, event);
      if (channel !== null) { ctx.set("channel", channel); ctx.set("show", "channel"); }
    });
    ctx.channelsCanvas.addEventListener("pointermove", (event) => {
      const channel = gridDetail.channelAt(ctx, event);
      ctx.channelsCanvas.title = channel === null ? "" : `channel ${channel}: click to see it in every cell`;
    });
    ctx.histogramCanvas = laElement("canvas", { role: "img", "aria-label": "histogram of the values" });
    ctx.numbers = {};                                      // term -> the cell that shows it
    const tables = GRID_NUMBERS.map((rows) => laElement("table", { class: "la-numbers" }, ...rows.map(([term, words]) =>
      laElement("tr", {}, laElement("th", {}, laTerm(term, words)), ctx.numbers[term] = laElement("td", {})))));
    const note = (...words) => laElement("div", { class: "la-note" }, ...words);
    ctx.bigWords = laElement("div", { class: "la-grid-halves", hidden: true },
      laElement("span", {}, laTerm("x", "noisy x")), laElement("span", {}, laTerm("guess", "guess")));
    ctx.detail = laElement("div", { class: "la-grid-detail" },
      laElement("section", {}, ctx.title, ctx.big, ctx.bigWords,
        laElement("div", { class: "la-grid-scrub" }, play, ctx.scrub, ctx.frameWords)),
      laElement("section", {}, note("all ", laTerm("channel", "channels"), " of the ", laTerm("latent", "latent"),
        ", blue below zero, red above"), ctx.channelsCanvas),
      laElement("section", { class: "la-grid-numbers" },
        note(laTerm("histogram", "values, against a normal distribution")), ctx.histogramCanvas,
        laElement("div", { class: "la-grid-tables" }, ...tables)));
    ctx.main.append(ctx.detail);
  },

  drawDetail(ctx, theme) {
    const detail = ctx.body.detail, numbers = detail.numbers;
    const [block, step] = [laTerm("block", `block ${detail.block}`), laTerm("step", `step ${detail.step}`)];
    ctx.title.replaceChildren(laElement("b", {}, block, ", ", step), ` · ${ctx.body.shown}`);
    const values = {
      sigma: `${laNumber(numbers.sigma, 3)} → ${laNumber(numbers.sigma_next, 3)}`,
      share_of_path: laPercent(numbers.share), velocity_norm: laNumber(numbers.velocity_norm),
      cosine: laNumber(numbers.cosine, 3), step_time: `${Math.round(numbers.milliseconds)} ms`,
      mean: laNumber(numbers.mean, 3), std: laNumber(numbers.std, 3), skew: laNumber(numbers.skew),
      kurtosis: laNumber(numbers.kurtosis), range: `${laNumber(numbers.minimum)} to ${laNumber(numbers.maximum)}`,
    };
    for (const [term, words] of Object.entries(values)) ctx.numbers[term].textContent = words;
    gridDetail.drawHistogram(ctx, theme, detail);
    gridDetail.drawFrame(ctx, theme);
    gridDetail.animate(ctx);
  },

  drawHistogram(ctx, theme, { histogram }) {
    const width = 300, height = 104, base = height - 16, bins = histogram.length, most = Math.max(...histogram, 1);
    const total = histogram.reduce((a, b) => a + b, 0), step = width / bins;
    const pen = laCanvas(ctx.histogramCanvas, width, height);
    const density = (value) => Math.exp(-0.5 * value ** 2) / Math.sqrt(2 * Math.PI);
    const normal = Array.from({ length: bins + 1 }, (_, i) => total * (8 / bins) * density((i / bins) * 8 - 4));
    const top = Math.max(most, ...normal) * 1.05;
    pen.fillStyle = theme.steps[ctx.body.detail.step % 8];
    histogram.forEach((count, i) => {
      const tall = (count / top) * base;
      pen.fillRect(i * step + 0.5, base - tall, step - 1, tall);
    });
    pen.strokeStyle = theme.ink;
    pen.lineWidth = 1.2;
    pen.beginPath();
    normal.forEach((value, i) => pen.lineTo(i * step, base - (value / top) * base));
    pen.stroke();
    pen.strokeStyle = theme.line;
    pen.beginPath();
    pen.moveTo(0, base + 0.5);
    pen.lineTo(width, base + 0.5);
    pen.stroke();
    pen.fillStyle = theme.soft;
    pen.font = `11px ${theme.font}`;
    pen.textBaseline = "top";
    [-4, -2, 0, 2, 4].forEach((value) => {
      pen.textAlign = value === -4 ? "left" : value === 4 ? "right" : "center";
      pen.fillText(value, ((value + 4) / 8) * width, base + 3);
    });
  },

  drawFrame(ctx, theme) {
    const { picture, body } = ctx, { detail, run, pictures } = body;
    if (!(picture?.source || picture?.before) || !detail) return;
    const shown = picture.source ? picture : picture.before, { frames } = shown;
    const frame = Math.min(ctx.frame, frames - 1);
    const width = pictures > 1 ? GRID_WIDE : GRID_BIG, one = (width - GRID_BETWEEN * (pictures - 1)) / pictures;
    const height = Math.round((one * shown.height * pictures) / shown.width), share = (frame + 0.5) / frames;
    gridFrame(laCanvas(ctx.big, width, height), picture, share, 0, 0, width, height, pictures);
    ctx.bigWords.hidden = pictures < 2;
    ctx.bigWords.style.width = ctx.scrub.parentElement.style.width = `${width}px`;
    ctx.scrub.max = frames - 1;
    ctx.scrub.value = frame;
    const kind = run.block_latents === frames ? "latent frame" : "frame";
    ctx.frameWords.textContent = `${kind} ${frame + 1} of ${frames}`;
    if (ctx.channels?.source) gridDetail.drawChannels(ctx, theme, share);
  },

  drawChannels(ctx, theme, share) {
    const { channels } = ctx, latents = ctx.body.run.block_latents, C = channels.frames / latents;
    const across = Math.ceil(Math.sqrt(C)), tile = GRID_BIG / across;
    const tall = Math.round((tile * channels.height) / channels.width);
    const latent = Math.min(Math.floor(share * latents), latents - 1);
    const pen = laCanvas(ctx.channelsCanvas, GRID_BIG, Math.ceil(C / across) * tall);
    ctx.tiles = { across, tile, tall, C };
    ctx.channelField.range.max = C - 1;
    for (let channel = 0; channel < C; channel++) {
      const x = (channel % across) * tile, y = Math.floor(channel / across) * tall;
      const at = (channel * latents + latent + 0.5) / channels.frames;
      gridFrame(pen, channels, at, x + 1, y + 1, tile - 2, tall - 2);
      pen.font = `10px ${theme.font}`;
      pen.textBaseline = "top";
      pen.textAlign = "left";
      pen.lineWidth = 2.5;
      pen.strokeStyle = "#ffffffcc";
      pen.strokeText(channel, x + 4, y + 4);
      pen.fillStyle = "#111";
      pen.fillText(channel, x + 4, y + 4);
      if (ctx.get("show") === "channel" && ctx.get("channel") === channel) {
        pen.strokeStyle = theme.vermilion;
        pen.lineWidth = 3;
        pen.strokeRect(x + 2, y + 2, tile - 4, tall - 4);
      }
    }
  },

  /* Frames of a whole block of the kind that is shown large; a last one may have fewer. */
  wholeBlock(ctx) {
    const { run } = ctx.body;
    return ctx.picture?.kind === "jpeg" ? Math.round(run.block_s * run.fps) : run.block_latents;
  },

  channelAt(ctx, event) {
    if (!ctx.tiles) return null;
    const { across, tile, tall, C } = ctx.tiles;
    const channel = Math.floor(event.offsetY / tall) * across + Math.floor(event.offsetX / tile);
    return channel < C ? channel : null;
  },

  /* Let the frames of the chosen block run, in their own speed. */
  animate(ctx) {
    if (ctx.animation || !ctx.playing) return;
    ctx.animation = setInterval(() => {
      if (!ctx.playing || !ctx.root.isConnected) { clearInterval(ctx.animation); ctx.animation = null; return; }
      const frames = ctx.picture?.frames ?? 1, run = ctx.body?.run;
      if (!run || document.hidden || !ctx.get("detail")) return;
      const frame = Math.floor(((performance.now() / 1000) % run.block_s) / run.block_s * frames);
      if (frame !== ctx.frame) { ctx.frame = frame; gridDetail.drawFrame(ctx, ctx.theme()); }
    }, 40);
  },
};
