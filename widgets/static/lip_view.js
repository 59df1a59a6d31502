/* Lanes on one time line: the wave with its loudness, the mel, the sounds, the mouth, how well it agrees. Beside them
   the picture under the mouse and agreement against delay; below them one sound at every sampler step. */

const LIP_GUTTER = 76, LIP_SIDE = 336, LIP_TOP = 20;
const LIP_LANES = [["wave", 58], ["mel", 66], ["sounds", 40], ["mouth", 118], ["agreement", 34]];
const LIP_GAP = 8;
// closed, lip-tooth, spread, open, rounded
const LIP_SHAPES = ["vermilion", "purple", "sky", "orange", "green"];

const lipShape = (theme, shape) => (shape >= 0 ? theme[LIP_SHAPES[shape]] : theme.grey);
const lipMs = (value) =>
  `${value > 0 ? "+" : value < 0 ? "−" : ""}${Math.abs(value).toFixed(Math.abs(value) < 9.95 ? 1 : 0)} ms`;

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
      else if (name === "frame" || name === "tiles") createImageBitmap(new Blob([bytes(name)], { type: "image/jpeg" }))
        .then((bitmap) => {
        ctx[`${name}Picture`] = bitmap;
        ctx.changed();
      });
    }
  },

  /* ---- time */

  times(ctx) {
    const run = ctx.body.run, total = ctx.body.frames / run.fps, span = Math.min(ctx.get("window_s"), total);
    const idle = ctx.time === (ctx.firstTime ??= ctx.time);
    const at = run.state === "running" && idle ? run.done_s : ctx.time;
    if (ctx.from === undefined || at < ctx.from || at > ctx.from + span * 0.9 || ctx.spanBefore !== span)
      ctx.from = at - span * (run.state === "running" && idle ? 0.6 : 0.15);
    ctx.spanBefore = span;
    ctx.from = Math.min(Math.max(ctx.from, 0), total - span);
    const width = ctx.width - LIP_GUTTER;
    return { total, span, from: ctx.from, to: ctx.from + span, x: (time) => LIP_GUTTER +
      ((time - ctx.from) / span) * width, time: (x) => ctx.from + ((x - LIP_GUTTER) / width) * span,
      per_s: width / span };
  },

  soundAt(ctx, time) { return ctx.sounds.findIndex(([, from, to]) => from <= time && time < to); },

  laneAt(y) {
    let top = LIP_TOP;
    for (const [name, height] of LIP_LANES) { if (y >= top && y < top + height) return name; top += height + LIP_GAP; }
    return null;
  },

  pressed(ctx, event) {
    if (!ctx.body?.run || event.offsetX < LIP_GUTTER) return;
    const time = view.times(ctx).time(event.offsetX), sound = view.laneAt(event.offsetY) === "sounds"
      ? view.soundAt(ctx, time) : -1;
    ctx.lanes.setPointerCapture(event.pointerId);
    if (sound >= 0) {
      ctx.set("sound", sound);
      ctx.move((ctx.sounds[sound][1] + ctx.sounds[sound][2]) / 2);
      ctx.held = false;
      return;
    }
    ctx.held = true;
    ctx.move(Math.min(time, view.times(ctx).total - 1e-3));
  },

  moved(ctx, event) {
    if (!ctx.body?.run || event.offsetX < LIP_GUTTER) return;
    const times = view.times(ctx), time = Math.min(Math.max(times.time(event.offsetX), 0), times.total - 1e-3);
    const lane = view.laneAt(event.offsetY);
    ctx.mouse = { time, lane };
    ctx.lanes.title = view.tip(ctx, lane, time);
    ctx.lanes.style.cursor = lane === "sounds" && view.soundAt(ctx, time) >= 0 ? "pointer" : "crosshair";
    if (event.buttons && ctx.held) ctx.move(time);
    view.hover(ctx, time);
    ctx.changed();
  },

  /* What is under the mouse, in words. */
  tip(ctx, lane, time) {
    const sound = lane === "sounds" ? ctx.sounds[view.soundAt(ctx, time)] : null;
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

  /* ---- lanes */

  drawLanes(ctx, theme) {
    const height = LIP_TOP + LIP_LANES.reduce((sum, [, tall]) => sum + tall + LIP_GAP, 0);
    const pen = laCanvas(ctx.lanes, ctx.width, height), times = view.times(ctx);
    let top = LIP_TOP;
    view.drawTicks(pen, theme, times, ctx.width, height);
    for (const [name, tall] of LIP_LANES) {
      const hidden = name === "sounds" && !ctx.sounds.length;
      const words = { wave: "sound", mel: "mel", sounds: "sounds", mouth: "mouth", agreement: "agreement" }[name];
      pen.fillStyle = theme.soft;
      pen.font = `12px ${theme.font}`;
      pen.textAlign = "left";
      pen.textBaseline = "middle";
      pen.fillText(words, 0, top + tall / 2);
      if (name === "mouth") {
        pen.font = `10px ${theme.font}`;
        pen.fillText("wide open", 0, top + 10);
        pen.fillText("closed", 0, top + tall - 5);
      }
      pen.save();
      pen.beginPath();
      pen.rect(LIP_GUTTER, 0, ctx.width - LIP_GUTTER, height);
      pen.clip();
      if (hidden) view.reason(ctx, pen, top + tall / 2);
      else view[`${name}Lane`](ctx, pen, theme, times, top, tall);
      pen.restore();
      top += tall + LIP_GAP;
    }
    view.drawCursor(ctx, pen, theme, times, height - LIP_GAP);
  },

  /* Why the sounds are not known, in as many lines as it needs. */
  reason(ctx, pen, middle) {
    const lines = [""], room = ctx.width - LIP_GUTTER - 12;
    for (const word of (ctx.body.no_sounds || "not known").split(" ")) {
      const longer = `${lines.at(-1)} ${word}`.trim();
      if (pen.measureText(longer).width <= room) lines[lines.length - 1] = longer; else lines.push(word);
    }
    lines.forEach((line, i) => pen.fillText(line, LIP_GUTTER + 6, middle + (i - (lines.length - 1) / 2) * 14));
  },

  drawTicks(pen, theme, times, width, height) {
    const every = [0.1, 0.2, 0.5, 1, 2, 5, 10].find((step) => step * times.per_s > 62) ?? 20;
    pen.font = `11px ${theme.font}`;
    pen.textAlign = "center";
    pen.textBaseline = "alphabetic";
    for (let time = Math.ceil(times.from / every - 1e-6) * every; time <= times.to + 1e-6; time += every) {
      const x = times.x(time);
      pen.strokeStyle = theme.line;
      pen.lineWidth = 0.5;
      pen.beginPath();
      pen.moveTo(x, LIP_TOP - 4);
      pen.lineTo(x, height - LIP_GAP);
      pen.stroke();
      pen.fillStyle = theme.soft;
      pen.textAlign = x > width - 20 ? "right" : x < LIP_GUTTER + 12 ? "left" : "center";
      pen.fillText(`${Number(time.toFixed(2))} s`, x, 11);
    }
  },

  waveLane(ctx, pen, theme, times, top, tall) {
    const { peaks } = ctx, rate = ctx.body.peaks_hz, middle = top + tall / 2, half = tall / 2 - 1;
    if (!peaks) return;
    pen.fillStyle = theme.grey;
    pen.globalAlpha = 0.55;
    for (let x = LIP_GUTTER; x < ctx.width; x++) {
      const from = Math.max(Math.floor(times.time(x) * rate), 0);
      const to = Math.max(Math.floor(times.time(x + 1) * rate), from + 1);
      let [low, high] = [0, 0];
      for (let i = from; i < to && 2 * i + 1 < peaks.length; i++) {
        low = Math.min(low, peaks[2 * i]);
        high = Math.max(high, peaks[2 * i + 1]);
      }
      pen.fillRect(x, middle - (high / 127) * half, 1, Math.max(((high - low) / 127) * half, 0.8));
    }
    pen.globalAlpha = 1;
    view.curve(ctx, pen, times, 2, (value) => top + tall - 1 - value * (tall - 3), theme.ink, 1.3);
    view.nonspeech(ctx, pen, theme, times, top, tall);
  },

  /* Where something is heard but nobody speaks. */
  nonspeech(ctx, pen, theme, times, top, tall) {
    pen.font = `11px ${theme.font}`;
    pen.textAlign = "center";
    pen.textBaseline = "top";
    for (const [from, to] of ctx.body.nonspeech ?? []) {
      if (to < times.from || from > times.to) continue;
      const left = Math.max(times.x(from), LIP_GUTTER), right = Math.min(times.x(to), ctx.width), words = "not speech";
      pen.fillStyle = theme.purple;
      pen.globalAlpha = theme.dark ? 0.34 : 0.2;
      pen.fillRect(left, top, right - left, tall);
      pen.globalAlpha = 1;
      const wide = pen.measureText(words).width + 8, middle = (left + right) / 2;
      if (wide > right - left) continue;
      pen.fillStyle = theme.ground;
      pen.fillRect(middle - wide / 2, top + tall - 16, wide, 15);
      pen.fillStyle = theme.ink;
      pen.fillText(words, middle, top + tall - 14);
    }
  },

  melLane(ctx, pen, theme, times, top, tall) {
    if (!ctx.mel) return;
    const key = theme.dark, bands = 64, count = ctx.mel.length / bands;
    if (!ctx.melPicture || ctx.melDark !== key) {
      ctx.melDark = key;
      const data = new ImageData(count, bands), out = new Uint32Array(data.data.buffer);
      const [r0, g0, b0, r1, g1, b1, r2, g2, b2] = key ? [33, 33, 33, 24, 96, 140, 214, 240, 255]
        : [255, 255, 255, 86, 160, 205, 0, 52, 92];
      const table = Uint32Array.from({ length: 256 }, (_, value) => {
        const share = value / 255, t = share < 0.5 ? share * 2 : share * 2 - 1;
        const mix = (a, b, c) => Math.round(share < 0.5 ? a + (b - a) * t : b + (c - b) * t);
        return 0xff000000 | (mix(b0, b1, b2) << 16) | (mix(g0, g1, g2) << 8) | mix(r0, r1, r2);
      });
      for (let m = 0; m < count; m++)
        for (let b = 0; b < bands; b++) out[(bands - 1 - b) * count + m] = table[ctx.mel[m * bands + b]];
      ctx.melPicture = document.createElement("canvas");
      ctx.melPicture.width = count;
      ctx.melPicture.height = bands;
      ctx.melPicture.getContext("2d").putImageData(data, 0, 0);
    }
    const rate = ctx.body.mel_hz, from = times.from * rate - 0.5, to = times.to * rate - 0.5;
    pen.imageSmoothingEnabled = true;
    pen.drawImage(ctx.melPicture, from + 0.5, 0, to - from, bands, LIP_GUTTER, top, ctx.width - LIP_GUTTER, tall);
  },

  soundsLane(ctx, pen, theme, times, top, tall) {
    const box = tall - 12, chosen = ctx.get("sound");
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    ctx.sounds.forEach(([symbol, from, to, shape, kept], number) => {
      if (to < times.from || from > times.to || shape === -1) return;
      const x0 = times.x(from), wide = Math.max(times.x(to) - x0 - 1.5, 1), colour = lipShape(theme, shape);
      pen.fillStyle = colour;
      pen.globalAlpha = number === chosen ? 1 : theme.dark ? 0.5 : 0.36;
      pen.beginPath();
      pen.roundRect(x0, top, wide, box, 3);
      pen.fill();
      pen.globalAlpha = 1;
      if (number === chosen) { pen.strokeStyle = theme.ink; pen.lineWidth = 1.6; pen.stroke(); }
      pen.font = `${wide > 15 ? 12 : 10}px ${theme.font}`;
      pen.fillStyle = number === chosen && shape !== 2 && shape !== 3 ? "#fff" : number === chosen ? "#111" : theme.ink;
      if (pen.measureText(symbol).width <= wide + 3) pen.fillText(symbol, x0 + wide / 2, top + box / 2 + 0.5);
      if (kept !== null && kept !== undefined) view.mark(pen, theme, kept, x0 + wide / 2, top + box + 7);
    });
  },

  /* Did the mouth do what the sound asks for? */
  mark(pen, theme, kept, x, y) {
    pen.strokeStyle = kept ? theme.soft : theme.vermilion;
    pen.lineWidth = kept ? 1.6 : 2.2;
    pen.lineCap = "round";
    pen.beginPath();
    if (kept) { pen.moveTo(x - 3.5, y); pen.lineTo(x - 1, y + 2.5); pen.lineTo(x + 4, y - 3); }
    else { pen.moveTo(x - 3, y - 3); pen.lineTo(x + 3, y + 3); pen.moveTo(x + 3, y - 3); pen.lineTo(x - 3, y + 3); }
    pen.stroke();
    pen.lineCap = "butt";
  },

  /* One column of the curves (opening, expected, loudness, agreement), in the middle of each frame. */
  curve(ctx, pen, times, column, y, colour, width, dash = []) {
    const { curves } = ctx, fps = ctx.body.run.fps;
    if (!curves) return;
    pen.strokeStyle = colour;
    pen.lineWidth = width;
    pen.lineJoin = "round";
    pen.setLineDash(dash);
    pen.beginPath();
    let drawing = false;
    for (let f = Math.max(Math.floor(times.from * fps) - 1, 0), last = Math.min(Math.ceil(times.to * fps) + 1,
      curves.length / 4 - 1); f <= last; f++) {
      const value = curves[4 * f + column];
      if (Number.isNaN(value)) { drawing = false; continue; }
      const x = times.x((f + 0.5) / fps);
      if (drawing) pen.lineTo(x, y(value)); else pen.moveTo(x, y(value));
      drawing = true;
    }
    pen.stroke();
    pen.setLineDash([]);
  },

  mouthLane(ctx, pen, theme, times, top, tall) {
    const run = ctx.body.run, base = top + tall - 1, y = (value) => base - Math.min(Math.max(value, -0.05),
      1.1) * (tall - 10);
    for (const level of [0, 1]) {
      pen.strokeStyle = theme.line;
      pen.lineWidth = level ? 0.5 : 1;
      pen.beginPath();
      pen.moveTo(LIP_GUTTER, y(level));
      pen.lineTo(ctx.width, y(level));
      pen.stroke();
    }
    const done = times.x(Math.min(run.done_s, times.total));
    if (done < ctx.width) {
      pen.fillStyle = theme.faint;
      pen.globalAlpha = 0.6;
      pen.fillRect(Math.max(done, LIP_GUTTER), top, ctx.width - done, tall);
      pen.globalAlpha = 1;
    }
    view.curve(ctx, pen, times, 1, y, theme.orange, 1.8);
    view.curve(ctx, pen, times, 0, y, theme.dark ? theme.sky : theme.blue, 2.4);
    if (done < ctx.width - 130) {
      pen.fillStyle = theme.soft;
      pen.font = `11px ${theme.font}`;
      pen.textAlign = "left";
      pen.textBaseline = "top";
      pen.fillText("not made yet", Math.max(done, LIP_GUTTER) + 8, top + 4);
    }
  },

  agreementLane(ctx, pen, theme, times, top, tall) {
    const { curves } = ctx, fps = ctx.body.run.fps, base = top + tall;
    if (!curves) return;
    for (let f = Math.max(Math.floor(times.from * fps), 0), last = Math.min(Math.ceil(times.to * fps),
      curves.length / 4 - 1); f <= last; f++) {
      const value = curves[4 * f + 3];
      if (Number.isNaN(value)) continue;
      const x = times.x(f / fps), wide = Math.max(times.per_s / fps - 0.7, 0.8), off = 1 - value;
      pen.fillStyle = off > 0.3 ? theme.vermilion : off > 0.15 ? theme.orange : theme.dark ? theme.sky : theme.blue;
      pen.globalAlpha = off > 0.15 ? 1 : 0.5;
      pen.fillRect(x, base - Math.max(value * tall, 1), wide, Math.max(value * tall, 1));
    }
    pen.globalAlpha = 1;
  },

  drawCursor(ctx, pen, theme, times, height) {
    for (const [time, strong] of [[ctx.mouse?.time, false], [ctx.time, true]]) {
      if (time === undefined || time < times.from || time > times.to) continue;
      const x = times.x(time);
      pen.strokeStyle = pen.fillStyle = strong ? theme.ink : theme.soft;
      pen.lineWidth = 1;
      pen.setLineDash(strong ? [] : [3, 3]);
      pen.beginPath();
      pen.moveTo(x, LIP_TOP - 2);
      pen.lineTo(x, height);
      pen.stroke();
      pen.setLineDash([]);
      if (!strong) continue;
      pen.beginPath();
      pen.moveTo(x - 5, LIP_TOP - 7);
      pen.lineTo(x + 5, LIP_TOP - 7);
      pen.lineTo(x, LIP_TOP);
      pen.fill();
    }
  },

  /* ---- the frame, and its mouth */

  drawFace(ctx, theme) {
    const side = ctx.narrow ? 118 : 158, gap = 10, pen = laCanvas(ctx.face, 2 * side + gap, side);
    const frame = ctx.body.frame, picture = ctx.framePicture;
    pen.fillStyle = theme.faint;
    for (const x of [0, side + gap]) { pen.beginPath(); pen.roundRect(x, 0, side, side, 6); pen.fill(); }
    if (!frame || !picture) {
      ctx.faceWords.textContent = "not made yet";
      return;
    }
    const short = Math.min(frame.width, frame.height), left = (frame.width - short) / 2;
    const top = (frame.height - short) / 2;
    const crop = frame.crop * short, place = frame.place ?? [0, 0.3];
    const cx = Math.min(Math.max(left + ((1 + place[0]) / 2) * short - crop / 2, 0), frame.width - crop);
    const cy = Math.min(Math.max(top + ((1 + place[1]) / 2) * short - crop / 2, 0), frame.height - crop);
    pen.imageSmoothingQuality = "high";
    [[left, top, short, 0], [cx, cy, crop, side + gap]].forEach(([x, y, size, at]) => {
      pen.save();
      pen.beginPath();
      pen.roundRect(at, 0, side, side, 6);
      pen.clip();
      pen.drawImage(picture, x, y, size, size, at, 0, side, side);
      pen.restore();
    });
    const k = side / short;
    pen.strokeStyle = "rgba(255,255,255,0.75)";
    pen.lineWidth = 1;
    pen.strokeRect((cx - left) * k, (cy - top) * k, crop * k, crop * k);
    const fps = ctx.body.run.fps, value = (column) => ctx.curves?.[4 * frame.index + column];
    const sound = view.soundAt(ctx, (frame.index + 0.5) / fps);
    const number = (v) => (v === undefined || Number.isNaN(v) ? "–" : v.toFixed(2));
    ctx.faceWords.replaceChildren(
      laElement("span", {},
        `frame ${frame.index} · ${laSeconds(frame.index / fps)}`,
        sound >= 0 && ctx.sounds[sound][3] !== -1 ? ` · ${ctx.sounds[sound][0]}` : ""),
      laTerm("open_of", "open ", laElement("b", {}, number(value(0))), " of ", laElement("b", {}, number(value(1)))));
  },

  /* ---- agreement against delay */

  drawDelay(ctx, theme) {
    const width = ctx.narrow ? 300 : 326, height = 168, left = 30, right = width - 8, top = 10, bottom = height - 34;
    const pen = laCanvas(ctx.delay, width, height);
    const curve = ctx.body.curve, lags = curve?.lags_ms ?? [-400, 400];
    const x = (ms) => left + ((ms - lags[0]) / (lags.at(-1) - lags[0])) * (right - left);
    const least = Math.min(-0.25, Math.floor(4 * Math.min(...(curve?.correlation ?? []))) / 4 || 0);
    const y = (value) => bottom - Math.min(Math.max((value - least) / (1 - least), 0), 1) * (bottom - top);
    for (const [band, alpha] of [[ctx.body.acceptable, theme.dark ? 0.16 : 0.13], [ctx.body.detectable, theme.dark
      ? 0.3 : 0.24]]) {
      pen.fillStyle = theme.green;
      pen.globalAlpha = alpha;
      pen.fillRect(x(band[0]), top, x(band[1]) - x(band[0]), bottom - top);
    }
    pen.globalAlpha = 1;
    pen.font = `10px ${theme.font}`;
    pen.textBaseline = "middle";
    for (const level of [-0.5, 0, 0.5, 1].filter((one) => one > least)) {
      pen.strokeStyle = theme.line;
      pen.lineWidth = level ? 0.5 : 1;
      pen.beginPath();
      pen.moveTo(left, y(level));
      pen.lineTo(right, y(level));
      pen.stroke();
      pen.fillStyle = theme.soft;
      pen.textAlign = "right";
      pen.fillText(level, left - 5, y(level));
    }
    pen.textBaseline = "alphabetic";
    for (const ms of [-400, -200, 0, 200, 400]) {
      pen.fillStyle = theme.soft;
      pen.textAlign = ms === -400 ? "left" : ms === 400 ? "right" : "center";
      pen.fillText(ms === 0 ? "0 ms" : ms, x(ms), bottom + 13);
    }
    pen.textAlign = "left";
    pen.fillText("← lips early", left, height - 6);
    pen.textAlign = "right";
    pen.fillText("lips late, sound early →", right, height - 6);
    const words = "ITU-R BT.1359", free = [left + pen.measureText("← lips early").width,
      right - pen.measureText("lips late, sound early →").width];
    const from = (free[0] + free[1] - pen.measureText(words).width - 12) / 2;       // below, where no curve comes
    pen.textAlign = "left";
    pen.fillText(words, from + 12, height - 6);
    pen.fillStyle = theme.green;
    pen.globalAlpha = 0.55;
    pen.fillRect(from, height - 14, 9, 9);
    pen.globalAlpha = 1;
    if (!curve?.correlation.length) return;
    pen.strokeStyle = theme.ink;
    pen.lineWidth = 1.8;
    pen.lineJoin = "round";
    pen.beginPath();
    curve.correlation.forEach((value, i) => pen.lineTo(x(lags[i]), y(value)));
    pen.stroke();
    const at = x(curve.best_ms);
    pen.strokeStyle = pen.fillStyle = theme.vermilion;
    pen.lineWidth = 1.4;
    pen.beginPath();
    pen.moveTo(at, bottom);
    pen.lineTo(at, y(curve.peak));
    pen.stroke();
    pen.beginPath();
    pen.arc(at, y(curve.peak), 4, 0, 7);
    pen.fill();
  },

  drawBig(ctx, theme) {
    const { curve, verdict } = ctx.body;
    if (!curve || curve.best_ms === null) {
      ctx.big.replaceChildren(laElement("span", { class: "la-note" }, curve?.reason ? `Delay: ${curve.reason}.`
        : "measuring …"));
      return;
    }
    const words = Math.abs(curve.best_ms) < 0.5 ? "on time" : curve.best_ms > 0 ? "lips late" : "lips early";
    ctx.big.replaceChildren(laElement("b", {}, laTerm("lip_delay", lipMs(curve.best_ms))),
      laElement("span", {},
        laElement("span", {}, `${words} · `, laTerm("lip_correlation", `correlation ${curve.peak.toFixed(2)}`)),
        laElement("span", { class: "la-note" }, laTerm("itu_band", verdict))));
  },

  drawChecks(ctx) {
    const checks = ctx.body.checks ?? [], share = (value) => (value === null || Number.isNaN(value) ? "–"
      : `${Math.round(100 * value)} %`);
    ctx.checks.hidden = !checks.length;
    const heads = ["", laTerm("seen_share", "seen"), "of", laTerm("at_best", "at best")];
    ctx.checks.replaceChildren(laElement("tr", {}, ...heads.map((words) => laElement("th", {}, words))),
      ...checks.map(([name, count, seen, best]) => laElement("tr", {}, laElement("th", {}, name),
        laElement("td", {}, laElement("b", {}, share(seen))), laElement("td", {}, count),
        laElement("td", {}, share(best)))));
  },

  /* ---- one sound at every step */

  drawTiles(ctx, theme) {
    const tiles = ctx.body.tiles, words = ctx.tileWords;
    ctx.tiles.hidden = !tiles || tiles.waiting || !ctx.tilesPicture;
    if (!tiles) {
      words.textContent = ctx.sounds.length ? "Click a sound to see its frames at every sampler step." : "";
      return;
    }
    const dot = laElement("i", { style: `background:${lipShape(theme, tiles.shape)}` });
    const shape = tiles.shape >= 0 ? ctx.body.shapes[tiles.shape] : tiles.shape === -1 ? "silence"
      : "no shape of its own";
    words.replaceChildren(dot, laElement("b", {}, tiles.symbol),
      ` ${shape} · ${tiles.start_s.toFixed(2)} to ${laSeconds(tiles.end_s)} · `,
      tiles.waiting ? (tiles.made ? "decoding its frames at every step …" : "not made yet")
        : `its frames at every step, ${tiles.how}`);
    if (ctx.tiles.hidden) return;
    const room = Math.max(ctx.main.clientWidth - 360, 300);
    const side = (across) => Math.min(96, Math.floor(((room + 18) / across - 18) / tiles.count) - 4);
    const across = [tiles.steps, Math.ceil(tiles.steps / 2)].find((count) => side(count) >= 56) ?? 1;
    const tile = side(across), pitch = tile + 4, group = tiles.count * pitch + 18, tall = tile + 42;
    const pen = laCanvas(ctx.tiles, across * group, Math.ceil(tiles.steps / across) * tall);
    const now = Math.floor(ctx.time * ctx.body.run.fps + 1e-6) - tiles.first;
    pen.imageSmoothingQuality = "high";
    pen.textBaseline = "alphabetic";
    for (let step = 0; step < tiles.steps; step++) {
      const left = (step % across) * group, top = Math.floor(step / across) * tall;
      pen.fillStyle = theme.steps[step % 8];
      pen.fillRect(left, top, tiles.count * pitch - 4, 3);
      pen.fillStyle = theme.ink;
      pen.font = `600 12px ${theme.font}`;
      pen.textAlign = "left";
      pen.fillText(`step ${step}`, left, top + 17);
      for (let i = 0; i < tiles.count; i++) {
        const x = left + i * pitch, y = top + 23;
        pen.save();
        pen.beginPath();
        pen.roundRect(x, y, tile, tile, 4);
        pen.clip();
        pen.drawImage(ctx.tilesPicture, i * tiles.width, step * tiles.height, tiles.width, tiles.height, x, y, tile,
          tile);
        pen.restore();
        pen.font = `11px ${theme.font}`;
        pen.textAlign = "center";
        pen.fillStyle = i === now ? theme.ink : theme.soft;
        if (step < across) pen.fillText(i === 0 && tile > 60 ? `frame ${tiles.first}` : tiles.first + i, x + tile / 2,
          y + tile + 13);
      }
    }
  },

  drawKey(ctx, theme) {
    const { run } = ctx.body, sounds = ctx.body.against === "sounds";
    const how = ctx.body.exact ? ", read off the video" : run.state === "running" ? " (quick look)" : " (being read)";
    const swatch = (colour, words, thin) => laElement("span", {},
      laElement("i", { class: thin ? "la-thin" : "", style: `background:${colour}` }), words);
    ctx.key.replaceChildren(
      swatch(theme.dark ? theme.sky : theme.blue,
        `opening of the mouth${how}`, true),
      swatch(theme.orange, sounds ? "the mouth that says these sounds" : "loudness, stretched to it", true),
        swatch("var(--la-ink)", "loudness", true),
      ...(ctx.sounds.length ? ctx.body.shapes.map((shape, i) => swatch(lipShape(theme, i), shape)) : []));
  },

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
    view.drawLanes(ctx, theme);
    view.drawKey(ctx, theme);
    view.drawFace(ctx, theme);
    view.drawBig(ctx, theme);
    view.drawDelay(ctx, theme);
    view.drawTiles(ctx, theme);
    view.drawChecks(ctx);
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
