/* A sweep in a browser: all its videos play together, one is heard; a plot on which to choose; sorting by any number.
   Used by the view SweepView and by reports. Needs nothing but the page.

     const grid = new SweepGrid(element, state, change);
     grid.update({cells, measures, settings});      // whenever something is new

   state: {sort, descending, x, y, selected: [key], most, heard: key}; change(name,
     value) is called with the user's choices.
   cells: [{key, label, state, error, settings: {name: value}, numbers: {column: value}, video: url or ""}]
   measures: [{column, label, unit, better}];  settings: names of what differs between the cells. */

const SG_COLOURS = ["#56b4e9", "#0072b2", "#009e73", "#e69f00", "#cc79a7", "#d55e00", "#b8a800", "#8a8a8a"];
const SG_FRAME_S = 1 / 25;
const SG_APART_S = 0.07;                     // two pictures: more, and a video is put back in step

function sgElement(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== undefined && value !== null && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function sgSvg(tag, attributes, words) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (words !== undefined) element.textContent = words;
  return element;
}

function sgNumber(value) {
  if (typeof value !== "number") return value === null || value === undefined || value === "" ? "–" : String(value);
  if (!Number.isFinite(value)) return "–";
  if (Number.isInteger(value) && Math.abs(value) < 1e5) return String(value);
  const size = Math.abs(value);
  return size >= 100 ? value.toFixed(0) : size >= 10 ? value.toFixed(1) : size >= 1 ? value.toFixed(2)
    : value.toPrecision(2);
}

function sgTicks(low, high, about = 5) {
  const rough = (high - low) / about || 1, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
  const ticks = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high + step * 1e-6; tick += step)
    ticks.push(Number(tick.toPrecision(12)));
  return ticks;
}

class SweepGrid {
  constructor(root, state, change = () => {}) {
    Object.assign(this, { root, state, told: change, cards: new Map(), data: { cells: [], measures: [], settings: [] },
      playing: false, time: 0 });
    root.classList.add("sg");
    root.tabIndex = root.tabIndex < 0 ? 0 : root.tabIndex;
    this.build();
    root.addEventListener("keydown", (event) => {
      if (event.target.matches("input, select, textarea, button")) return;
      if (this.key(event.key)) { event.preventDefault(); event.stopPropagation(); }
    });
  }

  /* ---------------------------------------------------------------- parts */

  build() {
    this.play = sgElement("button", { type: "button", class: "sg-button sg-main", title: "Play or pause all (space)",
      onclick: () => this.toggle() }, "Play");
    this.scrub = sgElement("input", { type: "range", min: 0, max: 1, step: 0.001, value: 0, class: "sg-scrub",
      "aria-label": "time in all videos", oninput: () => this.seek(Number(this.scrub.value)) });
    this.clock = sgElement("output", { class: "sg-clock" }, "0.00 s");
    this.mute = sgElement("button", { type: "button", class: "sg-button", title: "Sound of the marked video on or " +
      "off (m)", onclick: () => this.setMuted(!this.muted) }, "Sound on");
    this.muted = false;
    this.sort = sgElement("select", { "aria-label": "sort by", onchange: () => this.change("sort", this.sort.value) });
    this.turn = sgElement("button", { type: "button", class: "sg-button", title: "Turn the order round",
      onclick: () => this.change("descending", !this.state.descending) }, "↑");
    this.all = sgElement("button", { type: "button", class: "sg-button", title: "Show all again",
      onclick: () => this.change("selected", []) }, "Show all");
    this.words = sgElement("span", { class: "sg-soft" });
    const bar = sgElement("div", { class: "sg-bar" }, this.play, this.scrub, this.clock, this.mute,
      sgElement("label", { class: "sg-field" }, "sort by ", this.sort), this.turn, this.all, this.words);
    this.x = sgElement("select", { "aria-label": "across", onchange: () => this.change("x", this.x.value) });
    this.y = sgElement("select", { "aria-label": "up", onchange: () => this.change("y", this.y.value) });
    this.plot = sgSvg("svg", { class: "sg-plot", role: "img", "aria-label": "every video as a point" });
    this.hint = sgElement("p", { class: "sg-soft sg-hint" }, "Drag a box over points to see only those videos.");
    this.legend = sgElement("div", { class: "sg-legend" });
    const side = sgElement("div", { class: "sg-side" }, sgElement("div", { class: "sg-axes" },
      sgElement("label", { class: "sg-field" }, "up ", this.y), sgElement("label", { class: "sg-field" }, "across ",
        this.x)), this.plot, this.legend, this.hint);
    this.grid = sgElement("div", { class: "sg-grid" });
    this.root.append(bar, sgElement("div", { class: "sg-body" }, side, this.grid));
    this.brushing();
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

  value(cell, column) {
    return column in cell.numbers ? cell.numbers[column] : cell.settings[column];
  }

  /* The cells in view, in order. */
  get shown() {
    const { sort, descending, selected, most } = this.state;
    const chosen = selected?.length ? this.data.cells.filter((cell) => selected.includes(cell.key))
      : [...this.data.cells];
    const rank = (cell) => {
      const value = this.value(cell, sort);
      return value === undefined || value === null ? Infinity : value;
    };
    if (sort) chosen.sort((a, b) => {
      const [x, y] = [rank(a), rank(b)];
      if (x === Infinity || y === Infinity) return (x === Infinity) - (y === Infinity);
      const order = typeof x === "number" && typeof y === "number" ? x - y : String(x) < String(y) ? -1
        : String(x) > String(y) ? 1 : 0;
      return descending ? -order : order;
    });
    return chosen.slice(0, most || 1e9);
  }

  /* ---------------------------------------------------------------- drawing */

  draw() {
    const options = (list, value) => {
      const wanted = this.columns.map(({ column, label }) => `${column}|${label}`).join();
      if (list.dataset.options !== wanted) {
        list.dataset.options = wanted;
        list.replaceChildren(...this.columns.map(({ column, label }) => sgElement("option", { value: column }, label)));
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
    this.drawPlot(new Set(shown.map((cell) => cell.key)));
    this.listen();
  }

  card(cell) {
    if (!this.cards.has(cell.key)) {
      const screen = sgElement("div", { class: "sg-screen" });
      const root = sgElement("figure", { class: "sg-card", "data-key": cell.key, title: "Click to hear this one" },
        screen, sgElement("figcaption"));
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
        card.video = sgElement("video", { src: cell.video, playsinline: true, preload: "auto", muted: true });
        card.video.muted = true;
        card.video.addEventListener("loadeddata", () => {
          card.video.currentTime = Math.min(this.time, card.video.duration || 0);
          this.listen();
        });
        card.screen.replaceChildren(card.video);
        if (this.playing) card.video.play().catch(() => {});
      } else card.screen.replaceChildren(sgElement("div", { class: "sg-empty" }, cell.error
        || (cell.state === "made" ? "…" : cell.state)));
    }
    const differs = this.data.settings.map((name) => this.value(cell, name)).filter((value) => value !== ""
      && value !== null && value !== undefined);
    const asked = [...new Set([this.state.y, this.state.sort, this.state.x])].map((column) => this.data.measures.find(
      (measure) => measure.column === column)).filter(Boolean);
    const lines = [sgElement("b", {}, cell.label), ...asked.map((measure) => sgElement("span", {}, `${measure.label} `,
      sgElement("i", {}, cell.numbers[measure.column] === undefined ? "–"
      : `${sgNumber(cell.numbers[measure.column])} ${measure.unit}`)))];
    card.caption.replaceChildren(...lines);
    card.root.title = `${differs.map(sgNumber).join(" · ")}\nClick to hear this one`;
    card.root.classList.toggle("sg-heard", cell.key === this.state.heard);
  }

  mark(key, on) {
    this.plot.querySelector(`[data-key="${key}"]`)?.classList.toggle("sg-marked", on);
    this.cards.get(key)?.root.classList.toggle("sg-marked", on);
  }

  /* ---------------------------------------------------------------- plot */

  colour(cell) { return SG_COLOURS[((Number(cell.settings.steps) || 1) - 1) % SG_COLOURS.length]; }

  drawPlot(shown) {
    const W = 330, H = 270, left = 56, right = W - 12, top = 12, bottom = H - 40;
    const { x: across, y: up } = this.state;
    const order = (column) => [...new Set(this.data.cells.map((cell) => this.value(cell, column))
      .filter((value) => typeof value === "string"))].sort();
    const names = { x: order(across), y: order(up) };
    const place = (cell, column, words) => {
      const value = this.value(cell, column);
      return typeof value === "string" ? words.indexOf(value) : value;
    };
    const points = this.data.cells.map((cell) => ({ cell, x: place(cell, across, names.x),
      y: place(cell, up, names.y) })).filter(({ x, y }) => Number.isFinite(x) && Number.isFinite(y));
    const reach = (values) => {
      const [low, high] = [Math.min(...values), Math.max(...values)], room = (high - low || Math.abs(high) || 1) * 0.08;
      return [low - room, high + room];
    };
    this.plot.setAttribute("viewBox", `0 0 ${W} ${H}`);
    this.plot.replaceChildren();
    this.scale = null;
    if (!points.length) {
      this.plot.append(sgSvg("text", { x: W / 2, y: H / 2, "text-anchor": "middle", class: "sg-tick" },
        "nothing to plot yet"));
      return;
    }
    const [x0, x1] = reach(points.map(({ x }) => x)), [y0, y1] = reach(points.map(({ y }) => y));
    const X = (value) => left + ((value - x0) / (x1 - x0)) * (right - left);
    const Y = (value) => bottom - ((value - y0) / (y1 - y0)) * (bottom - top);
    this.scale = { points, X, Y };
    const ticks = (words, low, high) => (words.length ? words.map((_, index) => index) : sgTicks(low, high));
    const digits = (low, high) => {
      const [one, two] = sgTicks(low, high);
      return Math.max(0, -Math.floor(Math.log10((two ?? one + 1) - one) + 1e-9));
    };
    const say = (words, tick, low, high) => (words.length ? words[tick].slice(0, 10) : tick.toFixed(digits(low, high)));
    for (const tick of ticks(names.y, y0, y1)) {
      this.plot.append(sgSvg("line", { x1: left, x2: right, y1: Y(tick), y2: Y(tick), class: "sg-line" }),
        sgSvg("text", { x: left - 6, y: Y(tick) + 4, "text-anchor": "end", class: "sg-tick" },
        say(names.y, tick, y0, y1)));
    }
    for (const tick of ticks(names.x, x0, x1))
      this.plot.append(sgSvg("text", { x: X(tick), y: bottom + 15, "text-anchor": "middle", class: "sg-tick" },
      say(names.x, tick, x0, x1)));
    const name = (column) => {
      const found = this.columns.find((one) => one.column === column);
      return found ? `${found.label}${found.unit ? `, ${found.unit}` : ""}` : column;
    };
    this.plot.append(sgSvg("text", { x: (left + right) / 2, y: H - 6, "text-anchor": "middle", class: "sg-name" },
      name(across)));
    this.plot.append(sgSvg("text", { x: 12, y: (top + bottom) / 2, "text-anchor": "middle", class: "sg-name",
      transform: `rotate(-90 12 ${(top + bottom) / 2})` }, name(up)));
    for (const { cell, x, y } of points) {
      const square = cell.settings.model === "teacher";
      const attributes = { class: `sg-point${shown.has(cell.key) ? "" : " sg-away"}`, "data-key": cell.key,
        fill: this.colour(cell) };
      const point = square ? sgSvg("rect", { x: X(x) - 5, y: Y(y) - 5, width: 10, height: 10, ...attributes })
        : sgSvg("circle", { cx: X(x), cy: Y(y), r: 5.5, ...attributes });
      const numbers = [across, up].map((column) => `${name(column)}: ${sgNumber(this.value(cell, column))}`);
      point.append(sgSvg("title", {}, [cell.label, ...numbers].join("\n")));
      point.addEventListener("pointerenter", () => this.mark(cell.key, true));
      point.addEventListener("pointerleave", () => this.mark(cell.key, false));
      this.plot.append(point);
    }
    this.plot.append((this.box = sgSvg("rect", { class: "sg-box", visibility: "hidden" })));
    const steps = [...new Set(points.map(({ cell }) => cell.settings.steps))].sort((a, b) => a - b);
    const swatch = (colour, words, square) => sgElement("span", {},
      sgElement("i", { style: `background:${colour};border-radius:${square ? 1 : 6}px` }), words);
    const models = new Set(points.map(({ cell }) => cell.settings.model));
    this.legend.replaceChildren(...steps.map((count) => swatch(SG_COLOURS[(count - 1) % 8],
      `${count} step${count > 1 ? "s" : ""}`)),
      ...(models.size > 1 ? [swatch("var(--sg-soft)", "student"), swatch("var(--sg-soft)", "teacher", true)] : []));
  }

  /* Drag a box on the plot: only the videos whose points it holds stay. An empty box shows all again. */
  brushing() {
    let from = null;
    const at = (event) => {
      const frame = this.plot.getBoundingClientRect(), view = this.plot.viewBox.baseVal;
      return [((event.clientX - frame.left) / frame.width) * view.width,
        ((event.clientY - frame.top) / frame.height) * view.height];
    };
    const box = (event) => {
      const to = at(event);
      return { x: Math.min(from[0], to[0]), y: Math.min(from[1], to[1]), width: Math.abs(to[0] - from[0]),
        height: Math.abs(to[1] - from[1]) };
    };
    this.plot.addEventListener("pointerdown", (event) => {
      if (!this.scale) return;
      from = at(event);
      this.plot.setPointerCapture(event.pointerId);
    });
    this.plot.addEventListener("pointermove", (event) => {
      if (!from) return;
      for (const [name, value] of Object.entries(box(event))) this.box.setAttribute(name, value);
      this.box.setAttribute("visibility", "visible");
    });
    this.plot.addEventListener("pointerup", (event) => {
      if (!from) return;
      let { x, y, width, height } = box(event);
      if (width < 4 && height < 4) [x, y, width, height] = [x - 7, y - 7, 14, 14];
      from = null;
      this.box.setAttribute("visibility", "hidden");
      const { points, X, Y } = this.scale;
      const held = points.filter((point) => X(point.x) >= x && X(point.x) <= x + width && Y(point.y) >= y
        && Y(point.y) <= y + height);
      this.change("selected", held.map(({ cell }) => cell.key));
    });
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
function sgVideoUrl(bytes, kind = "video/mp4") { return URL.createObjectURL(new Blob([bytes], { type: kind })); }
