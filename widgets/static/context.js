/* One view in one place of the page: its traits, its messages, the time cursor, and when it is drawn. */

import { Controls } from "./controls.js";
import { keepFocus } from "./keys.js";
import { laTheme } from "#liveavatar/web/canvas.js";
import { laElement } from "#liveavatar/web/element.js";

/* One clock a page for all views with the same cursor, so that they move together without asking the kernel. */
function laClock(name) {
  const clocks = (window.__liveavatarClocks ??= new Map());
  if (!clocks.has(name)) clocks.set(name, { time: 0, count: 0, sent: [], listeners: new Set() });
  return clocks.get(name);
}

export class LaContext extends Controls {
  constructor(view, store, model, el) {
    super();
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
      try {
        keepFocus(this.root, () => this.view.draw(this));
      } catch (problem) {
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
}
