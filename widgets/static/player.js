/* The video with its sound, and two against each other: what is seen and clicked. What plays is in player_engine.js. */

import { laSplit } from "./compare.js";
import { PlayerEngine } from "./player_engine.js";
import { largeButton } from "./present.js";
import { RunPairPanel } from "./run_pair.js";
import { drawStage } from "./player_stage.js";
import { laCanvas } from "#liveavatar/web/canvas.js";
import { laElement } from "#liveavatar/web/element.js";
import { laSeconds } from "#liveavatar/web/format.js";
import { laTerm } from "#liveavatar/web/term.js";
import { live } from "./live.js";

const PLAYER_SPEEDS = [[0.25, "¼ speed"], [0.5, "½ speed"], [1, "real time"]];
const PLAYER_LINE = 46;                 // px, height of the time line
const PLAYER_SHOWN = [["side", "side by side"], ["wipe", "wipe"], ["blink", "blink"], ["difference", "difference"],
  ["one", "A alone"]];

const view = {
  name: "la-player",

  build(ctx) {
    ctx.engine = ctx.store.engine ??= new PlayerEngine(ctx);
    ctx.transport();
    ctx.space();
    ctx.copyButton();

    ctx.stage = laElement("canvas", { role: "img", "aria-label": "the video", class: "la-stage" });
    ctx.stage.addEventListener("pointerdown", (event) => {
      ctx.pressed = event.offsetX;
      ctx.dragged = false;
      ctx.stage.setPointerCapture(event.pointerId);
    });
    ctx.stage.addEventListener("pointermove", (event) => view.wiped(ctx, event));
    ctx.stage.addEventListener("pointerup", () => {
      if (!ctx.dragged && ctx.pressed !== null) view.toggle(ctx);
      ctx.pressed = null;
    });

    ctx.button_ = laElement("button", { type: "button", class: "la-button la-play", onclick: () => view.toggle(ctx) });
    ctx.line = laElement("canvas", { role: "slider", "aria-label": "time", class: "la-line",
      title: "Click or drag to move the time cursor" });
    const drag = (event) => { if (event.buttons) view.sought(ctx, event); };
    ctx.line.addEventListener("pointerdown", (event) => { ctx.line.setPointerCapture(event.pointerId); drag(event); });
    ctx.line.addEventListener("pointermove", drag);
    ctx.clockWords = laElement("b", {});
    ctx.totalWords = laElement("span", { class: "la-player-total" });
    ctx.frameWords = laElement("span", {});
    ctx.firstWords = laElement("span", {});
    ctx.hint = laElement("span", {});
    ctx.words = laElement("span", { class: "la-player-words" }, ctx.clockWords, ctx.totalWords, ctx.frameWords,
      laElement("span", { class: "la-player-first" }, laTerm("first_picture", ctx.firstWords)), ctx.hint);
    const lower = laElement("div", { class: "la-player-lower" }, ctx.button_,
      laElement("div", { class: "la-player-line" }, ctx.line), ctx.words);

    const bar = ctx.bar;
    ctx.bar = laElement("div", { class: "la-bar la-player-bar" });
    ctx.showField = ctx.select("show", "Compare", "How the two are shown", PLAYER_SHOWN);
    ctx.gainField = ctx.slider("gain", "brighter", "How many times the difference is made brighter",
      { min: 1, max: 16, step: 1, words: (value) => `${value}×` });
    ctx.blinkField = ctx.slider("blink_s", "every", "Seconds for which each of the two is seen",
      { min: 0.1, max: 2, step: 0.1, words: (value) => `${value.toFixed(1)} s` });
    ctx.noise = laElement("span", { class: "la-note" }, laTerm("same_noise", "same noise"));
    ctx.bar.append(ctx.noise);
    ctx.soundField = view.soundChoice(ctx);
    ctx.select("speed", "", "How fast it is played; the pitch of the sound follows", PLAYER_SPEEDS)
      .querySelector("select").setAttribute("aria-label", "playback speed");
    ctx.check("loop", "Loop", "Begin again at the end");
    ctx.tools = ctx.bar;
    ctx.bar = bar;

    const box = laElement("div", { class: "la-stage-box" }, ctx.stage);
    ctx.bar = box;
    largeButton(ctx, null, "The video over the whole screen").classList.add("la-stage-large");
    ctx.bar = bar;
    ctx.pair = new RunPairPanel(ctx);
    ctx.main.append(box, lower, ctx.tools, ctx.pair.element);
    ctx.on("change:playing", () => { if (ctx.get("playing") !== ctx.engine.going) ctx.engine.toggle(); });
    const again = () => { if (ctx.engine.going && !ctx.engine.waiting) ctx.engine.go(); };
    for (const trait of ["sound", "speed"]) ctx.on(`change:${trait}`, again);
    if (ctx.get("playing")) setTimeout(() => ctx.engine.play(), 200);
  },

  soundChoice(ctx) {
    const button = laElement("button", { type: "button", class: "la-button", "data-trait": "sound" });
    button.addEventListener("click", () => {
      const both = ctx.body?.others?.b && !ctx.body.same_sound, order = both ? ["a", "b", "off"] : ["a", "off"];
      ctx.engine.device();
      ctx.set("sound", order[(order.indexOf(ctx.get("sound")) + 1) % order.length]);
    });
    ctx.bar.append(button);
    return button;
  },

  received(ctx, names, full) {
    const engine = (ctx.engine ??= ctx.store.engine);
    if (ctx !== [...ctx.store.places][0]) return;
    if (full && ctx.store.due !== null && ctx.store.due !== engine.fullOf) {
      engine.forget();
      engine.fullOf = ctx.store.due;
    }
    for (const name of names) {
      engine.take(name, ctx.store.buffers.get(name));
      ctx.store.buffers.delete(name);                     // the engine keeps it now
    }
  },

  toggle(ctx) {
    const { engine } = ctx, waits = ctx.body?.run?.state === "ready" && !engine.ready;
    if (!engine.going && waits && ctx.get("controls")) ctx.send("steer", { what: "toggle" });
    engine.toggle();
    ctx.changed();
  },

  sought(ctx, event) {
    const share = Math.min(Math.max(event.offsetX / ctx.line.clientWidth, 0), 1);
    ctx.engine.seek(share * ctx.engine.total);
  },

  wiped(ctx, event) {
    if (ctx.pressed === null || ctx.pressed === undefined || !event.buttons) return;
    if (Math.abs(event.offsetX - ctx.pressed) > 4) ctx.dragged = true;
    if (ctx.dragged && ctx.comparing === "wipe" && ctx.box) ctx.set("split", laSplit(ctx.box, event.offsetX));
  },

  /* ---- the time line: the sound, what is ready, where we are */

  findPeaks(engine, columns) {
    const pcm = engine.waves.a?.pcm, rate = engine.body.rates?.a;
    if (!pcm || !rate) return null;
    const key = `${columns}/${pcm.length}/${engine.total}`;
    if (engine.peaks?.key !== key) {
      const step = (engine.total * rate) / columns, values = new Float32Array(columns);
      let most = 1;
      for (let c = 0; c < columns; c++) {
        const end = Math.min(Math.floor((c + 1) * step), pcm.length);
        for (let i = Math.floor(c * step); i < end; i += 4) values[c] = Math.max(values[c], Math.abs(pcm[i]));
        most = Math.max(most, values[c]);
      }
      engine.peaks = { key, values: values.map((value) => value / most) };
    }
    return engine.peaks.values;
  },

  drawLine(ctx, theme) {
    const { engine } = ctx, total = engine.total || 1, width = Math.max(ctx.line.parentElement.clientWidth, 80);
    const pen = laCanvas(ctx.line, width, PLAYER_LINE), middle = PLAYER_LINE / 2, tall = middle - 5, bar = 3;
    const columns = Math.floor(width / bar), peaks = view.findPeaks(engine, columns);
    const ready = (engine.ready / total) * width, at = Math.min(engine.shown / total, 1) * width;
    for (let c = 0; c < columns; c++) {
      const x = c * bar, half = Math.max(1, (peaks?.[c] ?? 0) * tall);
      pen.fillStyle = x >= ready - 0.5 ? theme.line : theme.accent;
      pen.globalAlpha = x < at ? 1 : x < ready ? 0.42 : 1;
      pen.fillRect(x, middle - half, bar - 1, 2 * half);
    }
    pen.globalAlpha = 1;
    pen.fillStyle = theme.ink;
    pen.fillRect(Math.min(Math.max(at - 1, 0), width - 2), 2, 2, PLAYER_LINE - 4);
    pen.beginPath();
    pen.arc(Math.min(Math.max(at, 5), width - 5), 6, 4.5, 0, 7);
    pen.fill();
  },

  draw(ctx) {
    const { engine, body } = ctx, theme = ctx.theme(), run = body.run;
    if (!run || !body.others) return;
    engine.follow();
    const other = !!body.others.b, show = ctx.get("show"), choice = ctx.get("sound"), wiping = show === "wipe" && other;
    ctx.showField.hidden = !other;
    ctx.noise.hidden = !body.same_noise;
    ctx.gainField.hidden = !other || show !== "difference";
    ctx.blinkField.hidden = !other || show !== "blink";
    const silent = !Object.keys(body.rates ?? {}).length;
    ctx.soundField.disabled = silent;
    ctx.soundField.textContent = silent ? "No sound" : choice === "off" ? "Sound off"
      : other && !body.same_sound ? `Sound of ${choice.toUpperCase()}` : "Sound on";
    ctx.soundField.title = silent ? "This video has no sound" : "Whose sound is heard: click to change";
    ctx.button_.textContent = engine.going ? "Pause" : "Play";
    ctx.button_.title = engine.going ? "Pause here (space)" : silent ? "Play (space)" : "Play with sound (space)";
    const names = other ? `${Object.values(body.names).join(". ")}. ` : "";
    ctx.stage.title = names + (wiping ? "Drag to move the wipe; click to play or pause"
      : "Click to play or pause (space); arrow keys: one frame back or on");
    ctx.stage.style.cursor = wiping ? "ew-resize" : "pointer";
    drawStage(ctx, theme);
    view.drawLine(ctx, theme);
    ctx.pair.update(body);
    view.drawWords(ctx, run, choice);
    Object.assign(ctx.root.dataset, { position: engine.shown.toFixed(3), playing: engine.going, waiting: engine.waiting,
      heard: engine.heard, sounding: !!engine.sounding });
    if (other && show === "blink" && !ctx.blinking) {
      ctx.blinking = setTimeout(() => { ctx.blinking = null; ctx.changed(); }, 1000 * ctx.get("blink_s"));
    }
  },

  drawWords(ctx, run, choice) {
    const { engine } = ctx, first = run.first_picture_s, total = engine.total;
    ctx.clockWords.textContent = Math.min(engine.shown, total || engine.shown).toFixed(2);
    ctx.totalWords.textContent = ` / ${laSeconds(total)}`;
    ctx.frameWords.textContent = `frame ${Math.floor(engine.shown * run.fps + 1e-4)}`;
    ctx.firstWords.textContent = first ? `first picture ${laSeconds(first)}` : "";
    ctx.hint.textContent = engine.going && !engine.sounding && choice !== "off" ? "click the page for sound" : "";
  },

  key(ctx, key) {
    const { engine } = ctx, fps = ctx.body?.run?.fps;
    if (!fps) return false;
    if (key === " ") { view.toggle(ctx); return true; }
    const hop = { ArrowLeft: -1, ArrowRight: 1 }[key];
    if (hop) {
      if (engine.going) engine.hold();
      engine.seek((Math.floor(engine.shown * fps + 1e-4) + hop + 0.5) / fps);
      return true;
    }
    if (key === "Home") { engine.seek(0); return true; }
    return false;
  },

  leave(ctx) {
    clearTimeout(ctx.blinking);
    if (ctx.store.places.size <= 1) { ctx.engine.going = false; ctx.engine.silence(); }
    else if (ctx.engine.ctx === ctx) ctx.engine.ctx = [...ctx.store.places].find((place) => place !== ctx);
  },
};

export default live(view);
