/* What all views share in the browser. A view's script defines

     const view = {
       name: "la-cache",                 // CSS class
       build(ctx) {},                    // once for every place where the view is shown: make the elements
       draw(ctx) {},                     // whenever something has changed, at most once per picture of the screen
       key(ctx, key) { return true },    // a key while the view has the focus; true: it was used
     };

   and `live(view)` makes an anywidget module of it. Nothing is fetched: everything comes from the kernel. */

const LA_COLOURS = {
  orange: "#e69f00", sky: "#56b4e9", green: "#009e73", yellow: "#f0e442",
  blue: "#0072b2", vermilion: "#d55e00", purple: "#cc79a7", grey: "#8a8a8a",
};
const LA_STEPS = ["sky", "blue", "green", "orange", "purple", "vermilion", "yellow", "grey"].map((n) => LA_COLOURS[n]);

/* One clock a page for all views with the same cursor, so that they move together without asking the kernel. */
function laClock(name) {
  const clocks = (window.__liveavatarClocks ??= new Map());
  if (!clocks.has(name)) clocks.set(name, { time: 0, count: 0, sent: [], listeners: new Set() });
  return clocks.get(name);
}

function laElement(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") element.className = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== null && value !== false)
      element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/* Colours for canvases, read from the page: JupyterLab's variables, or those of live.css outside of it. */
function laTheme(element) {
  const style = getComputedStyle(element);
  const read = (name) => style.getPropertyValue(name).trim();
  return {
    ...LA_COLOURS, steps: LA_STEPS, ink: read("--la-ink"), soft: read("--la-soft"), faint: read("--la-faint"),
    line: read("--la-line"), ground: read("--la-ground"), raised: read("--la-raised"), accent: read("--la-accent"),
    font: style.fontFamily, dark: read("--la-dark") === "1",
  };
}

/* A canvas that is sharp on any screen: returns its 2-D context, in CSS pixels, cleared. */
function laCanvas(canvas, width, height) {
  const scale = window.devicePixelRatio || 1;
  const [w, h] = [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))];
  if (canvas.width !== w || canvas.height !== h) { canvas.width = w; canvas.height = h; }
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  return pen;
}

/* Raw bytes to something that drawImage takes. kind: "rgb" (3 bytes a pixel) or "grey" (1). */
function laPicture(bytes, width, height, kind = "rgb") {
  const data = new ImageData(width, height);
  const out = new Uint32Array(data.data.buffer);
  const count = width * height;
  if (kind === "grey") for (let i = 0; i < count; i++) out[i] = 0xff000000 | (bytes[i] * 0x010101);
  else for (let i = 0, j = 0; i < count; i++, j += 3) out[i] = 0xff000000 | (bytes[j + 2] << 16) | (bytes[j +
    1] << 8) | bytes[j];
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d").putImageData(data, 0, 0);
  return canvas;
}

/* A word or number with a dotted line: its sentence from the glossary is shown on hover and focus, and read aloud. */
function laTerm(name, ...children) {
  let list = document.getElementById("la-terms");
  if (!list) document.body.append(list = laElement("div", { id: "la-terms", hidden: true }));
  const id = `la-term-${name}`;
  if (!document.getElementById(id)) list.append(laElement("span", { id }, LA_TERMS[name]));
  const options = { class: "la-term", tabindex: "0", title: LA_TERMS[name], "aria-describedby": id };
  return laElement("span", options, ...children);
}

const LA_STEP_COUNTS = [1, 2, 3, 4, 5, 6, 8, 16, 32];          // denoising steps that every menu offers

const laSeconds = (value) => `${value.toFixed(2)} s`;
const laPercent = (share) => (share < 0.0995 ? `${(100 * share).toFixed(1)} %` : `${Math.round(100 * share)} %`);

/* How long a run will still take, in words; "" where nothing can be said. */
function timeToGo(run) {
  if (run?.state !== "running" || !run.x_realtime || run.stopping) return "";
  const left = Math.max((run.total_s - run.done_s) / run.x_realtime, 0);
  if (left < 60) return `${Math.ceil(left)} s`;
  return left < 3600 ? `${Math.ceil(left / 60)} min`
    : `${Math.floor(left / 3600)} h ${Math.round((left % 3600) / 60)} min`;
}

const laBytes = (count) => (count >= 2 ** 30 ? `${(count / 2 ** 30).toFixed(2)} GiB`
  : count >= 2 ** 20 ? `${(count / 2 ** 20).toFixed(1)} MiB` : `${(count / 1024).toFixed(0)} KiB`);

/* ------------------------------------------------------------------ one view in one place of the page */

class LaContext {
  constructor(view, store, model, el) {
    Object.assign(this, { view, store, model, dirty: false, handlers: [] });
    this.body = store.body;
    this.buffers = store.buffers;
    this.bar = laElement("div", { class: "la-bar" });
    this.main = laElement("div", { class: "la-main" });
    this.nothing = laElement("div", { class: "la-nothing" });
    this.error = laElement("div", { class: "la-error", role: "alert" });
    this.root = laElement("div", { class: `la ${view.name}`, tabindex: "0" }, this.bar, this.nothing, this.main,
      this.error);
    el.append(this.root);
  }

  get(name) { return this.model.get(name); }

  /* Change a trait; the kernel is told once per picture of the screen. */
  set(name, value) {
    this.model.set(name, value);
    if (!this.saving) {
      this.saving = true;
      requestAnimationFrame(() => { this.saving = false; this.model.save_changes(); });
    }
    this.changed();
  }

  on(event, handler) {
    this.model.on(event, handler);
    this.handlers.push(() => this.model.off(event, handler));
  }

  send(kind, content = {}) { this.model.send({ kind, ...content }); }

  theme() { return laTheme(this.root); }

  /* ---- the time cursor */

  get clock() { return laClock(this.get("_cursor") || `own ${this.store.id}`); }

  get time() { return this.clock.time; }

  /* Move the cursor of all views that share it. */
  move(time) {
    const clock = this.clock;
    clock.time = Math.max(0, time);
    clock.sent = [...clock.sent.slice(-200), [++clock.count, clock.time]];
    this.set("time_s", clock.time);
    for (const listener of clock.listeners) listener();
  }

  /* The trait has moved: an echo of what was moved on this page, which every view hears in its order, or the kernel. */
  timeFromKernel() {
    const clock = this.clock, time = this.get("time_s");
    const echo = clock.sent.find(([number, sent]) => number > (this.echoed ?? 0) && sent === time);
    if (echo) { [this.echoed] = echo; return; }
    clock.time = time;
    this.echoed = clock.count;
    for (const listener of clock.listeners) listener();
  }

  /* ---- drawing */

  changed() {
    if (this.dirty) return;
    this.dirty = true;
    const soon = document.hidden ? (f) => setTimeout(f, 200) : requestAnimationFrame;
    soon(() => { this.dirty = false; if (this.root.isConnected) this.draw(); });
  }

  draw() {
    this.body = this.store.body;
    this.buffers = this.store.buffers;
    if (!this.root.clientWidth) { setTimeout(() => this.changed(), 150); return; }     // not laid out yet
    this.showWords();
    const bare = !this.body || (this.body.nothing && !this.body.run);
    this.main.hidden = bare;
    if (!bare && !this.body.failed) {                      // else the last picture stays, below what is wrong
      try { keepFocus(this.root, () => this.view.draw(this)); } catch (problem) {
        this.error.textContent = `The picture could not be drawn: ${problem.message}`;
        this.error.hidden = false;
      }
    }
    this.store.answer();
  }

  showWords() {
    const run = this.body?.run;
    const words = this.store.gone || this.get("error") || run?.failure || "";
    this.error.textContent = words;
    this.error.hidden = !words;
    this.nothing.textContent = this.body?.nothing ?? "Waiting for the kernel …";
    this.nothing.hidden = !!run || (this.body && !this.body.nothing) || !!words;
    this.updateTransport?.();
  }

  /* ---- controls, bound to traits */

  button(label, tip, action, kind = "") {
    const button = laElement("button", { type: "button", class: `la-button ${kind}`, title: tip, onclick: action },
      label);
    this.bar.append(button);
    return button;
  }

  field(label, tip, ...inputs) {
    const field = laElement("label", { class: "la-field", title: tip }, laElement("span", {}, label), ...inputs);
    this.bar.append(field);
    return field;
  }

  /* options: [[value, words], ...] */
  select(trait, label, tip, options) {
    const list = laElement("select", { "data-trait": trait, "aria-label": label ? null : tip,
      onchange: () => this.set(trait, options[list.selectedIndex][0]) },
      ...options.map(([, words]) => laElement("option", {}, words)));
    const show = () => { list.selectedIndex = options.findIndex(([value]) => value === this.get(trait)); };
    show();
    this.on(`change:${trait}`, show);
    const field = this.field(label, tip, list);
    return field;
  }

  slider(trait, label, tip, { min = 0, max = 1, step = 1, words = (value) => value } = {}) {
    const out = laElement("output");
    const range = laElement("input", { type: "range", min, max, step, "data-trait": trait,
      oninput: () => { this.set(trait, Number(range.value)); out.textContent = words(Number(range.value)); } });
    const show = () => { range.value = this.get(trait); out.textContent = words(this.get(trait)); };
    show();
    this.on(`change:${trait}`, show);
    const field = this.field(label, tip, range, out);
    field.range = range;
    field.show = show;
    return field;
  }

  check(trait, label, tip) {
    const box = laElement("input", { type: "checkbox", "data-trait": trait, onchange: () => this.set(trait,
      box.checked) });
    const show = () => { box.checked = this.get(trait); };
    show();
    this.on(`change:${trait}`, show);
    const field = laElement("label", { class: "la-field la-check", title: tip }, box, laElement("span", {}, label));
    this.bar.append(field);
    return field;
  }

  space() { this.bar.append(laElement("span", { class: "la-space" })); }

  copyButton(code_ = () => this.body?.code ?? "", tip = "Copy Python that makes this view again, with the choices " +
    "made in it") {
    const button = this.button("Copy code", tip, async () => {
      const code = code_();
      try { await navigator.clipboard.writeText(code); }
      catch {                                          // no clipboard without permission: select it by hand
        const area = laElement("textarea", {});
        area.value = code;
        this.root.append(area);
        area.select();
        document.execCommand("copy");
        area.remove();
      }
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy code"; }, 1200);
    }, "la-quiet");
    return button;
  }

  /* Start / Step / Block / Stop, and how far the run is. */
  transport() {
    const steer = (what) => () => this.send("steer", { what });
    const box = laElement("span", { class: "la-transport" });
    const bar = this.bar;
    this.bar = box;
    const toggle = this.button("Start", "Start, pause or go on (space)", steer("toggle"), "la-main-button");
    const step = this.button("Step", "Make one denoising step, then pause", steer("step"));
    const block = this.button("Block", "Go on until the next block is decoded, then pause", steer("block"));
    const stop = this.button("Stop", "End within one step; what is done is kept", steer("stop"));
    this.bar = bar;
    const words = laElement("span", { class: "la-progress", title: LA_TERMS.x_realtime });
    box.append(words);
    bar.append(box);
    this.updateTransport = () => {
      const run = this.body?.run;
      box.hidden = !run || !this.get("controls");
      if (!run) return;
      const over = ["finished", "stopped", "failed"].includes(run.state);
      toggle.textContent = { ready: "Start", running: "Pause", paused: "Go on" }[run.state] ?? "Start";
      toggle.disabled = over;
      step.disabled = block.disabled = over;
      stop.disabled = over || run.stopping;
      const speed = run.x_realtime ? `, ${run.x_realtime.toFixed(2)}× real time` : "", left = timeToGo(run);
      words.textContent =
        `${run.stopping ? "stopping" : run.state} · ${run.done_s.toFixed(2)} of ` +
          `${laSeconds(run.total_s)}${speed}${left && `, ${left} to go`}`;
    };
  }
}

/* ------------------------------------------------------------------ the anywidget module */

function live(view) {
  return () => {
    const store = { id: Math.random().toString(36).slice(2), body: null, buffers: new Map(), places: new Set(),
                    due: null, gone: "", answer() {} };

    function receive(model, message, buffers) {
      if (message.body === undefined) return;
      if (message.full) store.buffers.clear();
      message.names.forEach((name, i) => {
        const data = buffers[i];
        store.buffers.set(name, new Uint8Array(data.buffer ?? data, data.byteOffset ?? 0, data.byteLength));
      });
      store.fresh = message.names;
      store.body = message.body;
      store.due = message.number;
      store.gone = "";
      for (const place of store.places) { view.received?.(place, message.names, message.full); place.changed(); }
      if (!store.places.size) store.answer();
    }

    return {
      initialize({ model }) {
        const handler = (message, buffers) => receive(model, message, buffers);
        store.answer = () => {
          if (store.due === null) return;
          const number = store.due;
          store.due = null;
          model.send({ kind: "ack", number });
        };
        model.on("msg:custom", handler);
        model.send({ kind: "hello" });
        return () => model.off("msg:custom", handler);
      },

      render({ model, el }) {
        const place = new LaContext(view, store, model, el);
        store.places.add(place);
        const redraw = () => place.changed();
        view.build(place);
        if (store.body) view.received?.(place, [...store.buffers.keys()], true);

        place.on("change", redraw);
        place.on("change:time_s", () => place.timeFromKernel());
        const clock = place.clock;
        clock.listeners.add(redraw);
        if (model.get("time_s")) place.timeFromKernel();

        place.root.setAttribute("aria-description", model.get("_keys"));
        place.root.addEventListener("keydown", (event) => answerKey(event, (key) => {
          if (view.key?.(place, key)) return true;
          if (key === " ") place.send("steer", { what: "toggle" });
          return key === " ";
        }));
        place.root.addEventListener("pointerdown", (event) => {
          if (!event.target.closest("input, select, textarea, button")) place.root.focus({ preventScroll: true });
        });

        const size = new ResizeObserver(redraw);
        size.observe(place.root);
        // its style sheet comes later
        const theme = new MutationObserver(() => { redraw(); setTimeout(redraw, 300); });
        theme.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "data-jp-theme-name",
          "class"] });
        place.on("comm_live_update", () => {               // a restart, or the end; whatever is heard later undoes it
          store.gone = "The kernel that drew this has gone: run this cell again.";
          redraw();
        });
        place.changed();
        return () => {
          size.disconnect();
          theme.disconnect();
          clock.listeners.delete(redraw);
          for (const off of place.handlers) off();
          view.leave?.(place);
          store.places.delete(place);
        };
      },
    };
  };
}
