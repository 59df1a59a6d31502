/* The branches of a run as a tree, and the form that makes one more at the chosen step. */

import { laElement } from "#liveavatar/web/element.js";
import { laPercent } from "#liveavatar/web/format.js";
import { live } from "./live.js";

const view = {
  name: "la-branches",

  build(ctx) {
    ctx.where = laElement("b", { role: "status" });
    ctx.choice = laElement("select", { "data-trait": "change", "aria-label": "what the branch changes",
      onchange: () => ctx.set("change", ctx.choice.value) });
    ctx.holder = laElement("span", {});
    ctx.form = laElement("div", { class: "la-branches-form" }, ctx.where, laElement("label", { class: "la-field" },
      "change", ctx.choice), ctx.holder);
    const bar = ctx.bar;
    ctx.bar = ctx.form;
    ctx.make = ctx.button("Branch here", "Make another future from this step on; what comes before stays the same",
      () => ctx.send("branch"), "la-main-button");
    ctx.bar = bar;
    ctx.list = laElement("ul", { "aria-label": "the runs of this notebook" });
    ctx.hint = laElement("p", { class: "la-note" }, "Choose a cell of the grid and what to change. The branch begins "
      + "with that step; everything before it stays the same.");
    ctx.recipe = laElement("pre", { "aria-label": "the run that is shown, as Python" });
    ctx.main.append(ctx.form, ctx.list, ctx.hint, ctx.recipe);
  },

  draw(ctx) {
    const { nodes, form, point } = ctx.body;
    if (!nodes) return;
    view.drawForm(ctx, form, point);
    const key = JSON.stringify(nodes);
    if (key !== ctx.drawn) {
      const at = ctx.list.contains(document.activeElement) ? document.activeElement.dataset.key : null;
      ctx.drawn = key;
      ctx.list.replaceChildren(...nodes.map((node, number) => view.row(ctx, node, number)));
      if (at) ctx.list.querySelector(`[data-key="${at}"]`)?.focus();
    }
    ctx.hint.hidden = nodes.length > 1;
    const shown = nodes.find((node) => node.shown);
    ctx.recipe.textContent = shown?.recipe ?? "";
    ctx.recipe.hidden = !shown?.recipe;
  },

  drawForm(ctx, form, point) {
    const sigma = point?.sigma === null || !point ? "" : ` (noise ${point.sigma.toFixed(2)})`;
    ctx.where.textContent = point ? `At block ${point.block}, step ${point.step}${sigma}` : "No step is made yet";
    if (!ctx.choice.options.length) {
      ctx.choice.replaceChildren(...form.map(([name, words]) => laElement("option", { value: name }, words)));
    }
    ctx.choice.value = ctx.get("change");
    ctx.make.disabled = !point || ctx.body.run.state === "running";
    const [, words, control] = form.find(([name]) => name === ctx.get("change"));
    if (ctx.kind !== ctx.get("change")) {
      ctx.kind = ctx.get("change");
      ctx.control = view.control(ctx, words, control);
      ctx.holder.replaceChildren(...(ctx.control ? [ctx.control] : []));
    }
    if (ctx.control && ctx.control !== document.activeElement) ctx.control.value = ctx.get("value");
  },

  control(ctx, words, { kind, options, min, max, step }) {
    if (!kind) return null;
    const set = (event) => ctx.set("value", event.target.value), label = `${words}: value`;
    if (kind === "select") {
      return laElement("select", { "aria-label": label, "data-trait": "value", onchange: set },
        ...options.map((option) => laElement("option", { value: option }, option)));
    }
    return laElement("input", { type: kind, min, max, step, "aria-label": label, "data-trait": "value", oninput: set });
  },

  row(ctx, node, number) {
    const share = node.total_s ? Math.round((100 * node.done_s) / node.total_s) : 0;
    const state = node.state === "finished" ? "" : `${node.state}, ${share} %`;
    const much = node.apart ? `${laPercent(node.apart)} apart` : "the same";
    const apart = node.apart === null ? "" : `${much} at its end`;
    const facts = [state, apart].filter((words) => words).join(" · ");
    const name = laElement("button", { type: "button", class: "la-branches-name", "data-key": `show ${number}`,
      "aria-current": node.shown ? "true" : null, title: "Show this run, beside its parent",
      onclick: () => ctx.send("select", { number }) }, node.words);
    const row = laElement("li", { "data-shown": String(node.shown), style: `margin-left:${22 * node.depth}px` }, name,
      laElement("span", { class: "la-branches-facts" }, facts));
    const bar = ctx.bar;
    ctx.bar = row;
    if (node.recipe) {
      const copy = ctx.copyButton(() => node.recipe, "Copy Python that makes this branch from the first run");
      copy.dataset.key = `copy ${number}`;             // the focus stays on it when the list is drawn anew
    }
    if (node.leaf && !node.shown) {
      ctx.button("Forget", "Take this run out of the tree", () => ctx.send("forget", { number }), "la-quiet");
    }
    ctx.bar = bar;
    return row;
  },
};

export default live(view);
