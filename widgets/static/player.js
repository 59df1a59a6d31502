/* Pictures and sound by one clock: that of the sound where it may be heard, else the computer's. Blocks arrive as
   JPEGs with their frames side by side and are unpacked shortly before they are shown. */

const PLAYER_UNPACKED = 48;             // blocks of each run that are kept unpacked
const PLAYER_KERNEL_S = 0.5;            // between two words to the kernel about where the cursor is
const PLAYER_SPEEDS = [[0.25, "¼ speed"], [0.5, "½ speed"], [1, "real time"]];
const PLAYER_LINE = 46;                 // px, height of the time line

/* One a view, however often it is shown: nobody wants to hear two. */
class PlayerEngine {
  constructor(ctx) {
    Object.assign(this, { ctx, films: { a: new Map(), b: new Map() }, last: {}, waves: {}, peaks: null, going: false, waiting: false,
      stalls: 0, position: 0, put: -1, told: 0, node: null, heard: 0 });
  }

  get body() { return this.ctx.store.body ?? {}; }
  get total() { return this.body.total_s ?? 0; }
  get ready() { return Math.min(this.body.ready_s ?? 0, this.total); }
  get complete() { return Object.values(this.body.others ?? {}).every((run) => run.over || run.ready_s >= run.total_s - 0.01); }
  get end() { return this.complete ? this.ready : this.total; }
  get speed() { return this.ctx.get("speed"); }

  /* ---- what arrives */

  take(name, bytes) {
    const [kind, second, ...numbers] = name.split("/");
    if (kind === "wave") { this.waves[second] = { pcm: new Int16Array(bytes.slice().buffer), buffer: null }; this.peaks = null; return; }
    const [count, width, height] = numbers.map(Number);
    this.films[kind].set(Number(second), { bytes, count, width, height, bitmap: null, opening: false });
  }

  forget() { this.films = { a: new Map(), b: new Map() }; this.last = {}; this.waves = {}; this.peaks = null; }

  /* ---- pictures */

  /* -> {bitmap, x, width, height} of a run at a time; while it is being unpacked the one before, so that nothing flickers. */
  frame(name, time) {
    const facts = this.body.others?.[name], film = this.films[name];
    if (!facts) return null;
    const last = Math.max(Math.round((facts.ready_s || 0) * facts.fps) - 1, 0);
    const frame = Math.min(Math.max(Math.floor(time * facts.fps + 1e-4), 0), last), block = Math.floor(frame / facts.block_frames);
    for (const ahead of [block, block + 1]) this.open(film, ahead);
    const pack = film.get(block);
    if (!pack?.bitmap) return this.last[name] ?? null;
    return this.last[name] = { bitmap: pack.bitmap, x: Math.min(frame - block * facts.block_frames, pack.count - 1) * pack.width, width: pack.width, height: pack.height };
  }

  open(film, block) {
    const pack = film.get(block);
    if (!pack || pack.opening) return;
    pack.opening = true;
    createImageBitmap(new Blob([pack.bytes], { type: "image/jpeg" })).then((bitmap) => {
      pack.bitmap = bitmap;
      const open = [...film.entries()].filter(([, other]) => other.bitmap);
      if (open.length > PLAYER_UNPACKED) {
        const [, far] = open.sort(([a], [b]) => Math.abs(b - block) - Math.abs(a - block))[0];
        for (const name of ["a", "b"]) if (this.last[name]?.bitmap === far.bitmap) this.last[name] = null;
        far.bitmap.close();
        far.bitmap = null;
        far.opening = false;
      }
      this.ctx.store.places.forEach((place) => place.changed());
    });
  }

  /* ---- sound */

  /* The sound context, made at the first play: browsers want a click before. */
  device() {
    if (!this.audio && window.AudioContext) {
      this.audio = new AudioContext();
      this.volume = this.audio.createGain();
      this.meter = this.audio.createAnalyser();
      this.meter.fftSize = 1024;
      this.volume.connect(this.meter).connect(this.audio.destination);
    }
    if (this.audio?.state === "suspended") this.audio.resume().then(() => { if (this.going) this.go(); }, () => {});
    return this.audio;
  }

  get sounding() { return this.audio?.state === "running"; }

  wave() {
    const choice = this.ctx.get("sound");
    const name = choice === "b" && this.waves.b ? "b" : "a", wave = this.waves[name];
    if (choice === "off" || !wave || !this.audio) return null;
    if (!wave.buffer) {
      wave.buffer = this.audio.createBuffer(1, Math.max(wave.pcm.length, 1), this.body.rates[name]);
      wave.buffer.getChannelData(0).set(Float32Array.from(wave.pcm, (value) => value / 32768));
    }
    return wave.buffer;
  }

  silence() {
    if (!this.node) return;
    const node = this.node, now = this.audio.currentTime;
    this.node = null;
    node.hush.gain.setTargetAtTime(0, now, 0.006);          // no click
    node.stop(now + 0.04);
  }

  startSound(at) {
    this.silence();
    const buffer = this.wave();
    if (!buffer || !this.sounding || at >= buffer.duration) return;
    const node = this.audio.createBufferSource();
    node.buffer = buffer;
    node.playbackRate.value = this.speed;
    node.hush = this.audio.createGain();
    node.connect(node.hush).connect(this.volume);
    node.start(this.base, at);
    this.node = node;
  }

  /* ---- the clock */

  now() { return this.sounding ? this.audio.currentTime : performance.now() / 1000; }

  /* Begin to count from where we stand. */
  go() {
    this.byAudio = this.sounding;
    this.base = this.now() + (this.byAudio ? 0.03 : 0);
    this.from = this.position;
    this.going = true;
    this.waiting = false;
    this.startSound(this.from);
    this.schedule();
  }

  play() {
    if (this.end > 0 && this.position >= this.end - 0.02) this.position = 0;
    this.stalls = 0;
    this.device();
    this.go();
    if (!this.ctx.get("playing")) this.ctx.set("playing", true);
  }

  hold() {
    this.going = this.waiting = false;
    this.silence();
    if (this.ctx.get("playing")) this.ctx.set("playing", false);
    this.show(this.position, true);
  }

  toggle() { if (this.going) this.hold(); else this.play(); }

  seek(time) {
    this.position = Math.min(Math.max(time, 0), Math.max(this.total - 0.001, 0));
    if (this.going && !this.waiting) this.go();
    this.show(this.position, !this.going);
  }

  schedule() {
    if (this.due) return;
    const soon = document.hidden ? (f) => setTimeout(f, 100) : requestAnimationFrame;
    this.due = true;
    soon(() => { this.due = false; if (this.going) { this.tick(); this.schedule(); } });
  }

  tick() {
    if (!this.ctx.store.places.size) { this.going = false; this.silence(); return; }
    if (this.waiting) {
      const enough = Math.min((this.body.run?.block_s ?? 0.5) * Math.min(2 ** this.stalls, 4), this.end - this.position);
      if (this.ready - this.position >= enough - 1e-3 && this.ready > 0) this.go();
      else if (this.complete && this.position >= this.ready - 0.02) this.finish();
      return;
    }
    if (this.byAudio !== this.sounding) { this.go(); return; }
    const late = this.byAudio ? (this.audio.outputLatency || this.audio.baseLatency || 0) : 0;
    const heard = this.from + Math.max(this.now() - this.base, 0) * this.speed;
    if (heard >= this.ready) {
      this.position = this.ready;
      if (this.complete) { this.finish(); return; }
      this.waiting = true;                                  // slower than real time: sound and picture wait together
      this.stalls += this.ready > 0 ? 1 : 0;
      this.silence();
      this.show(this.position);
      return;
    }
    this.position = heard;
    this.listen();
    this.show(Math.max(heard - late * this.speed, this.from));
  }

  finish() {
    if (this.ctx.get("loop")) { this.position = 0; this.go(); return; }
    this.position = Math.max(this.end - 0.001, 0);
    this.hold();
  }

  listen() {
    const values = new Uint8Array(this.meter?.fftSize ?? 0);
    this.meter?.getByteTimeDomainData(values);
    for (const value of values) this.heard = Math.max(this.heard, Math.abs(value - 128));
  }

  /* Move the cursor of all views; the kernel is told now and then, and at the end. */
  show(time, tell = false) {
    const facts = this.body.others?.a, frame = Math.floor(time * (facts?.fps ?? 25) + 1e-4);
    const now = performance.now() / 1000, clock = this.ctx.clock, rate = this.complete ? 0.035 : 0.09;
    this.shown = time;
    if (tell || now - this.told > PLAYER_KERNEL_S) {
      this.told = now;
      this.put = time;
      this.ctx.move(time);
    } else if (frame !== this.frameShown && now - (this.glided ?? 0) > rate) {
      this.glided = now;
      this.put = clock.time = time;
      for (const listener of clock.listeners) listener();
    } else if (frame !== this.frameShown) this.ctx.store.places.forEach((place) => place.changed());
    this.frameShown = frame;
  }

  /* Somebody else has moved the cursor. */
  follow() {
    const time = this.ctx.clock.time;
    if (Math.abs(time - this.put) < 1e-9) return;
    this.put = time;
    if (Math.abs(time - this.shown) < 1e-6) return;
    this.shown = this.position = Math.min(time, Math.max(this.total - 0.001, 0));
    if (this.going && !this.waiting) this.go();
  }
}

const view = {
  name: "la-player",

  build(ctx) {
    ctx.engine = ctx.store.engine ??= new PlayerEngine(ctx);
    ctx.transport();
    ctx.space();
    ctx.copyButton();

    ctx.stage = laElement("canvas", { role: "img", "aria-label": "the video", class: "la-stage" });
    ctx.stage.addEventListener("pointerdown", (event) => { ctx.pressed = event.offsetX; ctx.dragged = false; ctx.stage.setPointerCapture(event.pointerId); });
    ctx.stage.addEventListener("pointermove", (event) => view.wiped(ctx, event));
    ctx.stage.addEventListener("pointerup", () => { if (!ctx.dragged && ctx.pressed !== null) view.toggle(ctx); ctx.pressed = null; });

    ctx.button_ = laElement("button", { type: "button", class: "la-button la-play", onclick: () => view.toggle(ctx) });
    ctx.line = laElement("canvas", { role: "slider", "aria-label": "time", class: "la-line", title: "Click or drag to move the time cursor" });
    const drag = (event) => { if (event.buttons) view.sought(ctx, event); };
    ctx.line.addEventListener("pointerdown", (event) => { ctx.line.setPointerCapture(event.pointerId); drag(event); });
    ctx.line.addEventListener("pointermove", drag);
    ctx.words = laElement("span", { class: "la-player-words" });
    const lower = laElement("div", { class: "la-player-lower" }, ctx.button_, laElement("div", { class: "la-player-line" }, ctx.line), ctx.words);

    const bar = ctx.bar;
    ctx.bar = laElement("div", { class: "la-bar la-player-bar" });
    ctx.showField = ctx.select("show", "Compare", "How the two are shown", [["side", "side by side"], ["wipe", "wipe"], ["blink", "blink"], ["difference", "difference"], ["one", "A alone"]]);
    ctx.gainField = ctx.slider("gain", "brighter", "How many times the difference is made brighter", { min: 1, max: 16, step: 1, words: (value) => `${value}×` });
    ctx.blinkField = ctx.slider("blink_s", "every", "Seconds for which each of the two is seen", { min: 0.1, max: 2, step: 0.1, words: (value) => `${value.toFixed(1)} s` });
    ctx.soundField = view.soundChoice(ctx);
    ctx.select("speed", "", "How fast it is played; the pitch of the sound follows", PLAYER_SPEEDS);
    ctx.check("loop", "again and again", "Begin again at the end");
    ctx.tools = ctx.bar;
    ctx.bar = bar;

    ctx.main.append(laElement("div", { class: "la-stage-box" }, ctx.stage), lower, ctx.tools);
    ctx.on("change:playing", () => { if (ctx.get("playing") !== ctx.engine.going) ctx.engine.toggle(); });
    for (const trait of ["sound", "speed"]) ctx.on(`change:${trait}`, () => { const { engine } = ctx; if (engine.going && !engine.waiting) engine.go(); });
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
    if (full && ctx.store.due !== null && ctx.store.due !== engine.fullOf) { engine.forget(); engine.fullOf = ctx.store.due; }
    for (const name of names) {
      engine.take(name, ctx.store.buffers.get(name));
      ctx.store.buffers.delete(name);                     // the engine keeps it now
    }
  },

  toggle(ctx) {
    const run = ctx.body?.run;
    if (!ctx.engine.going && run && ["ready"].includes(run.state) && !ctx.engine.ready && ctx.get("controls")) ctx.send("steer", { what: "toggle" });
    ctx.engine.toggle();
    ctx.changed();
  },

  sought(ctx, event) {
    const share = Math.min(Math.max(event.offsetX / ctx.line.clientWidth, 0), 1);
    ctx.engine.seek(share * ctx.engine.total);
  },

  wiped(ctx, event) {
    if (ctx.pressed === null || ctx.pressed === undefined || !event.buttons) return;
    if (Math.abs(event.offsetX - ctx.pressed) > 4) ctx.dragged = true;
    if (ctx.dragged && ctx.comparing === "wipe" && ctx.box) ctx.set("split", Math.min(Math.max((event.offsetX - ctx.box.x) / ctx.box.w, 0), 1));
  },

  /* ---- the picture */

  place(ctx, width, height, count) {
    const facts = ctx.engine.frame("a", ctx.engine.shown ?? 0), aspect = facts ? facts.width / facts.height : (ctx.aspect ?? 1), gap = 14;
    ctx.aspect = aspect;
    const h = Math.min(height, (width - gap * (count - 1)) / count / aspect), w = h * aspect;
    const left = (width - count * w - gap * (count - 1)) / 2;
    return Array.from({ length: count }, (_, i) => ({ x: left + i * (w + gap), y: 0, w, h }));
  },

  put(pen, frame, box) {
    if (!frame) return;
    pen.imageSmoothingEnabled = true;
    pen.imageSmoothingQuality = "high";
    pen.drawImage(frame.bitmap, frame.x, 0, frame.width, frame.height, box.x, box.y, box.w, box.h);
  },

  round(pen, box, draw) {
    pen.save();
    pen.beginPath();
    pen.roundRect(box.x, box.y, box.w, box.h, 8);
    pen.clip();
    draw();
    pen.restore();
  },

  chip(pen, theme, words, x, y, align = "left", strong = false) {
    pen.font = `${strong ? "600 " : ""}12px ${theme.font}`;
    const wide = pen.measureText(words).width + 16, left = align === "left" ? x : align === "right" ? x - wide : x - wide / 2;
    pen.fillStyle = "rgba(12,16,22,0.68)";
    pen.beginPath();
    pen.roundRect(left, y, wide, 22, 11);
    pen.fill();
    pen.fillStyle = "#fff";
    pen.textAlign = "left";
    pen.textBaseline = "middle";
    pen.fillText(words, left + 8, y + 11.5);
  },

  drawStage(ctx, theme) {
    const { engine, body } = ctx, other = !!body.others.b, show = other ? ctx.get("show") : "one", time = engine.shown ?? 0;
    const width = Math.max(ctx.main.clientWidth, 200), count = show === "side" ? 2 : 1;
    const boxes = view.place(ctx, width, ctx.get("height_px"), count), [box] = boxes, pen = laCanvas(ctx.stage, width, Math.round(box.h));
    const a = engine.frame("a", time), b = other ? engine.frame("b", time) : null, chips = [];
    ctx.comparing = show;
    ctx.box = box;
    for (const one of boxes) { pen.fillStyle = theme.faint; pen.beginPath(); pen.roundRect(one.x, one.y, one.w, one.h, 8); pen.fill(); }
    if (show === "side") boxes.forEach((one, i) => { view.round(pen, one, () => view.put(pen, i ? b : a, one)); chips.push([i ? "b" : "a", one.x + 8]); });
    else if (show === "wipe") {
      const at = box.x + box.w * ctx.get("split");
      view.round(pen, box, () => {
        view.put(pen, a, box);
        pen.save();
        pen.beginPath();
        pen.rect(at, box.y, box.x + box.w - at, box.h);
        pen.clip();
        view.put(pen, b, box);
        pen.restore();
        pen.fillStyle = "#fff";
        pen.fillRect(at - 1, box.y, 2, box.h);
        pen.beginPath();
        pen.arc(at, box.h - 40, 11, 0, 7);
        pen.fill();
        pen.fillStyle = "#222";
        for (const side of [-1, 1]) { pen.beginPath(); pen.moveTo(at + side * 7, box.h - 40); pen.lineTo(at + side * 2.5, box.h - 44); pen.lineTo(at + side * 2.5, box.h - 36); pen.fill(); }
      });
      chips.push(["a", box.x + 8], ["b", box.x + box.w - 8, "right"]);
    } else if (show === "blink") {
      const second = Math.floor(performance.now() / 1000 / ctx.get("blink_s")) % 2 === 1;
      view.round(pen, box, () => view.put(pen, second ? b : a, box));
      chips.push([second ? "b" : "a", second ? box.x + box.w - 8 : box.x + 8, second ? "right" : "left"]);
    } else if (show === "difference") view.drawDifference(ctx, pen, theme, a, b, box);
    else {
      view.round(pen, box, () => view.put(pen, a, box));
      if (other) chips.push(["a", box.x + 8]);
    }
    for (const [name, x, align] of chips) view.chip(pen, theme, body.names[name], x, 8, align, true);
    view.drawState(ctx, pen, theme, boxes, !!a);
  },

  drawState(ctx, pen, theme, boxes, seen) {
    const { engine, body } = ctx, run = body.run, middle = (boxes[0].x + boxes.at(-1).x + boxes.at(-1).w) / 2, low = boxes[0].h - 34;
    let words = "";
    if (engine.waiting && engine.ready <= 0) words = "the first picture is being made …";
    else if (engine.waiting) words = `waiting for block ${Math.round(engine.ready / run.block_s)} …`;
    else if (!engine.ready) words = run.state === "ready" ? "" : "nothing decoded yet";
    else if (engine.shown > engine.ready + 0.02) words = `not made yet: there are ${laSeconds(engine.ready)}`;
    if (words) view.chip(pen, theme, words, middle, low, "center");
    if (seen || run.state !== "ready") return;
    pen.fillStyle = theme.soft;                                       // an empty stage
    pen.beginPath();
    const y = boxes[0].h / 2 - 10;
    pen.moveTo(middle - 16, y - 24);
    pen.lineTo(middle + 26, y);
    pen.lineTo(middle - 16, y + 24);
    pen.fill();
    pen.font = `13px ${theme.font}`;
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.fillText(ctx.get("controls") ? "press Start, or space" : "not started yet", middle, y + 50);
  },

  /* |A - B|, made brighter; and how much it is. */
  drawDifference(ctx, pen, theme, a, b, box) {
    if (!a || !b) return;
    const { width, height } = a;
    ctx.scratch ??= document.createElement("canvas");
    ctx.scratch.width = width;
    ctx.scratch.height = height;
    const small = ctx.scratch.getContext("2d", { willReadFrequently: true });
    const read = (frame) => { small.drawImage(frame.bitmap, frame.x, 0, frame.width, frame.height, 0, 0, width, height); return small.getImageData(0, 0, width, height); };
    const first = read(a), second = read(b), gain = ctx.get("gain");
    let sum = 0;
    for (let i = 0; i < first.data.length; i++) {
      if (i % 4 === 3) continue;
      const off = Math.abs(first.data[i] - second.data[i]);
      sum += off;
      first.data[i] = Math.min(off * gain, 255);
    }
    small.putImageData(first, 0, 0);
    view.round(pen, box, () => view.put(pen, { bitmap: ctx.scratch, x: 0, width, height }, box));
    view.chip(pen, theme, `|A − B|, ${gain}× brighter: ${(sum / (width * height * 3) / 2.55).toFixed(2)} % on average`, box.x + 8, 8, "left", true);
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
        for (let i = Math.floor(c * step), end = Math.min(Math.floor((c + 1) * step), pcm.length); i < end; i += 4) values[c] = Math.max(values[c], Math.abs(pcm[i]));
        most = Math.max(most, values[c]);
      }
      engine.peaks = { key, values: values.map((value) => value / most) };
    }
    return engine.peaks.values;
  },

  drawLine(ctx, theme) {
    const { engine } = ctx, width = Math.max(ctx.line.parentElement.clientWidth, 80), total = engine.total || 1, shown = engine.shown ?? 0;
    const pen = laCanvas(ctx.line, width, PLAYER_LINE), middle = PLAYER_LINE / 2, tall = PLAYER_LINE / 2 - 5, bar = 3, columns = Math.floor(width / bar);
    const peaks = view.findPeaks(engine, columns), ready = (engine.ready / total) * width, at = Math.min(shown / total, 1) * width;
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
    engine.shown ??= 0;
    const state = run.state;
    if (ctx.get("autoplay") && state === "running" && !engine.going && !engine.began && (engine.stateBefore === "ready" || run.done_s === 0)) { engine.began = true; engine.play(); }
    engine.stateBefore = state;
    const other = !!body.others.b, show = ctx.get("show"), choice = ctx.get("sound");
    ctx.showField.hidden = !other;
    ctx.gainField.hidden = !other || show !== "difference";
    ctx.blinkField.hidden = !other || show !== "blink";
    ctx.soundField.textContent = choice === "off" ? "Sound off" : other && !body.same_sound ? `Sound of ${choice.toUpperCase()}` : "Sound on";
    ctx.soundField.title = "Whose sound is heard: click to change";
    ctx.button_.textContent = engine.going ? "Hold" : "Play";
    ctx.button_.title = engine.going ? "Hold here (space)" : "Play with sound (space)";
    ctx.stage.title = show === "wipe" && other ? "Drag to move the wipe; click to play or hold" : "Click to play or hold (space); arrow keys: one frame back or on";
    ctx.stage.style.cursor = show === "wipe" && other ? "ew-resize" : "pointer";
    view.drawStage(ctx, theme);
    view.drawLine(ctx, theme);
    const frame = Math.floor(engine.shown * run.fps + 1e-4), first = run.first_picture_s;
    ctx.words.replaceChildren(laElement("b", {}, engine.shown.toFixed(2)), ` / ${laSeconds(engine.total)}`, laElement("span", {}, `frame ${frame}`),
      laElement("span", { title: "From Start to the first picture" }, first ? `first picture ${laSeconds(first)}` : ""),
      laElement("span", {}, engine.going && !engine.sounding && choice !== "off" ? "click the page for sound" : ""));
    Object.assign(ctx.root.dataset, { position: engine.shown.toFixed(3), playing: engine.going, waiting: engine.waiting, heard: engine.heard, sounding: !!engine.sounding });
    if (other && show === "blink" && !ctx.blinking) ctx.blinking = setTimeout(() => { ctx.blinking = null; ctx.changed(); }, 1000 * ctx.get("blink_s"));
  },

  key(ctx, key) {
    const { engine } = ctx, fps = ctx.body?.run?.fps;
    if (!fps) return false;
    if (key === " ") { view.toggle(ctx); return true; }
    const hop = { ArrowLeft: -1, ArrowRight: 1 }[key];
    if (hop) { if (engine.going) engine.hold(); engine.seek((Math.floor(engine.shown * fps + 1e-4) + hop + 0.5) / fps); return true; }
    if (key === "Home") { engine.seek(0); return true; }
    return false;
  },

  leave(ctx) {
    clearTimeout(ctx.blinking);
    if (ctx.store.places.size <= 1) { ctx.engine.going = false; ctx.engine.silence(); }
    else if (ctx.engine.ctx === ctx) ctx.engine.ctx = [...ctx.store.places].find((place) => place !== ctx);
  },
};
