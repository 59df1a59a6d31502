/* The bar of a view: controls that are bound to traits, what copies code, and what steers the run. */

import { laElement } from "#liveavatar/web/element.js";
import { laSeconds, timeToGo } from "#liveavatar/web/format.js";
import { LA_TERMS } from "#liveavatar/web/glossary.js";

export const LA_STEP_COUNTS = [1, 2, 3, 4, 5, 6, 8, 16, 32];          // denoising steps that every menu offers

export class Controls {
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
