/* The page around the views: what goes in on the left, the video and its steps on the right, one more view below. The
   views themselves are widgets of their own, put into their places here. */

import { largeButton } from "./present.js";
import { saveMenu } from "./save.js";
import { isNew, portraitCard, promptCard, settingsCard, soundCard } from "./inputs.js";
import { laPicture } from "#liveavatar/web/canvas.js";
import { laElement } from "#liveavatar/web/element.js";
import { laSeconds, timeToGo } from "#liveavatar/web/format.js";
import { laTerm } from "#liveavatar/web/term.js";
import { live } from "./live.js";

const BENCH_PAGES = [   // name, view, title, what is seen there
  ["change", "change", "What changed", "What each step changed in the picture, on one scale and in words"],
  ["branch", "tree", "Branch", "Change one step and go on: the branches of this notebook"],
  ["cell", "grid", "One step", "The chosen step in depth: its pictures, all channels, numbers"],
  ["lips", "lips", "Lips", "The mouth against the sound"],
  ["memory", "memory", "Memory", "Who holds how much memory, step by step"],
  ["path", "path", "Path", "The noise levels, and how far each step goes"],
  ["caches", "caches", "Caches", "What each noise level remembers"],
  ["avatar", "designer", "Avatar", "Make the portrait"],
  ["runs", "gallery", "Runs", "The runs and videos of the folder: compare, open, make again, delete"],
];

const view = {
  name: "la-bench",

  build(ctx) {
    ctx.head = laElement("div", { class: "la-bench-head" });
    ctx.progress = laElement("div", { class: "la-bench-progress", role: "progressbar",
      "aria-label": "how much of the video is made" }, laElement("div"));
    ctx.left = laElement("div", { class: "la-bench-left" });
    ctx.player = laElement("div", { class: "la-bench-player" });
    ctx.grid = laElement("div", { class: "la-bench-grid" });
    ctx.tabs = laElement("div", { class: "la-bench-tabs", role: "tablist", "aria-label": "views" });
    ctx.pages = laElement("div", { class: "la-bench-pages" });
    const bottom = laElement("div", { class: "la-bench-bottom" }, ctx.tabs, ctx.pages);
    ctx.main.append(ctx.head, ctx.progress,
      laElement("div", { class: "la-bench-body" }, ctx.left, ctx.player, ctx.grid, bottom));
    ctx.fill = (box, make) => { const bar = ctx.bar; ctx.bar = box; make(); ctx.bar = bar; return box; };
    ctx.shows = [];                                    // called at every drawing
    ctx.known = new Map();
    ctx.opened = new Map();                            // page -> its element
    ctx.made = [];                                     // views in place
    view.buildHead(ctx);
    for (const card of [portraitCard, soundCard, promptCard, settingsCard]) card(ctx);
    ctx.on("change:_children", () => view.place(ctx));
    view.place(ctx);
  },

  /* ---- the row at the top */

  buildHead(ctx) {
    const steer = (what) => () => ctx.send("steer", { what });
    const state = laElement("div", { class: "la-bench-state", role: "status" });
    const buttons = ctx.fill(laElement("div", { class: "la-bench-buttons" }), () => {
      ctx.runButton = ctx.button("Run", "Make a new video (space)", () => ctx.send("run"), "la-main-button");
      ctx.pauseButton = ctx.button("Pause", "Pause after the step that is being made, or go on (space)",
        steer("toggle"));
      ctx.stepButton = ctx.button("Step", "Make one sampler step, then pause", steer("step"));
      ctx.blockButton = ctx.button("Block", "Go on until the next block is decoded, then pause", steer("block"));
      ctx.stopButton = ctx.button("Stop", "End within one step; what is done is kept. The interrupt button of " +
        "JupyterLab does the same", steer("stop"));
    });
    const save = saveMenu(ctx);
    const tools = ctx.fill(laElement("div", { class: "la-bench-tools" }), () => {
      ctx.bar.append(save.element);
      ctx.inputsButton = ctx.button("Inputs", "Show the portrait, sound, prompt and settings, or hide them",
        () => { ctx.root.classList.toggle("la-with-inputs"); ctx.changed(); });
      largeButton(ctx, ["Present", "Leave"], "Video, steps and one view over the whole screen", (large) => {
        ctx.inputsButton.hidden = !large;
        ctx.root.classList.remove("la-with-inputs");
      });
    });
    ctx.head.append(buttons, state, tools);
    ctx.shows.push((body) => {
      const run = body.run, going = run && ["running", "paused"].includes(run.state), paused = run?.state === "paused";
      ctx.pauseButton.textContent = paused ? "Go on" : "Pause";
      ctx.pauseButton.disabled = !going || body.preparing;
      ctx.runButton.classList.toggle("la-busy", body.busy);
      ctx.stepButton.disabled = ctx.blockButton.disabled = body.preparing || run?.state === "running";
      ctx.stopButton.disabled = !body.busy || run?.stopping;
      save.update(body);
      view.showState(ctx, state, body);
    });
  },

  showState(ctx, state, body) {
    const { run } = body, share = run?.total_s ? Math.min(run.done_s / run.total_s, 1) : 0;
    ctx.progress.firstChild.style.width = `${100 * share}%`;
    ctx.progress.classList.toggle("la-preparing", body.preparing);
    ctx.progress.setAttribute("aria-valuenow", Math.round(100 * share));
    if (!isNew(ctx, "state", body.says, run, ctx.body.busy)) return;
    if (body.says) { state.replaceChildren(laElement("b", {}, body.says)); return; }
    if (!run) { state.replaceChildren(laElement("b", {}, "Ready."), " One click on Run makes a video."); return; }
    const number = (value, ...words) => [laElement("b", {}, value), " ", ...words];
    const is = laElement("b", { class: `la-bench-is la-bench-is-${run.state}` }, run.stopping ? "stopping" : run.state);
    const [block, step] = run.paused_after ?? [];
    const where = run.paused_after ? [` after step ${step} of block ${block}`] : [];
    const parts = [[is, ...where], number(run.done_s.toFixed(2), `of ${laSeconds(run.total_s)}`)], left = timeToGo(run);
    if (left) parts.push(number(left, "to go"));
    if (run.x_realtime) parts.push(number(`${run.x_realtime.toFixed(2)}×`, laTerm("x_realtime", "real time")));
    if (run.first_picture_s !== null && !where.length) {
      parts.push(number(laSeconds(run.first_picture_s), laTerm("first_picture", "to the first picture")));
    }
    state.replaceChildren(...parts.map((part) => laElement("span", {}, ...part)));
  },

  /* ---- views in their places */

  async place(ctx) {
    const children = ctx.get("_children");
    if (!Object.keys(children).length || ctx.placed) return;
    ctx.placed = true;
    await view.mount(ctx, children.player, ctx.player);
    await view.mount(ctx, children.grid, ctx.grid);
    for (const [page, child, title, tip] of BENCH_PAGES) {
      if (!children[child]) continue;
      ctx.tabs.append(laElement("button", { type: "button", role: "tab", class: "la-tab", title: tip, "data-page": page,
        onclick: () => { ctx.set("page", page); view.open(ctx); } }, title));
    }
    ctx.on("change:page", () => view.open(ctx));
    view.open(ctx);
    ctx.changed();
  },

  async mount(ctx, id, box) {
    if (!id) { box.hidden = true; return; }
    const manager = ctx.model.widget_manager, child = await manager.create_view(await manager.get_model(id));
    ctx.made.push(child);
    box.append(child.el);
  },

  /* Show a page; its view is made when it is first opened. */
  open(ctx) {
    const children = ctx.get("_children"), known = BENCH_PAGES.filter(([, child]) => children[child]);
    const page = known.some(([name]) => name === ctx.get("page")) ? ctx.get("page") : known[0][0];
    for (const tab of ctx.tabs.children) tab.setAttribute("aria-selected", tab.dataset.page === page);
    if (!ctx.opened.has(page)) {
      const box = laElement("div", { class: `la-bench-page la-bench-page-${page}`, role: "tabpanel",
        "aria-label": known.find(([name]) => name === page)[2] });
      ctx.opened.set(page, box);
      ctx.pages.append(box);
      view.mount(ctx, children[known.find(([name]) => name === page)[1]], box);
    }
    for (const [name, box] of ctx.opened) box.hidden = name !== page;
  },

  /* ---- drawing */

  received(ctx, names) {
    for (const name of names) {
      const bytes = ctx.store.buffers.get(name), [what, width, height] = name.split("/");
      if (what === "wave") { ctx.wave = new Float32Array(bytes.slice().buffer); ctx.waves = (ctx.waves ?? 0) + 1; }
      if (what === "face") {
        ctx.faceSource = laPicture(bytes, Number(width), Number(height));
        ctx.faces = (ctx.faces ?? 0) + 1;
      }
    }
  },

  draw(ctx) {
    if (!ctx.body?.presets) return;
    for (const show of ctx.shows) show(ctx.body);
  },

  leave(ctx) {
    ctx.recorder.cancel();
    ctx.waveform.silence();
    for (const child of ctx.made) child.remove();
  },
};

export default live(view);
