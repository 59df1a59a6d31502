/* Two runs compared: where their latents part, step by step and block by block, where their pictures do, and the
   figures of both. */

import { laCanvas } from "#liveavatar/web/canvas.js";
import { laElement } from "#liveavatar/web/element.js";
import { laPercent } from "#liveavatar/web/format.js";
import { laTerm } from "#liveavatar/web/term.js";

const PAIR_ROW = 13, PAIR_GAP = 2, PAIR_FULL = 0.7;         // px; a difference that is drawn in full colour
const PAIR_FIGURES = [   // field, element, unit, digits, factor
  ["lips_late_ms", () => laTerm("lip_delay", "lips late"), " ms", 0, 1],
  ["lips_peak", () => laTerm("lip_correlation", "lips follow the sound"), "", 2, 1],
  ["mouth", () => laTerm("mouth_opening", "mouth open"), "", 2, 1],
  ["detail_kept", () => laTerm("detail", "detail kept"), " %", 0, 100],
  ["identity", () => laTerm("identity_distance", "from the portrait's colours"), " %", 1, 100],
];

export class RunPairPanel {
  constructor(ctx) {
    this.ctx = ctx;
    this.canvas = laElement("canvas", { role: "img", title: "Click to move the time cursor there" });
    this.labels = laElement("div", { class: "la-pair-labels", "aria-hidden": "true" });
    this.words = laElement("span", { class: "la-note" });
    this.table = laElement("table", { class: "la-numbers la-pair-table" });
    const lane = laElement("div", { class: "la-pair-lane" }, this.labels, laElement("div", {}, this.canvas));
    const head = laElement("div", {}, laTerm("latent_difference", "latents"), " and ",
      laTerm("pixel_difference", "pictures"), " apart: ", this.words);
    this.element = laElement("div", { class: "la-pair", hidden: true }, head, lane, this.table);
    this.canvas.addEventListener("click", (event) => this.clicked(event));
    this.canvas.addEventListener("pointermove", (event) => { this.canvas.title = this.wordsAt(event); });
  }

  /* [block, row] under the pointer; the row after the last step is that of the pictures. */
  placeOf(event) {
    const { blocks, steps } = this.pair, block = Math.floor((event.offsetX / this.canvas.clientWidth) * blocks);
    return [Math.min(Math.max(block, 0), blocks - 1), Math.min(Math.floor(event.offsetY / PAIR_ROW), steps)];
  }

  clicked(event) {
    if (this.pair) this.ctx.move((this.placeOf(event)[0] + 0.5) * this.ctx.body.run.block_s);
  }

  wordsAt(event) {
    if (!this.pair) return "";
    const [block, row] = this.placeOf(event), { steps, latents, pixels } = this.pair;
    const value = row < steps ? latents[row][block] : pixels[block];
    const what = row < steps ? `latents after step ${row}` : "pictures";
    return `block ${block}, ${what}: ${value === null ? "not known" : `${laPercent(value)} apart`}`;
  }

  update(body) {
    const pair = body.pair, theme = this.ctx.theme();
    this.element.hidden = !pair;
    this.pair = pair;
    if (!pair) return;
    this.drawLane(pair, theme, body.run.block_s);
    this.drawTable(pair, body.names);
  }

  drawLane(pair, theme, blockSeconds) {
    const { steps, blocks, latents, pixels } = pair, height = (steps + 1) * PAIR_ROW;
    const names = [...Array(steps).keys()].map((step) => `step ${step}`).concat("pictures");
    if (this.labels.dataset.steps !== String(steps)) {
      this.labels.dataset.steps = steps;
      this.labels.replaceChildren(...names.map((name) => laElement("span", {}, name)));
    }
    const width = Math.max(this.canvas.parentElement.clientWidth, 60), part = width / blocks;
    const pen = laCanvas(this.canvas, width, height);
    [...latents, pixels].forEach((row, line) => row.forEach((value, block) => {
      const x = block * part, wide = Math.max(part - PAIR_GAP, 1), y = line * PAIR_ROW;
      pen.globalAlpha = 1;
      pen.fillStyle = theme.faint;
      pen.fillRect(x, y, wide, PAIR_ROW - PAIR_GAP);
      if (value === null || value === 0) return;
      const full = line < steps ? PAIR_FULL : PAIR_FULL / 7;             // pictures differ by far less than latents
      pen.globalAlpha = Math.max(Math.sqrt(Math.min(value / full, 1)), 0.08);
      pen.fillStyle = line < steps ? theme.steps[line % 8] : theme.vermilion;
      pen.fillRect(x, y, wide, PAIR_ROW - PAIR_GAP);
    }));
    pen.globalAlpha = 1;
    pen.fillStyle = theme.ink;
    pen.fillRect(Math.min((this.ctx.time / blockSeconds) * part, width - 2), 0, 2, height);
    this.words.textContent = this.sentence(pair);
    this.canvas.setAttribute("aria-label", this.words.textContent);
  }

  sentence({ steps, blocks, latents, pixels }) {
    for (let block = 0; block < blocks; block++) {
      for (let step = 0; step < steps; step++) {
        if (!latents[step][block]) continue;
        const most = Math.max(...pixels.map((value) => value ?? 0));
        const pictures = most ? `; the pictures by up to ${laPercent(most)}` : "";
        return (block || step ? `the same before block ${block}, step ${step}` : "from the first step on") + pictures;
      }
    }
    return latents.flat().some((value) => value !== null) ? "nothing, all steps are the same" : "not known yet";
  }

  drawTable(pair, names) {
    const { a, b } = pair.figures, key = JSON.stringify([pair.figures, names]);
    if (this.shown === key) return;
    this.shown = key;
    const known = a && b ? PAIR_FIGURES.filter(([field]) => a[field] !== null || b[field] !== null) : [];
    const number = (value, unit, digits, factor) =>
      (value === null ? "–" : `${(value * factor).toFixed(digits)}${unit}`);
    const row = (name, side) => laElement("tr", {}, laElement("th", { scope: "row", title: names[name] },
      name.toUpperCase()), ...known.map(([field, , unit, digits, factor]) =>
      laElement("td", {}, number(side[field], unit, digits, factor))));
    const head = laElement("tr", {}, laElement("th", {}, "from there on"),
      ...known.map(([, label]) => laElement("th", { scope: "col" }, label())));
    this.table.replaceChildren(...(known.length ? [head, row("a", a), row("b", b)] : []));
  }
}
