/* A sound as bars, on which its used part is chosen: drag over it, drag one of its ends, or use the arrow keys. */

import { laCanvas } from "#liveavatar/web/canvas.js";
import { laElement } from "#liveavatar/web/element.js";

const WAVE_HEIGHT = 34, WAVE_GRIP = 7;     // px: within a grip of an end, that end is dragged
const WAVE_SHORTEST_S = 0.3, WAVE_STEP_S = 0.1;
const waveTenth = (value) => Math.round(value * 20) / 20;                    // the choice is kept in steps of 50 ms

/* traits: start_s, seconds (0: to the end). ctx.wave: peaks 0..1. total: length of the sound in s. */
export class Waveform {
  constructor(ctx) {
    Object.assign(this, { ctx, total: 0, held: null });
    this.canvas = laElement("canvas", { role: "slider", tabindex: "0", class: "la-wave", "aria-valuemin": 0,
      "aria-label": "the part of the sound that is used: arrow keys move its start, with Shift its end",
      title: "Drag over the part that is used, or drag one of its ends. Double click: all of it. Arrow keys move the " +
        "start, with Shift the end" });
    const on = (event, answer) => this.canvas.addEventListener(event, answer);
    on("pointerdown", (event) => this.grasp(event));
    on("pointermove", (event) => this.drag(event));
    for (const event of ["pointerup", "pointercancel"]) on(event, () => { this.held = null; });
    on("dblclick", () => this.choose(0, this.total));
    on("keydown", (event) => this.key(event));
    this.button = laElement("button", { type: "button", class: "la-button la-wave-listen",
      onclick: () => (this.playing ? this.silence() : ctx.send("listen")) });
    this.silence();
    ctx.on("msg:custom", (message, buffers) => { if (message.kind === "sound") this.play(buffers[0]); });
  }

  /* Let the part be heard; data: a wav file. */
  play(data) {
    this.silence();
    this.playing = new Audio(URL.createObjectURL(new Blob([data], { type: "audio/wav" })));
    this.playing.onended = this.playing.onerror = () => this.silence();
    this.playing.play();
    Object.assign(this.button, { textContent: "■", title: "Stop the sound", ariaLabel: "stop the sound" });
  }

  silence() {
    this.playing?.pause();
    if (this.playing) URL.revokeObjectURL(this.playing.src);
    this.playing = null;
    Object.assign(this.button, { textContent: "▶", title: "Hear the part that is used",
      ariaLabel: "hear the part that is used" });
  }

  /* From and to, in seconds, within the sound. */
  get part() {
    const from = Math.min(this.ctx.get("start_s"), this.total), most = this.ctx.get("seconds");
    return [from, most ? Math.min(from + most, this.total) : this.total];
  }

  /* Choose a part; the end of the sound is kept as "to the end", so that it holds for the next sound too. */
  choose(from, to) {
    const start = Math.max(0, Math.min(waveTenth(from), this.total - WAVE_SHORTEST_S));
    const end = Math.min(this.total, Math.max(waveTenth(to), start + WAVE_SHORTEST_S));
    this.ctx.set("start_s", Math.max(0, Number(start.toFixed(3))));
    this.ctx.set("seconds", end >= this.total - 0.02 ? 0 : Number((end - start).toFixed(3)));
  }

  at(event) { return Math.min(Math.max(event.offsetX / this.canvas.clientWidth, 0), 1) * this.total; }

  near(event) {
    const [from, to] = this.part, width = this.canvas.clientWidth;
    const apart = [from, to].map((time) => Math.abs(event.offsetX - (time / this.total) * width));
    const end = apart[0] <= apart[1] ? 0 : 1;
    return apart[end] <= WAVE_GRIP ? end : null;
  }

  grasp(event) {
    if (!this.total) return;
    this.canvas.setPointerCapture(event.pointerId);
    const end = this.near(event), [from, to] = this.part;
    this.held = { fixed: end === null ? this.at(event) : end === 0 ? to : from, moved: end !== null, x: event.offsetX };
  }

  drag(event) {
    if (!this.total) return;
    if (!this.held) { this.canvas.style.cursor = this.near(event) === null ? "crosshair" : "ew-resize"; return; }
    this.held.moved ||= Math.abs(event.offsetX - this.held.x) > 3;            // a click alone chooses nothing
    if (!this.held.moved) return;
    const time = this.at(event);
    this.choose(Math.min(time, this.held.fixed), Math.max(time, this.held.fixed));
  }

  key(event) {
    const hop = { ArrowLeft: -WAVE_STEP_S, ArrowRight: WAVE_STEP_S }[event.key], [from, to] = this.part;
    if (!hop || !this.total) return;
    event.preventDefault();
    event.stopPropagation();
    if (event.shiftKey) this.choose(from, to + hop); else this.choose(Math.min(from + hop, to - WAVE_SHORTEST_S), to);
  }

  draw(total) {
    this.total = total;
    const width = Math.max(this.canvas.parentElement.clientWidth - 20, 40), { ctx } = this, theme = ctx.theme();
    const pen = laCanvas(this.canvas, width, WAVE_HEIGHT);
    if (!ctx.wave || !total) return;
    const [from, to] = this.part, x = (time) => (time / total) * width, pitch = width / ctx.wave.length;
    pen.fillStyle = theme.faint;
    pen.fillRect(x(from), 0, x(to) - x(from), WAVE_HEIGHT);
    ctx.wave.forEach((peak, i) => {
      const tall = Math.max(1, peak * (WAVE_HEIGHT - 4)), middle = ((i + 0.5) / ctx.wave.length) * total;
      pen.fillStyle = middle >= from && middle <= to ? theme.accent : theme.line;
      pen.fillRect(i * pitch, (WAVE_HEIGHT - tall) / 2, Math.max(1, pitch - 1), tall);
    });
    pen.fillStyle = theme.ink;
    for (const edge of [Math.min(x(from), width - 2), Math.max(x(to) - 2, 0)]) pen.fillRect(edge, 0, 2, WAVE_HEIGHT);
    this.canvas.setAttribute("aria-valuemax", total.toFixed(2));
    this.canvas.setAttribute("aria-valuenow", from.toFixed(2));
    this.canvas.setAttribute("aria-valuetext", `${from.toFixed(2)} to ${to.toFixed(2)} of ${total.toFixed(2)} seconds`);
  }
}
