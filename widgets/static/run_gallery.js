/* The runs of a folder: cards with thumbnail, recipe and figures; two that are chosen are compared. All text
   is text. */

import { laElement } from "#liveavatar/web/element.js";
import { laBytes } from "#liveavatar/web/format.js";
import { live } from "./live.js";

const view = {
  name: "la-gallery",

  build(ctx) {
    const search = laElement("input", { type: "search", class: "la-gallery-search", "aria-label": "search",
      placeholder: "name, prompt, seed …", oninput: () => ctx.set("search", search.value) });
    search.value = ctx.get("search");
    ctx.on("change:search", () => { if (search.value !== ctx.get("search")) search.value = ctx.get("search"); });
    ctx.field("search", "Show those in which every word occurs", search);
    ctx.button("Look again", "Read the folder again", () => ctx.send("look"));
    ctx.words = laElement("span", { class: "la-progress", role: "status" });
    ctx.bar.append(ctx.words);
    ctx.space();
    ctx.copyButton();
    ctx.cards = laElement("div", { class: "la-gallery-cards", role: "list", "aria-label": "runs" });
    ctx.compare = laElement("section", { class: "la-gallery-compare", "aria-label": "what differs",
      "aria-live": "polite" });
    ctx.main.append(ctx.compare, ctx.cards);
    ctx.urls = new Map();
  },

  received(ctx, names) {
    for (const name of names) {
      URL.revokeObjectURL(ctx.urls.get(name));
      ctx.urls.set(name, URL.createObjectURL(new Blob([ctx.store.buffers.get(name)], { type: "image/jpeg" })));
    }
  },

  draw(ctx) {
    const { entries, doing, where } = ctx.body;
    if (!entries) return;
    const count = entries.length === 1 ? "1 run" : `${entries.length} runs`;
    ctx.words.textContent = doing ? doing : entries.length ? `${count} in ${where}`
      : `Nothing found in ${where}.`;
    const state = JSON.stringify([entries, doing, ctx.get("chosen"), ctx.asked, [...ctx.urls]]);
    if (state !== ctx.drawn) {
      const at = document.activeElement, key = ctx.focusNext ?? (ctx.cards.contains(at) ? at.dataset.key : null);
      ctx.drawn = state;
      ctx.focusNext = null;
      ctx.cards.replaceChildren(...entries.map((entry) => view.card(ctx, entry)));
      if (key) view.focus(ctx, key);
    }
    view.drawCompare(ctx);
  },

  card(ctx, entry) {
    const place = ctx.get("chosen").slice(-2).indexOf(entry.path), chosen = place >= 0;
    const url = ctx.urls.get(entry.path);
    const picture = url ? laElement("img", { src: url, alt: "" }) : laElement("div", { class: "la-gallery-none" },
      "no picture");
    const pick = laElement("button", { type: "button", class: "la-gallery-pick", "aria-pressed": String(chosen),
      "data-key": entry.path,
      "aria-label": `Choose ${entry.name}`, title: "Choose it; two that are chosen are compared",
        onclick: () => view.choose(ctx, entry.path) },
      picture, chosen ? laElement("span", { class: `la-gallery-mark la-gallery-mark-${place}` }, "AB"[place]) : "");
    const line = (text, kind) => laElement("span", { class: kind }, text);
    return laElement("div", { class: `la-gallery-card${chosen ? ` la-gallery-chosen-${place}` : ""}`,
      role: "listitem" }, pick,
      laElement("b", { title: entry.path }, entry.name),
      line(`${entry.kind}, ${entry.modified}`, "la-gallery-soft"),
      line(entry.prompt ? `“${entry.prompt}”` : "no prompt", "la-gallery-prompt"),
      line([...entry.settings, ...entry.figures, laBytes(entry.bytes)].join(" · "), "la-gallery-soft"),
      ctx.asked === entry.path ? view.question(ctx, entry) : view.tools(ctx, entry));
  },

  tools(ctx, entry) {
    const open = laElement("button", { type: "button", class: "la-button", "data-key": `open ${entry.path}`,
      title: "Show it on this page", onclick: () => ctx.send("open", { path: entry.path }) }, "Open");
    const again = laElement("button", { type: "button", class: "la-button", "data-key": `again ${entry.path}`,
      title: "Make it again, with the same inputs and settings",
      onclick: () => ctx.send("again", { path: entry.path }) }, "Again");
    open.disabled = again.disabled = !!ctx.body.doing;
    return laElement("span", { class: "la-gallery-tools" }, ctx.body.opens ? open : "", again,
      laElement("button", { type: "button", class: "la-button", "data-key": `delete ${entry.path}`,
        title: "Delete it from the disk, after a question",
        onclick: () => view.ask(ctx, entry.path) }, "Delete …"));
  },

  question(ctx, entry) {
    return laElement("span", { class: "la-gallery-tools", role: "alertdialog", "aria-label": `Delete ${entry.name}?` },
      laElement("button", { type: "button", class: "la-button la-gallery-sure", "data-key": `sure ${entry.path}`,
        title: "It cannot be brought back",
        onclick: () => { ctx.send("delete", { path: entry.path }); view.ask(ctx, ""); } }, "Delete for good"),
      laElement("button", { type: "button", class: "la-button", "data-key": `keep ${entry.path}`,
        title: "Do not delete it",
        onclick: () => view.ask(ctx, "") }, "Keep"));
  },

  /* Ask before deleting; the question has the focus, on the harmless answer. */
  ask(ctx, path) {
    ctx.focusNext = path ? `keep ${path}` : `delete ${ctx.asked}`;
    ctx.asked = path;
    ctx.changed();
  },

  focus(ctx, key) {
    ([...ctx.cards.querySelectorAll("[data-key]")].find((element) => element.dataset.key === key) ?? ctx.root).focus();
  },

  choose(ctx, path) {
    const chosen = ctx.get("chosen");
    ctx.set("chosen", chosen.includes(path) ? chosen.filter((one) => one !== path) : [...chosen, path].slice(-2));
  },

  drawCompare(ctx) {
    const { compared, differences } = ctx.body;
    ctx.compare.hidden = compared.length < 2;
    if (ctx.compare.hidden) return;
    const cell = (text, kind) => laElement("td", { class: kind }, text);
    const rows = differences.map(([name, one, other]) => laElement("tr", {}, laElement("th", { scope: "row" },
      name.replaceAll("_", " ")),
      cell(one, "la-gallery-a"), cell(other, "la-gallery-b")));
    const head = laElement("tr", {}, laElement("th", {}, "what differs"), laElement("th", {}, `A: ${compared[0]}`),
      laElement("th", {}, `B: ${compared[1]}`));
    ctx.compare.replaceChildren(rows.length ? laElement("table", {}, head, ...rows)
      : laElement("p", {},
        `${compared[0]} and ${compared[1]} have the same recipe: same inputs, prompt, seed and settings.`));
  },

  key(ctx, key) {
    const picks = [...ctx.cards.querySelectorAll(".la-gallery-pick")];
    const at = picks.findIndex((pick) => pick.closest(".la-gallery-card").contains(document.activeElement));
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: view.columns(picks), ArrowUp: -view.columns(picks) }[key];
    if (step && picks.length) {
      picks[at < 0 ? 0 : Math.min(Math.max(at + step, 0), picks.length - 1)].focus();
      return true;
    }
    if (key === "Delete" && at >= 0) { view.ask(ctx, picks[at].dataset.key); return true; }
    if (key === "Escape" && ctx.asked) { view.ask(ctx, ""); return true; }
    return key === " ";                                // there is no run that it could start
  },

  columns(picks) {
    const top = picks[0]?.getBoundingClientRect().top;
    return Math.max(picks.filter((pick) => Math.abs(pick.getBoundingClientRect().top - top) < 2).length, 1);
  },

  leave(ctx) { for (const url of ctx.urls.values()) URL.revokeObjectURL(url); },
};

export default live(view);
