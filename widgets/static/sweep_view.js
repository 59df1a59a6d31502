/* The grid of a sweep, drawn by sweep_grid.js; here it is joined to the kernel. */

import { sgVideoUrl, SweepGrid } from "#liveavatar/study/static/sweep_grid.js";
import { laElement } from "#liveavatar/web/element.js";
import { live } from "./live.js";

const view = {
  name: "la-sweep",

  build(ctx) {
    ctx.sweepButton = ctx.button("Go on", "Make the videos that are missing, or stop after the one being made",
      () => ctx.send("sweep"), "la-main-button");
    ctx.sweepWords = laElement("span", { class: "la-progress" });
    ctx.bar.append(ctx.sweepWords);
    ctx.space();
    ctx.copyButton();
    ctx.urls = new Map();
    ctx.state = {};
    view.take(ctx);
    ctx.sweepGrid = new SweepGrid(ctx.main, ctx.state, (name, value) => ctx.set(name, value));
  },

  /* The user's choices, as the kernel knows them. */
  take(ctx) {
    for (const name of ["sort", "descending", "x", "y", "selected", "most", "heard"]) ctx.state[name] = ctx.get(name);
  },

  received(ctx, names) {
    for (const name of names) {
      const bytes = ctx.store.buffers.get(name);
      if (!bytes || ctx.urls.get(name)?.size === bytes.length) continue;
      ctx.urls.set(name, { url: sgVideoUrl(bytes), size: bytes.length });
    }
  },

  draw(ctx) {
    const { body } = ctx;
    view.take(ctx);
    ctx.sweepWords.textContent = body.words ?? "";
    ctx.sweepButton.textContent = body.running ? "Stop" : "Go on";
    ctx.sweepButton.hidden = !ctx.get("controls") || !(body.running || body.done < body.total);
    const cells = body.cells.map((cell) => ({ ...cell, video: ctx.urls.get(cell.key)?.url ?? "" }));
    ctx.sweepGrid.update({ ...body, cells });
  },

  key(ctx, key) { return ctx.sweepGrid.key(key); },

  leave(ctx) {
    ctx.sweepGrid.leave();
    for (const { url } of ctx.urls.values()) URL.revokeObjectURL(url);
  },
};

export default live(view);
