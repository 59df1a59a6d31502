/* What plays: pictures and sound by one clock, that of the sound where it may be heard, else the computer's. Blocks
   arrive as JPEGs with their frames side by side and are unpacked shortly before they are shown. */

import { LaStrips } from "./compare.js";

const PLAYER_UNPACKED = 48;             // blocks of each run that are kept unpacked
const PLAYER_KERNEL_S = 0.5;            // between two words to the kernel about where the cursor is

/* One a view, however often it is shown: nobody wants to hear two. */
export class PlayerEngine {
  constructor(ctx) {
    Object.assign(this, { ctx, films: { a: new Map(), b: new Map() }, last: {}, waves: {}, peaks: null, node: null,
      guesses: new LaStrips(() => ctx.store.places.forEach((place) => place.changed())), heard: 0, number: null });
    this.rewind();
  }

  /* Another run: begin at its beginning, and wait for what there is to play. */
  rewind() {
    this.silence();
    Object.assign(this, { going: false, waiting: false, began: false, fresh: false, seen: false, stalls: 0, told: 0,
      position: 0, shown: 0, frameShown: null, put: -1 });
  }

  get body() { return this.ctx.store.body ?? {}; }
  get total() { return this.body.total_s ?? 0; }
  get ready() { return Math.min(this.body.ready_s ?? 0, this.total); }
  get complete() {
    return Object.values(this.body.others ?? {}).every((run) => run.over || run.ready_s >= run.total_s - 0.01);
  }
  get end() { return this.complete ? this.ready : this.total; }
  get speed() { return this.ctx.get("speed"); }

  /* ---- what arrives */

  take(name, bytes) {
    const [kind, second, ...numbers] = name.split("/");
    const [count, width, height] = numbers.map(Number);
    if (kind === "wave") {
      this.waves[second] = { pcm: new Int16Array(bytes.slice().buffer), buffer: null };
      this.peaks = null;
    } else if (kind === "guess") this.guesses.take(second, bytes, count, width, height);
    else if (kind === "preview") this.guesses.take(`${second} preview`, bytes, count, width, height);
    else this.films[kind].set(Number(second), { bytes, count, width, height, bitmap: null, opening: false });
  }

  forget() {
    Object.assign(this, { films: { a: new Map(), b: new Map() }, last: {}, waves: {}, peaks: null });
    this.guesses.forget();
  }

  /* ---- pictures */

  /* The newest step's guess where the block under a time is not decoded yet, else null. While it is being decoded the
     decoded one before stays; a preview is shown where there is none. */
  guessAt(time) {
    const { guess, run } = this.body, inside = run?.block_s ? time / run.block_s - (guess?.block ?? 0) : -1;
    if (!guess || inside < 0 || inside >= 1) return null;
    const { block_frames } = this.body.others.a;
    return this.guesses.frame(`${guess.block}`, inside, block_frames)
      ?? this.guesses.frame(`${guess.block} preview`, inside);
  }

  /* -> {bitmap, x, y, width, height} of a run at a time; while it is being unpacked the one before, so that nothing
     flickers. */
  frame(name, time) {
    const facts = this.body.others?.[name], film = this.films[name];
    if (!facts) return null;
    const guess = name === "a" ? this.guessAt(time) : null;
    if (guess) return guess;
    const last = Math.max(Math.round((facts.ready_s || 0) * facts.fps) - 1, 0);
    const frame = Math.min(Math.max(Math.floor(time * facts.fps + 1e-4), 0), last);
    const block = Math.floor(frame / facts.block_frames);
    for (const ahead of [block, block + 1]) this.open(film, ahead);
    const pack = film.get(block);
    if (!pack?.bitmap) return this.last[name] ?? null;
    const { bitmap, width, height } = pack, inside = Math.min(frame - block * facts.block_frames, pack.count - 1);
    return this.last[name] = { bitmap, x: inside * width, y: 0, width, height };
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
    const comes = ["ready", "running"].includes(this.body.run?.state), end = comes ? this.end : this.ready;
    if (end <= 0 && !comes) { this.rest(); return; }
    if (end > 0 && this.position >= end - 0.02) this.position = 0;
    this.stalls = 0;
    this.device();
    this.go();
    if (!this.ctx.get("playing")) this.ctx.set("playing", true);
  }

  /* Play no more, and leave the cursor to others. */
  rest() {
    this.going = this.waiting = false;
    this.silence();
    if (this.ctx.get("playing")) this.ctx.set("playing", false);
  }

  hold() {
    this.rest();
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
      const blocks = Math.min(2 ** this.stalls, 4), block_s = this.body.run?.block_s ?? 0.5;
      const enough = Math.min(block_s * blocks, this.end - this.position);
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

  /* What has happened to the run since the last drawing. */
  follow() {
    const { run } = this.body, { number, state } = run;
    if (number !== this.number) {
      const another = this.number !== null;
      if (another) this.rewind();
      this.number = number;
      // it began on this page, however late we hear of it
      this.fresh = another && this.body.live && !this.body.branch;
      this.seen = this.fresh || run.done_s === 0;                  // else the page was opened in the middle of it
      if ((this.fresh || this.ready <= 0) && this.ctx.time > 0 && !this.body.branch) this.ctx.move(0);
    }
    if (["ready", "paused"].includes(state)) this.seen = true;
    if (state === "paused" || run.stepping) this.fresh = false;
    const plays = state === "running" ? this.seen && !run.stepping : run.state === "finished" && this.fresh;
    if (plays && !this.began && !this.body.branch && this.ctx.get("autoplay")) {   // playing would move the chosen cell
      this.began = true;
      if (!this.going) this.play();
    }
    if (state === "paused" && this.waiting) this.rest();           // nothing comes to wait for
    this.followCursor();
  }

  /* Somebody else has moved the cursor. */
  followCursor() {
    const time = this.ctx.clock.time;
    if (Math.abs(time - this.put) < 1e-9) return;
    this.put = time;
    if (Math.abs(time - this.shown) < 1e-6) return;
    this.shown = this.position = Math.min(time, Math.max(this.total - 0.001, 0));
    if (this.going && !this.waiting) this.go();
  }
}
