/* A portrait by hand. Buffers: "picture/width/height" and "faces/width/height", raw RGB, faces one below the other. */

import { laCanvas, laPicture } from "#liveavatar/web/canvas.js";
import { laElement } from "#liveavatar/web/element.js";
import { live } from "./live.js";

const view = {
  name: "la-designer",

  build(ctx) {
    const press = (kind, content) => () => ctx.send(kind, content);
    ctx.picture = laElement("canvas", { class: "la-designer-picture", role: "img", "aria-label": "the portrait" });
    ctx.faces = laElement("div", { class: "la-designer-faces", role: "group", "aria-label": "somebody to begin with" });
    ctx.saved = laElement("div", { class: "la-note la-designer-saved", role: "status" });
    const buttons = laElement("div", { class: "la-designer-buttons" });
    const bar = ctx.bar;
    ctx.bar = buttons;
    ctx.button("Random", "Somebody else (R)", press("random"), "la-main-button");
    ctx.back = ctx.button("Back", "Take the last change back (Z)", press("back"));
    ctx.button("Save", "Write a PNG that carries who it shows", press("save"));
    ctx.copyButton();
    ctx.bar = bar;
    const left = laElement("div", { class: "la-designer-left" }, ctx.picture, buttons, ctx.faces, ctx.saved);
    ctx.controls = laElement("div", { class: "la-designer-controls" });
    ctx.main.append(laElement("div", { class: "la-designer-wrap" }, left, ctx.controls));
    ctx.shows = new Map();
    ctx.wanted = null;
  },

  /* ---- what is chosen goes to the kernel one message at a time: a picture comes back before the next one leaves */

  choose(ctx, name, value) {
    ctx.wanted = { ...ctx.wanted, [name]: value };
    view.tell(ctx);
  },

  tell(ctx) {
    if (ctx.waiting || !ctx.wanted) return;
    ctx.send("choose", { choices: ctx.wanted });
    ctx.wanted = null;
    ctx.waiting = setTimeout(() => { ctx.waiting = null; view.tell(ctx); }, 700);
  },

  received(ctx, names) {
    for (const name of names) {
      const [what, width, height] = name.split("/");
      if (what === "picture" || what === "faces")
        ctx[`${what}Source`] = laPicture(ctx.store.buffers.get(name), Number(width), Number(height));
    }
    if (names.some((name) => name.startsWith("picture"))) {
      clearTimeout(ctx.waiting);
      ctx.waiting = null;
      view.tell(ctx);
    }
  },

  /* ---- the controls, made when the kernel has described them */

  buildControls(ctx) {
    ctx.built = true;
    for (const [title, controls] of ctx.body.groups) {
      const rows = controls.map((control) => laElement("div", { class: "la-designer-row" },
        laElement("span", { class: "la-designer-label", title: control.unit || control.label }, control.label),
        view[control.kind](ctx, control)));
      ctx.controls.append(laElement("section", {}, laElement("h4", {}, title), ...rows));
    }
  },

  swatches(ctx, control) {
    const dots = control.options.map((word, i) => laElement("button", { type: "button", class: "la-swatch", title: word,
      "aria-label": `${control.label}: ${word}`,
      style: `background:${control.colours[i]}`, onclick: () => view.choose(ctx, control.name, word) }));
    ctx.shows.set(control.name, (value) => dots.forEach((dot, i) => dot.setAttribute("aria-pressed",
      control.options[i] === value)));
    return laElement("span", { class: "la-designer-swatches" }, ...dots);
  },

  words(ctx, control) {
    const list = laElement("select", { "aria-label": control.label, "data-choice": control.name,
      onchange: () => view.choose(ctx, control.name, list.value) },
      ...control.options.map((word) => laElement("option", {}, word)));
    ctx.shows.set(control.name, (value) => { list.value = value; });
    return list;
  },

  switch(ctx, control) {
    const box = laElement("input", { type: "checkbox", "aria-label": control.label, "data-choice": control.name,
      onchange: () => view.choose(ctx, control.name, box.checked) });
    ctx.shows.set(control.name, (value) => { box.checked = value; });
    return box;
  },

  slider(ctx, control) {
    const { low, high } = control, range = laElement("input", { type: "range", min: low, max: high,
      step: (high - low) / 100, title: `${control.unit}. Double click: as this person was born.`,
      "aria-label": control.label, "data-choice": control.name });
    range.addEventListener("input", () => view.choose(ctx, control.name, Number(Number(range.value).toFixed(4))));
    range.addEventListener("dblclick", () => view.choose(ctx, control.name, null));
    range.addEventListener("pointerdown", () => { ctx.held = control.name; });
    range.addEventListener("pointerup", () => { ctx.held = null; });
    ctx.shows.set(control.name, (value) => { if (ctx.held !== control.name) range.value = value; });
    return range;
  },

  /* ---- drawing */

  draw(ctx) {
    if (!ctx.body?.groups) return;
    if (!ctx.built) view.buildControls(ctx);
    ctx.controls.hidden = !ctx.get("wide");
    const side = ctx.picture.parentElement.clientWidth, pen = laCanvas(ctx.picture, side, side);
    pen.imageSmoothingQuality = "high";
    if (ctx.pictureSource) pen.drawImage(ctx.pictureSource, 0, 0, side, side);
    for (const [name, show] of ctx.shows) show(ctx.body.values[name]);
    ctx.back.disabled = !ctx.body.can_go_back;
    ctx.saved.textContent = ctx.body.saved;
    view.drawFaces(ctx);
  },

  drawFaces(ctx) {
    const { faces } = ctx.body;
    if (ctx.faces.childElementCount !== faces.length + 1) {
      ctx.faces.replaceChildren(...faces.map(() => laElement("button", { type: "button", class: "la-designer-face" },
        laElement("canvas"))),
        laElement("button", { type: "button", class: "la-designer-face la-designer-more", title: "Other people",
          onclick: () => ctx.send("more") }, "more"));
    }
    if (ctx.facesDrawn === ctx.facesSource) return;
    ctx.facesDrawn = ctx.facesSource;
    faces.forEach((seed, i) => {
      const button = ctx.faces.children[i], pen = laCanvas(button.firstChild, 44, 44), side = ctx.facesSource.width;
      button.title = `seed ${seed}`;
      button.onclick = () => ctx.send("random", { seed });
      pen.drawImage(ctx.facesSource, 0, i * side, side, side, 0, 0, 44, 44);
    });
  },

  key(ctx, key) {
    if (key === "r" || key === "R") ctx.send("random");
    else if (key === "z" || key === "Z") ctx.send("back");
    else return key === " ";
    return true;
  },

  leave(ctx) { clearTimeout(ctx.waiting); },
};

export default live(view);
