/* A sweep in a browser: all its videos play together, one is heard; a plot on which to choose; sorting by any number.
   Used by the view SweepView and by reports. Needs nothing but the page.

     const grid = new SweepGrid(element, state, change);
     grid.update({cells, measures, settings});      // whenever something is new

   state: {sort, descending, x, y, selected: [key], most, heard: key}; change(name,
     value) is called with the user's choices.
   cells: [{key, label, state, error, settings: {name: value}, numbers: {column: value}, video: url or ""}]
   measures: [{column, label, unit, better}];  settings: names of what differs between the cells. */

import { cellValue, shownCells } from "./sweep_order.js";
import { brushPlot, drawPlot } from "./sweep_plot.js";
import { laElement } from "#liveavatar/web/element.js";
import { laShort } from "#liveavatar/web/format.js";
import { laSvg } from "#liveavatar/web/svg.js";

const SG_FRAME_S = 1 / 25;
const SG_APART_S = 0.07;                     // two pictures: more, and a video is put back in step

export class SweepGrid {
  constructor(root, state, change = () => {}) {
    Object.assign(this, { root, state, told: change, cards: new Map(), data: { cells: [], measures: [], settings: [] },
      playing: false, time: 0 });
    root.classList.add("sg");
    root.tabIndex = Math.max(root.tabIndex, 0);
    this.build();
    root.addEventListener("keydown", (event) => {
      if (event.target.matches("input, select, textarea, button")) return;
      if (this.key(event.key)) { event.preventDefault(); event.stopPropagation(); }
    });
  }

  /* ---------------------------------------------------------------- parts */

  build() {
    this.play = laElement("button", { type: "button", class: "sg-button sg-main", title: "Play or pause all (space)",
      onclick: () => this.toggle() }, "Play");
    this.scrub = laElement("input", { type: "range", min: 0, max: 1, step: 0.001, value: 0, class: "sg-scrub",
      "aria-label": "time in all videos", oninput: () => this.seek(Number(this.scrub.value)) });
    this.clock = laElement("output", { class: "sg-clock" }, "0.00 s");
    this.mute = laElement("button", { type: "button", class: "sg-button", title: "Sound of the marked video on or " +
      "off (m)", onclick: () => this.setMuted(!this.muted) }, "Sound on");
    this.muted = false;
    this.sort = laElement("select", { "aria-label": "sort by", onchange: () => this.change("sort", this.sort.value) });
    this.turn = laElement("button", { type: "button", class: "sg-button", title: "Turn the order round",
      onclick: () => this.change("descending", !this.state.descending) }, "↑");
    this.all = laElement("button", { type: "button", class: "sg-button", title: "Show all again",
      onclick: () => this.change("selected", []) }, "Show all");
    this.words = laElement("span", { class: "sg-soft" });
    const bar = laElement("div", { class: "sg-bar" }, this.play, this.scrub, this.clock, this.mute,
      laElement("label", { class: "sg-field" }, "sort by ", this.sort), this.turn, this.all, this.words);
    this.x = laElement("select", { "aria-label": "across", onchange: () => this.change("x", this.x.value) });
    this.y = laElement("select", { "aria-label": "up", onchange: () => this.change("y", this.y.value) });
    this.plot = laSvg("svg", { class: "sg-plot", role: "img", "aria-label": "every video as a point" });
    this.hint = laElement("p", { class: "sg-soft sg-hint" }, "Drag a box over points to see only those videos.");
    this.legend = laElement("div", { class: "sg-legend" });
    const side = laElement("div", { class: "sg-side" }, laElement("div", { class: "sg-axes" },
      laElement("label", { class: "sg-field" }, "up ", this.y), laElement("label", { class: "sg-field" }, "across ",
        this.x)), this.plot, this.legend, this.hint);
    this.grid = laElement("div", { class: "sg-grid" });
    this.root.append(bar, laElement("div", { class: "sg-body" }, side, this.grid));
    brushPlot(this);
  }

  change(name, value) {
    this.state[name] = value;
    this.told(name, value);
    this.draw();
  }

  update(data) {
    this.data = data;
    this.draw();
  }

  get columns() {
    return [...this.data.settings.map((name) => ({ column: name, label: name.replace("_", " "), unit: "", better: 0 })),
      ...this.data.measures];
  }

  /* The cells in view, in order. */
  get shown() { return shownCells(this.data.cells, this.state); }

  /* ---------------------------------------------------------------- drawing */

  draw() {
    const options = (list, value) => {
      const wanted = this.columns.map(({ column, label }) => `${column}|${label}`).join();
      if (list.dataset.options !== wanted) {
        list.dataset.options = wanted;
        list.replaceChildren(...this.columns.map(({ column, label }) => laElement("option", { value: column }, label)));
      }
      list.value = value;
    };
    const { state } = this;
    const known = this.columns.map(({ column }) => column);
    const first = (names) => names.find((name) => known.includes(name)) ?? known[0] ?? "";
    if (!known.includes(state.sort)) state.sort = first(["steps"]);
    if (!known.includes(state.x)) state.x = first(["ms_per_frame", "steps"]);
    if (!known.includes(state.y)) state.y = first([this.data.measures[0]?.column]);
    options(this.sort, state.sort); options(this.x, state.x); options(this.y, state.y);
    this.turn.textContent = state.descending ? "↓" : "↑";
    this.all.hidden = !state.selected?.length;
    const shown = this.shown, total = this.data.cells.length;
    const failed = this.data.cells.filter((cell) => cell.state === "failed").length;
    this.words.textContent = `${shown.length} of ${total} videos${failed ? `, ${failed} failed` : ""}`;
    if (!shown.some((cell) => cell.key === state.heard && cell.video))
      state.heard = shown.find((cell) => cell.video)?.key ?? "";
    const keep = new Set(shown.map((cell) => cell.key));
    for (const [key, card] of this.cards) if (!keep.has(key)) {
      card.video?.pause();
      card.root.remove();
      this.cards.delete(key);
    }
    shown.forEach((cell, place) => {
      const card = this.card(cell);
      if (this.grid.children[place] !== card.root) this.grid.insertBefore(card.root, this.grid.children[place] ?? null);
      this.fill(card, cell);
    });
    drawPlot(this, new Set(shown.map((cell) => cell.key)));
    this.listen();
  }

  card(cell) {
    if (!this.cards.has(cell.key)) {
      const screen = laElement("div", { class: "sg-screen" });
      const root = laElement("figure", { class: "sg-card", "data-key": cell.key, title: "Click to hear this one" },
        screen, laElement("figcaption"));
      root.addEventListener("click", () => this.change("heard", cell.key));
      root.addEventListener("pointerenter", () => this.mark(cell.key, true));
      root.addEventListener("pointerleave", () => this.mark(cell.key, false));
      this.cards.set(cell.key, { root, screen, caption: root.lastChild, url: null, video: null });
    }
    return this.cards.get(cell.key);
  }

  fill(card, cell) {
    if (card.url !== cell.video || (!cell.video && !card.screen.children.length)) {
      card.url = cell.video;
      card.video = null;
      if (cell.video) {
        card.video = laElement("video", { src: cell.video, playsinline: true, preload: "auto", muted: true });
        card.video.muted = true;
        card.video.addEventListener("loadeddata", () => {
          card.video.currentTime = Math.min(this.time, card.video.duration || 0);
          this.listen();
        });
        card.screen.replaceChildren(card.video);
        if (this.playing) card.video.play().catch(() => {});
      } else card.screen.replaceChildren(laElement("div", { class: "sg-empty" },
        cell.error || (cell.state === "made" ? "…" : cell.state)));
    }
    const differs = this.data.settings.map((name) => cellValue(cell, name))
      .filter((value) => value !== "" && value !== null && value !== undefined);
    const asked = [...new Set([this.state.y, this.state.sort, this.state.x])]
      .map((column) => this.data.measures.find((measure) => measure.column === column)).filter(Boolean);
    const number = ({ column, unit }) =>
      (cell.numbers[column] === undefined ? "–" : `${laShort(cell.numbers[column])} ${unit}`);
    card.caption.replaceChildren(laElement("b", {}, cell.label), ...asked.map((measure) =>
      laElement("span", {}, `${measure.label} `, laElement("i", {}, number(measure)))));
    card.root.title = `${differs.map(laShort).join(" · ")}\nClick to hear this one`;
    card.root.classList.toggle("sg-heard", cell.key === this.state.heard);
  }

  mark(key, on) {
    this.plot.querySelector(`[data-key="${key}"]`)?.classList.toggle("sg-marked", on);
    this.cards.get(key)?.root.classList.toggle("sg-marked", on);
  }

  /* ---------------------------------------------------------------- time */

  get videos() { return [...this.cards.values()].map((card) => card.video).filter(Boolean); }

  get duration() { return Math.max(0.04, ...this.videos.map((video) => video.duration || 0)); }

  toggle() { this.playing ? this.pause() : this.start(); }

  start() {
    this.playing = true;
    this.play.textContent = "Pause";
    if (this.time >= this.duration - 2 * SG_FRAME_S) this.time = 0;
    for (const video of this.videos) {
      video.currentTime = Math.min(this.time, video.duration || 0);
      video.play().catch(() => {});
    }
    this.began = performance.now() - 1000 * this.time;
    this.follow();
  }

  pause() {
    this.playing = false;
    this.play.textContent = "Play";
    for (const video of this.videos) video.pause();
    this.seek(this.time);
  }

  /* The heard video keeps the time; the others are put back in step when they stray. At the end all begin again. */
  follow() {
    if (!this.playing || !this.root.isConnected) return;
    const heard = this.cards.get(this.state.heard)?.video, running = heard && !heard.ended && !heard.paused;
    this.time = running ? heard.currentTime : (performance.now() - this.began) / 1000;
    this.began = performance.now() - 1000 * this.time;
    if (this.time >= this.duration - SG_FRAME_S / 2) {
      this.seek(0);
      for (const video of this.videos) video.play().catch(() => {});
    }
    for (const video of this.videos) {
      if (video === heard || video.seeking) continue;
      if (this.time < (video.duration || 0) && Math.abs(video.currentTime - this.time) > SG_APART_S)
        video.currentTime = this.time;
    }
    this.showTime();
    requestAnimationFrame(() => this.follow());
  }

  seek(time) {
    this.time = Math.min(Math.max(time, 0), this.duration);
    this.began = performance.now() - 1000 * this.time;
    for (const video of this.videos) video.currentTime = Math.min(this.time, video.duration || 0);
    this.showTime();
  }

  showTime() {
    this.scrub.max = this.duration;
    this.scrub.value = this.time;
    this.clock.textContent = `${this.time.toFixed(2)} s`;
  }

  listen() {
    for (const [key, card] of this.cards) if (card.video) card.video.muted = this.muted || key !== this.state.heard;
    this.mute.textContent = this.muted ? "Sound off" : "Sound on";
    this.showTime();
  }

  setMuted(muted) { this.muted = muted; this.listen(); }

  key(key) {
    if (key === " ") this.toggle();
    else if (key === "m") this.setMuted(!this.muted);
    else if (key === "ArrowRight" || key === "ArrowLeft") {
      if (this.playing) this.pause();
      this.seek(this.time + (key === "ArrowRight" ? 1 : -1) * SG_FRAME_S);
    }
    else if (key === "Escape") this.change("selected", []);
    else return false;
    return true;
  }

  leave() { this.playing = false; for (const video of this.videos) video.pause(); }
}

/* Bytes as an address that a <video> can play. */
export function sgVideoUrl(bytes, kind = "video/mp4") { return URL.createObjectURL(new Blob([bytes], { type: kind })); }
