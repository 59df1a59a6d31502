/* Flow matching in two dimensions: the plane with its modes, the exact field, the student, and what both are worth. */

import { drawChart, FLOW_STEPS } from "./flow_chart.js";
import { drawArrows, drawDensity, drawModes, drawPath, planeScale } from "./flow_plane.js";
import { laCanvas } from "#liveavatar/web/canvas.js";
import { laElement } from "#liveavatar/web/element.js";
import { laFloats, laPercent } from "#liveavatar/web/format.js";
import { LA_TERMS } from "#liveavatar/web/glossary.js";
import { laTerm } from "#liveavatar/web/term.js";
import { live } from "./live.js";

const FLOW_PLAY_MS = 3500;
const JOB_WORDS = { mean: "hold mean", distribution: "match distribution" };
const OTHER_JOB = { mean: "distribution", distribution: "mean" };
const METHOD_WORDS = [["regression", "regression"], ["consistency", "consistency"], ["dmd", "DMD"]];

const view = {
  name: "la-flow",

  build(ctx) {
    ctx.slider("modes", "modes", "Number of modes of the data", { min: 1, max: 8 });
    ctx.overlapField = ctx.slider("width", "overlap", LA_TERMS.overlap, { min: 0.05, max: 1.5, step: 0.05,
      words: () => laPercent(ctx.body?.overlap ?? 0) });
    ctx.openField = ctx.slider("left_open", "left open", LA_TERMS.left_open,
      { min: 1, max: 8, words: () => `${ctx.body?.open ?? ""}` });
    ctx.stepButtons = view.segments(ctx, "steps", "steps of the exact field", FLOW_STEPS, "steps");
    ctx.slider("sigma", "noise", "Noise level in view: 1 is pure noise, 0 the data (arrow keys)",
      { step: 0.01, words: (value) => value.toFixed(2) });
    ctx.play = ctx.button("Play", "Let the noise fall from 1 to 0", () => view.playing(ctx));
    ctx.space();
    ctx.copyButton();

    const bar = ctx.bar;
    ctx.bar = ctx.lesson = laElement("div", { class: "la-bar la-flow-lesson" });
    ctx.select("method", "distil by", LA_TERMS.distillation, METHOD_WORDS);
    ctx.studentButtons = view.segments(ctx, "student_steps", "steps of the student", [1, 2, 3, 4], "student's steps");
    ctx.jobs = laElement("span", { class: "la-flow-jobs", role: "group", "aria-label": "job of each step" });
    ctx.bar.append(laElement("span", { class: "la-field" }, laTerm("step_job", "jobs"), ctx.jobs));
    ctx.distil = ctx.button("Distil", "Distil a student in this many steps, or stop (space)", () => view.toggle(ctx),
      "la-main-button");
    ctx.progress = laElement("span", { class: "la-progress", role: "status" });
    ctx.bar.append(ctx.progress);
    ctx.bar = bar;

    ctx.plane = view.pane("the exact flow");
    ctx.handles = laElement("div", { class: "la-flow-handles" });
    ctx.plane.box.append(ctx.handles);
    ctx.learnt = view.pane("the student's flow");
    ctx.chart = view.pane("distance to the data by number of steps");
    ctx.chart.title.append(laTerm("flow_distance", "distance"), " to the data, by steps");
    ctx.fields = [0, 1, 2].map(() => view.pane("a field of vectors"));
    ctx.table = laElement("table", { class: "la-numbers" });
    ctx.note = laElement("p", { class: "la-flow-note", role: "status" });
    const numbers = laElement("section", { class: "la-flow-numbers" }, ctx.table, ctx.note);
    ctx.main.append(laElement("div", { class: "la-flow-row" },
      ...[ctx.plane, ctx.learnt, ctx.chart].map((pane) => pane.root)), ctx.lesson,
      laElement("div", { class: "la-flow-row" }, ...ctx.fields.map((pane) => pane.root), numbers));
  },

  pane(label) {
    const title = laElement("div", { class: "la-flow-title" });
    const canvas = laElement("canvas", { role: "img", "aria-label": label });
    const box = laElement("div", { class: "la-flow-box" }, canvas);
    return { root: laElement("section", {}, title, box), title, box, canvas };
  },

  segments(ctx, trait, label, values, name) {
    const group = laElement("span", { class: "la-segments", role: "group", "aria-label": label });
    const buttons = values.map((value) => {
      const button = laElement("button", { type: "button", class: "la-button", [`data-${trait}`]: value,
        onclick: () => ctx.set(trait, value) }, value);
      group.append(button);
      return [value, button];
    });
    ctx.field(name, label, group);
    return buttons;
  },

  /* ---- what buttons and keys do */

  toggle(ctx) { ctx.send(ctx.body?.student?.working ? "stop" : "distil"); },

  playing(ctx) {
    if (ctx.timer) { view.leave(ctx); ctx.changed(); return; }
    const began = performance.now(), frame = (now) => {
      const sigma = Math.max(1 - (now - began) / FLOW_PLAY_MS, 0);
      ctx.set("sigma", Math.round(1000 * sigma) / 1000);
      ctx.timer = sigma > 0 && ctx.root.isConnected ? requestAnimationFrame(frame) : null;
    };
    ctx.timer = requestAnimationFrame(frame);
  },

  leave(ctx) { cancelAnimationFrame(ctx.timer); ctx.timer = null; },

  key(ctx, key) {
    if (key === " ") { view.toggle(ctx); return true; }
    const [x, y] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[key] ?? [0, 0];
    if (!x && !y) return false;
    const mode = [...ctx.handles.children].indexOf(document.activeElement);
    if (mode >= 0) view.moveMode(ctx, mode, ctx.means[mode][0] + 0.1 * x, ctx.means[mode][1] + 0.1 * y);
    else if (x) ctx.set("sigma", Math.min(Math.max(Math.round(100 * (ctx.get("sigma") - 0.05 * x)) / 100, 0), 1));
    return mode >= 0 || x !== 0;
  },

  moveMode(ctx, mode, x, y) {
    const limit = ctx.body.reach - 0.1;
    const held = (value) => Math.round(1000 * Math.min(Math.max(value, -limit), limit)) / 1000;
    ctx.means = ctx.means.map((mean, i) => (i === mode ? [held(x), held(y)] : mean));
    ctx.set("points", ctx.means);
  },

  /* ---- drawing */

  draw(ctx) {
    const body = ctx.body;
    if (!body?.means) return;
    if (!ctx.dragged || ctx.means?.length !== body.means.length)
      ctx.means = ctx.get("points").length === body.means.length ? ctx.get("points") : body.means;
    ctx.colours = ctx.theme();
    const width = ctx.main.clientWidth, room = Math.max(window.innerHeight - 270, 400);      // without bars and titles
    const side = Math.floor(Math.min(Math.max((width - 28) / 3, 200), 0.62 * room));
    view.showControls(ctx);
    view.drawPlane(ctx, side);
    view.drawStudent(ctx, side);
    drawChart(ctx, Math.floor(Math.min(Math.max(width - 2 * side - 34, 240), 460)), side);
    view.drawFields(ctx, Math.floor(Math.min(Math.max((width - 340) / 3, 120), 0.36 * room)));
    view.writeNumbers(ctx);
  },

  showControls(ctx) {
    const { body } = ctx, student = body.student, working = student?.working;
    ctx.overlapField.show();
    ctx.openField.range.max = body.means.length;
    ctx.openField.show();
    ctx.openField.range.value = body.open;
    for (const [buttons, trait] of [[ctx.stepButtons, "steps"], [ctx.studentButtons, "student_steps"]]) {
      for (const [value, button] of buttons) button.setAttribute("aria-pressed", value === ctx.get(trait));
    }
    ctx.play.textContent = ctx.timer ? "Stop" : "Play";
    ctx.distil.textContent = working ? "Stop" : "Distil";
    const progress = student && `${working ? "" : "done: "}${student.update} of ${student.updates} updates`;
    ctx.progress.textContent = progress || "";
    const fixed = ctx.get("method") === "regression", key = `${fixed}${body.jobs}`;
    if (ctx.jobsShown === key) return;
    ctx.jobsShown = key;
    ctx.jobs.replaceChildren(...body.jobs.map((job, step) => laElement("button", {
      type: "button", class: "la-button la-flow-job", disabled: fixed,
        style: `border-left-color:${ctx.colours.steps[step]}`, "data-job": job,
      title: fixed ? "Regression can only hold the mean" : "Change the job of this step",
      onclick: () => ctx.set("jobs", body.jobs.map((one, i) => (i === step ? OTHER_JOB[one] : one))),
    }, `${step}: ${JOB_WORDS[job]}`)));
  },

  drawPlane(ctx, side) {
    const { body } = ctx, pen = laCanvas(ctx.plane.canvas, side, side), steps = ctx.get("steps");
    ctx.plane.title.textContent = `Exact field, ${steps} step${steps > 1 ? "s" : ""}`;
    drawDensity(ctx, pen, side);
    drawArrows(pen, side, laFloats(ctx.buffers, "field"), body.arrows, ctx.colours.soft);
    drawPath(ctx, pen, side, laFloats(ctx.buffers, "path"), body.sigmas);
    drawModes(ctx, pen, side);
    view.placeHandles(ctx, side);
  },

  /* Buttons over the modes: dragged with the pointer, moved with the arrow keys. */
  placeHandles(ctx, side) {
    const { unit, x, y } = planeScale(ctx, side);
    while (ctx.handles.children.length > ctx.means.length) ctx.handles.lastChild.remove();
    while (ctx.handles.children.length < ctx.means.length)
      ctx.handles.append(view.handle(ctx, ctx.handles.children.length));
    ctx.means.forEach(([mx, my], mode) => {
      const handle = ctx.handles.children[mode];
      handle.style.left = `${x(mx)}px`;
      handle.style.top = `${y(my)}px`;
      handle.classList.toggle("la-flow-closed", mode >= ctx.body.open);
      handle.setAttribute("aria-label", `mode ${mode + 1} at ${mx.toFixed(1)}, ${my.toFixed(1)}; arrow keys move it`);
    });
    ctx.unit = unit;
  },

  handle(ctx, mode) {
    const handle = laElement("button", { type: "button", class: "la-flow-handle",
      title: "Drag this mode, or move it with the arrow keys" }, `${mode + 1}`);
    handle.addEventListener("pointerdown", (event) => {
      handle.setPointerCapture(event.pointerId);
      ctx.dragged = { x: event.clientX, y: event.clientY, mean: ctx.means[mode] };
    });
    handle.addEventListener("pointermove", (event) => {
      if (!ctx.dragged) return;
      const { x, y, mean } = ctx.dragged;
      view.moveMode(ctx, mode, mean[0] + (event.clientX - x) / ctx.unit, mean[1] - (event.clientY - y) / ctx.unit);
    });
    for (const end of ["pointerup", "pointercancel"]) handle.addEventListener(end, () => {
      ctx.dragged = null;
      ctx.changed();
    });
    return handle;
  },

  drawStudent(ctx, side) {
    const { student } = ctx.body, pen = laCanvas(ctx.learnt.canvas, side, side);
    const path = student && laFloats(ctx.buffers, "student path");
    const method = student && METHOD_WORDS.find(([name]) => name === student.method)[1];
    ctx.learnt.title.textContent = student
      ? `Student of ${student.jobs.length} step${student.jobs.length > 1 ? "s" : ""}, by ${method}` : "Student";
    if (path) drawPath(ctx, pen, side, path, student.sigmas);
    drawModes(ctx, pen, side);
    if (path) return;
    pen.fillStyle = ctx.colours.soft;
    pen.font = `13px ${ctx.colours.font}`;
    pen.textAlign = "center";
    pen.fillText("No student yet: press Distil.", side / 2, side / 2);
  },

  drawFields(ctx, side) {
    const { student, arrows } = ctx.body;
    const colours = { "real score": ctx.colours.green, "fake score": ctx.colours.vermilion,
      difference: ctx.colours.purple, student: ctx.colours.orange };
    ctx.fields.forEach((pane, place) => {
      pane.root.hidden = !student;
      if (!student) return;
      const name = student.fields[place], pen = laCanvas(pane.canvas, side, side);
      pane.title.textContent = name === "student" ? `student, step ${student.step}` : name;
      pane.canvas.setAttribute("aria-label", `${name} at noise level ${ctx.get("sigma").toFixed(2)}`);
      drawArrows(pen, side, laFloats(ctx.buffers, `field ${place}`), arrows, colours[name] ?? ctx.colours.green);
      drawModes(ctx, pen, side);
    });
  },

  writeNumbers(ctx) {
    const { figures, student, note, knees, open } = ctx.body, share = (value) => laPercent(Math.max(value, 0));
    const row = (name, one) => laElement("tr", {}, laElement("th", { scope: "row" }, name),
      ...[one.distance.toFixed(2), share(one.spread_kept), share(one.between), share(one.straightness)].map(
      (text) => laElement("td", {}, text)));
    const heads = [laTerm("flow_distance", "distance"), laTerm("spread_kept", "spread"),
      laTerm("between_modes", "between"), laTerm("straightness", "straight")];
    const key = JSON.stringify([figures, student?.figures, note, knees, open]);
    if (ctx.written === key) return;
    ctx.written = key;
    ctx.table.replaceChildren(laElement("tr", {}, laElement("td", {}),
      ...heads.map((term) => laElement("th", { scope: "col" }, term))),
      row("exact", figures), ...(student ? [row("student", student.figures)] : []));
    const knee = knees[open] ? [laTerm("knee", "Knee"),
      ` with ${open} mode${open > 1 ? "s" : ""} left open: ${knees[open]} step${knees[open] > 1 ? "s" : ""}. `] : [];
    ctx.note.replaceChildren(...knee, note, " Arrows: the ", laTerm("velocity_field", "velocity field"),
      ` at noise ${ctx.get("sigma").toFixed(2)}.`);
  },
};

export default live(view);
