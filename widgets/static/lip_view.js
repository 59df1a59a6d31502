/* Lanes on one time line: the wave with its loudness, the mel, the sounds, the mouth, how well it agrees. Beside them
   the picture under the mouse and agreement against delay; below them one sound at every sampler step. */

import { drawLanes } from "./lip_lanes.js";
import { drawChecks, drawDelay, drawKey, drawMouth, drawTiles, drawVerdict } from "./lip_panels.js";
import { laneAt, LIP_GUTTER, soundAt, timeScale } from "./lip_time.js";
import { laElement } from "#liveavatar/web/element.js";
import { laSeconds } from "#liveavatar/web/format.js";
import { LA_TERMS } from "#liveavatar/web/glossary.js";
import { live } from "./live.js";

const LIP_SIDE = 336;                    // px, what lies beside the lanes

const view = {
  name: "la-lips",

  build(ctx) {
    ctx.transport();
    ctx.space();
    ctx.against = ctx.select("against", "against", "What the opening of the mouth is compared with: the mouth that " +
      "says these sounds, or the loudness", [["sounds", "these sounds"], ["loudness", "loudness"]]);
    ctx.windowField = ctx.slider("window_s", "window", "Seconds in view", { min: 1, max: 20, step: 0.5,
      words: (value) => `${value.toFixed(1)} s` });
    ctx.copyButton();
    ctx.lanes = laElement("canvas", { role: "img", "aria-label": "sound and mouth on one time line" });
    ctx.face = laElement("canvas", { role: "img", "aria-label": "the frame under the mouse" });
    ctx.faceWords = laElement("div", { class: "la-lips-face-words" });
    ctx.delay = laElement("canvas", { role: "img", "aria-label": "agreement against delay" });
    ctx.delay.title = `How well mouth and sound agree if the lips came so much later. ${LA_TERMS.itu_band}`;
    ctx.big = laElement("div", { class: "la-lips-big" });
    ctx.checks = laElement("table", { class: "la-numbers la-lips-checks" });
    ctx.tileWords = laElement("div", { class: "la-lips-tile-words" });
    ctx.tiles = laElement("canvas", { role: "img", "aria-label": "the chosen sound at every sampler step" });
    ctx.tilesBox = laElement("section", {}, ctx.tileWords, ctx.tiles);
    ctx.key = laElement("div", { class: "la-note la-lips-key" });
    ctx.main.append(
      laElement("div", { class: "la-lips-upper" }, laElement("div", {}, ctx.lanes, ctx.key),
        laElement("div", { class: "la-lips-side" }, laElement("div", { class: "la-lips-face" }, ctx.face,
          ctx.faceWords), laElement("div", {}, ctx.big, ctx.delay))),
      laElement("div", { class: "la-lips-lower" }, ctx.tilesBox, ctx.checks));

    ctx.lanes.addEventListener("pointerdown", (event) => view.pressed(ctx, event));
    ctx.lanes.addEventListener("pointermove", (event) => view.moved(ctx, event));
    ctx.lanes.addEventListener("pointerleave", () => { ctx.mouse = null; view.hover(ctx, null); ctx.changed(); });
    ctx.sounds = [];
    ctx.against.hidden = ctx.windowField.hidden = true;
  },

  received(ctx, names) {
    const bytes = (name) => ctx.store.buffers.get(name).slice();
    for (const name of names) {
      if (name === "peaks") ctx.peaks = new Int8Array(bytes(name).buffer);
      else if (name === "mel") { ctx.mel = bytes(name); ctx.melPicture = null; }
      else if (name === "sounds") ctx.sounds = JSON.parse(new TextDecoder().decode(bytes(name)));
      else if (name === "curves") ctx.curves = new Float32Array(bytes(name).buffer);
      else if (name === "frame" || name === "tiles") view.unpack(ctx, name, bytes(name));
    }
  },

  /* ---- time */

  /* A JPEG to a picture that can be drawn. */
  unpack(ctx, name, bytes) {
    createImageBitmap(new Blob([bytes], { type: "image/jpeg" })).then((bitmap) => {
      ctx[`${name}Picture`] = bitmap;
      ctx.changed();
    });
  },

  pressed(ctx, event) {
    if (!ctx.body?.run || event.offsetX < LIP_GUTTER) return;
    const time = timeScale(ctx).time(event.offsetX);
    const sound = laneAt(event.offsetY) === "sounds" ? soundAt(ctx, time) : -1;
    ctx.lanes.setPointerCapture(event.pointerId);
    if (sound >= 0) {
      ctx.set("sound", sound);
      ctx.move((ctx.sounds[sound][1] + ctx.sounds[sound][2]) / 2);
      ctx.held = false;
      return;
    }
    ctx.held = true;
    ctx.move(Math.min(time, timeScale(ctx).total - 1e-3));
  },

  moved(ctx, event) {
    if (!ctx.body?.run || event.offsetX < LIP_GUTTER) return;
    const times = timeScale(ctx), time = Math.min(Math.max(times.time(event.offsetX), 0), times.total - 1e-3);
    const lane = laneAt(event.offsetY);
    ctx.mouse = { time, lane };
    ctx.lanes.title = view.tip(ctx, lane, time);
    ctx.lanes.style.cursor = lane === "sounds" && soundAt(ctx, time) >= 0 ? "pointer" : "crosshair";
    if (event.buttons && ctx.held) ctx.move(time);
    view.hover(ctx, time);
    ctx.changed();
  },

  /* What is under the mouse, in words. */
  tip(ctx, lane, time) {
    const sound = lane === "sounds" ? ctx.sounds[soundAt(ctx, time)] : null;
    const agreement = ctx.curves?.[4 * Math.floor(time * ctx.body.run.fps + 1e-6) + 3];
    if (sound && sound[3] !== -1) {
      const shape = ctx.body.shapes[sound[3]];
      const kept = { true: ", and the mouth did so", false: ", but the mouth did not" }[sound[4]] ?? "";
      return `${sound[0]}, ${sound[1].toFixed(2)} to ${laSeconds(sound[2])}${shape ? `: ${shape}${kept}` : ""}. ` +
        "Click to see its frames at every step";
    }
    if (lane === "sounds" && !ctx.sounds.length && ctx.body.no_sounds) return ctx.body.no_sounds;
    if (lane === "wave" && ctx.body.nonspeech?.some(([from, to]) => from <= time && time < to))
      return "Something is heard, but nobody speaks: music or noise";
    if (lane === "agreement" && agreement >= 0) return `agreement ${agreement.toFixed(2)}: ${LA_TERMS.agreement}`;
    return "Click or drag to move the time cursor";
  },

  /* Ask for the frame under the mouse, once for each frame. */
  hover(ctx, time) {
    const frame = time === null ? null : Math.floor(time * ctx.body.run.fps + 1e-6);
    if (frame === ctx.hovered) return;
    ctx.hovered = frame;
    ctx.send("hover", { time });
  },

  /* ---- one sound at every step */

  draw(ctx) {
    const theme = ctx.theme(), run = ctx.body.run;
    if (!run || !ctx.body.frames) return;
    const room = Math.max(ctx.main.clientWidth, 320), beside = room > 760;
    ctx.width = beside ? room - LIP_SIDE - 16 : room;
    ctx.narrow = !beside;
    ctx.root.classList.toggle("la-lips-narrow", ctx.narrow);
    ctx.key.style.width = `${ctx.width - LIP_GUTTER}px`;
    ctx.against.hidden = !ctx.sounds.length;
    ctx.windowField.range.max = Math.max(Math.ceil(run.total_s), 2);
    ctx.windowField.hidden = run.total_s < 3;
    drawLanes(ctx, theme);
    drawKey(ctx, theme);
    drawMouth(ctx, theme);
    drawVerdict(ctx);
    drawDelay(ctx, theme);
    drawTiles(ctx, theme);
    drawChecks(ctx);
  },

  key(ctx, key) {
    const run = ctx.body?.run, hop = { ArrowLeft: -1, ArrowRight: 1 }[key], sound = ctx.get("sound");
    if (key === "Escape") { ctx.set("sound", -1); return true; }
    if (!hop || !run) return false;
    if (sound >= 0) {
      const next = Math.min(Math.max(sound + hop, 0), ctx.sounds.length - 1);
      ctx.set("sound", next);
      ctx.move((ctx.sounds[next][1] + ctx.sounds[next][2]) / 2);
    } else ctx.move((Math.floor(ctx.time * run.fps + 1e-4) + hop + 0.5) / run.fps);
    return true;
  },
};

export default live(view);
