/* The plan of a run: settings on top, the verdict, the stages as stacked bars, whose memory it is, what would help. */

import { laCanvas } from "#liveavatar/web/canvas.js";
import { laElement } from "#liveavatar/web/element.js";
import { laGib } from "#liveavatar/web/format.js";
import { live } from "./live.js";

const view = {
  name: "la-planner",

  build(ctx) {
    const list = (trait, label, tip, words = String) => {
      const select = laElement("select", { "data-trait": trait,
        onchange: () => { ctx.set("moment", -1); ctx.set(trait, ctx.lists[trait].options[select.selectedIndex]); } });
      ctx.lists ??= {};
      ctx.lists[trait] = { select, options: [], words };
      return ctx.field(label, tip, select);
    };
    list("backend", "model", "The model");
    ctx.gpuField = list("gpu", "card", "GPU; figures and their sources: liveavatar plan --cards");
    ctx.countField = list("gpus", "cards", "How many of them");
    ctx.spreadField = list("spread", "share", "Over several cards: steps (timestep pipelining) or weights (FSDP)",
      (word) => ({ tpp: "steps (TPP)", fsdp: "weights (FSDP)" }[word]));
    list("size", "size", "width*height in pixels");
    ctx.slider("steps", "steps", "Sampler steps; each keeps a cache of its own", { min: 1, max: 8 });
    ctx.switches = [ctx.check("fp8", "fp8 weights", "Weights of the layers in 8 bits"),
      ctx.check("nf4", "nf4 weights", "Weights of the layers in 4 bits, instead of 8"),
      ctx.check("fp8_caches", "fp8 caches", "Keys and values in 8 bits"),
      ctx.check("fp8_attention", "fp8 attention", "Self-attention in 8 bits, its caches with it"),
      ctx.check("offload_model", "encoders offloaded", "Text and sound encoders wait in main memory (offload_model)"),
      ctx.check("offload_kv_cache", "caches offloaded", "Caches wait in main memory (offload_kv_cache)")];
    ctx.space();
    ctx.copyButton();
    ctx.wait = laElement("div", { class: "la-note la-planner-wait", role: "status" },
      "Working it out: every stage is run once without numbers …");
    ctx.verdict = laElement("div", { class: "la-planner-verdict", role: "status" });
    ctx.canvas = laElement("canvas", { role: "img", "aria-label": "predicted memory of every stage" });
    ctx.owners = laElement("div", { class: "la-planner-owners" });
    ctx.pace = laElement("div", { class: "la-note la-planner-time" });
    ctx.advice = laElement("div", { class: "la-planner-advice" });
    ctx.helps = laElement("div", { class: "la-planner-helps" });
    ctx.why = laElement("details", { class: "la-planner-why" });
    ctx.main.append(ctx.wait, ctx.verdict, laElement("div", { class: "la-planner-wrap" }, ctx.canvas, ctx.owners),
      ctx.pace, ctx.advice, ctx.helps, ctx.why);
    const at = (event) => view.stageAt(ctx, event);
    ctx.canvas.addEventListener("pointermove", (event) => { ctx.over = at(event); ctx.changed(); });
    ctx.canvas.addEventListener("pointerleave", () => { ctx.over = null; ctx.changed(); });
    ctx.canvas.addEventListener("pointerdown", (event) => ctx.set("moment", at(event) ?? -1));
  },

  /* ---- the stage that is described on the right: pointed at, chosen, or the peak */

  stageAt(ctx, event) {
    const { left, step, count } = ctx.layout ?? {}, place = Math.floor((event.offsetX - left) / step);
    return count && place >= 0 && place < count ? place : null;
  },

  shown(ctx) {
    const chosen = ctx.over ?? (ctx.get("moment") >= 0 ? ctx.get("moment") : ctx.body.peak);
    return Math.min(chosen, ctx.body.moments.length - 1);
  },

  draw(ctx) {
    const body = ctx.body;
    ctx.main.classList.toggle("la-planner-working", !!body?.working);
    ctx.wait.hidden = !body?.working;
    if (body?.sizes) view.fillLists(ctx);
    if (!body?.moments) return;
    ctx.verdict.className = `la-planner-verdict la-planner-${body.verdict.replaceAll(" ", "-")}`;
    const [head, ...rest] = body.sentence.split(": ");
    ctx.verdict.replaceChildren(laElement("b", {}, head), ` ${rest.join(": ")}`);
    view.drawStages(ctx);
    view.writeOwners(ctx);
    view.writeTime(ctx);
    view.writeLists(ctx);
  },

  fillLists(ctx) {
    const { body } = ctx, mini = ctx.get("backend") === "mini";
    const options = { backend: ["wan-s2v-14b", "mini"], gpu: body.gpu_names, gpus: body.counts, spread: ["tpp", "fsdp"],
      size: body.sizes };
    for (const [trait, { select, words }] of Object.entries(ctx.lists)) {
      let values = options[trait];
      const now = ctx.get(trait);
      if (!values.includes(now) && trait !== "size") values = [...values, now];
      if (ctx.lists[trait].options.join() !== values.join()) {
        ctx.lists[trait].options = values;
        select.replaceChildren(...values.map((value) => laElement("option", {}, words(value))));
      }
      select.selectedIndex = Math.max(values.indexOf(now), 0);
    }
    for (const field of [ctx.gpuField, ctx.countField, ...ctx.switches]) field.hidden = mini;
    ctx.spreadField.hidden = mini || ctx.get("gpus") === 1;
  },

  /* ---- bars */

  drawStages(ctx) {
    const { moments, usable, peak, owners } = ctx.body, theme = ctx.theme();
    const width = Math.max(ctx.canvas.parentElement.clientWidth - 262, 320), height = 300, foot = 92, left = 58;
    const top = 18;
    const pen = laCanvas(ctx.canvas, width, height), shown = view.shown(ctx);
    const highest = Math.max(...moments.map((one) => one.sum));
    const most = 1.08 * (usable < 3 * highest ? Math.max(highest, usable) : highest);
    const step = (width - left - 8) / moments.length, y = (value) => top + (height - foot - top) * (1 - value / most);
    ctx.layout = { left, step, count: moments.length };
    pen.font = `11px ${theme.font}`;
    const steps = [0.05, 0.1, 0.2, 0.25, 0.5, 1, 2, 5, 10, 20, 50, 100];
    const tick = steps.find((size) => most / size <= 6) ?? 200;
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    for (let value = 0; value <= most; value += tick) {
      pen.strokeStyle = theme.faint;
      pen.beginPath(); pen.moveTo(left, y(value)); pen.lineTo(width, y(value)); pen.stroke();
      pen.fillStyle = theme.soft;
      pen.fillText(`${Number(value.toFixed(2))}`, left - 6, y(value));
    }
    pen.fillText("GiB", left - 6, 8);
    moments.forEach((moment, i) => {
      const x = left + i * step, bar = Math.min(step * 0.8, 46), at = x + (step - bar) / 2;
      let low = 0;
      if (i === shown) { pen.fillStyle = theme.faint; pen.fillRect(x, top, step, height - foot - top); }
      for (const name of Object.keys(owners)) {
        const size = moment.owners[name] ?? 0;
        if (!size) continue;
        pen.fillStyle = ctx.body.colours[name];
        pen.fillRect(at, y(low + size), bar, Math.max(y(low) - y(low + size), 0.6));
        low += size;
      }
      pen.save();
      pen.translate(at + bar / 2 + 3, height - foot + 9);
      pen.rotate(-Math.PI / 5);
      pen.fillStyle = i === shown ? theme.ink : theme.soft;
      pen.font = `${i === peak ? "600 " : ""}11px ${theme.font}`;
      pen.fillText(moment.words, 0, 0);
      pen.restore();
    });
    if (usable <= most) {
      pen.strokeStyle = theme.vermilion;
      pen.setLineDash([6, 4]);
      pen.lineWidth = 1.5;
      pen.beginPath(); pen.moveTo(left, y(usable)); pen.lineTo(width, y(usable)); pen.stroke();
      pen.setLineDash([]);
      pen.textAlign = "left";
      pen.textBaseline = "bottom";
      pen.fillStyle = theme.ink;
      pen.fillText(`${laGib(usable)} usable`, left + 6, y(usable) - 2);
    }
  },

  writeOwners(ctx) {
    const { moments, owners, peak, devices } = ctx.body, place = view.shown(ctx), moment = moments[place];
    const rows = Object.entries(moment.owners).sort((a, b) => b[1] - a[1]).map(([name, size]) => laElement("tr", {},
      laElement("td", {}, laElement("span", { class: "la-planner-dot", style: `background:${ctx.body.colours[name]}` }),
        owners[name]),
      laElement("td", { class: "la-planner-number" }, laGib(size))));
    const total = laElement("tr", { class: "la-planner-total" }, laElement("td", {}, "predicted"),
      laElement("td", { class: "la-planner-number" }, laGib(moment.sum)));
    const cards = devices.length ? laElement("div", { class: "la-note la-planner-cards" },
      ...devices.map((one, i) => laElement("div", {}, `card ${i}: ${one.role}, ${laGib(one.peak)}`))) : null;
    ctx.owners.replaceChildren(laElement("div", { class: "la-planner-stage" }, moment.words +
      (place === peak ? " (the peak)" : "")),
      laElement("table", { class: "la-numbers" }, ...rows, total), ...(cards ? [cards] : []));
  },

  writeTime(ctx) {
    const time = ctx.body.time;
    ctx.pace.hidden = !time;
    if (!time) return;
    const ms = (value) => `${Math.round(value)} ms`;
    ctx.pace.textContent =
      `Estimated from the card's sheet, not measured: a step ${ms(time.step_ms)} when compiled, decoding `
      + `${ms(time.decode_ms)}, a block of 12 frames every ${ms(time.block_ms)}; `
      + `it lasts ${ms(time.deadline_ms)} on screen, so ${(time.deadline_ms / time.block_ms).toFixed(2)}× real time.`;
  },

  writeLists(ctx) {
    const { advice, changes, why } = ctx.body, key = JSON.stringify([advice, changes, why]);
    if (ctx.written === key) return;                       // leave alone what a person may be reading or clicking
    ctx.written = key;
    ctx.advice.replaceChildren(...advice.map((one) => laElement("div",
      { class: one.refused ? "la-planner-refused" : "la-planner-warned" },
      laElement("b", {}, one.refused ? "Refused: " : "Note: "), `${one.reason}. `,
        laElement("i", {}, `Remedy: ${one.remedy}.`))));
    const rows = changes.map((one, index) => laElement("div", { class: "la-planner-change" },
      laElement("button", { type: "button", class: "la-button", onclick: () => ctx.send("take", { index }) },
        one.words),
      laElement("span", {}, laElement("b", {}, `${one.verdict}, ${one.peak}. `),
        one.saves ? `Saves ${one.saves}. ` : "", `Costs: ${one.costs}.`)));
    ctx.helps.replaceChildren(...(rows.length ? [laElement("h4", {}, "What helps, the cheapest first"), ...rows] : []));
    ctx.why.replaceChildren(laElement("summary", {}, "Why it is so"), ...why.map((words) => laElement("p", {}, words)));
  },

  key(ctx, key) {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[key];
    if (!move || !ctx.body?.moments) return key === " ";
    const next = view.shown(ctx) + move;
    ctx.set("moment", Math.min(Math.max(next, 0), ctx.body.moments.length - 1));
    return true;
  },
};

export default live(view);
