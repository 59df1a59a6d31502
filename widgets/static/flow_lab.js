/* Flow matching in two dimensions: the plane with its modes, the exact field, the student, and what both are worth. */

const FLOW_STEPS = [1, 2, 3, 4, 8, 32], FLOW_PLAY_MS = 3500;
const JOB_WORDS = { mean: "hold mean", distribution: "match distribution" };
const METHOD_WORDS = [["regression", "regression"], ["consistency", "consistency"], ["dmd", "DMD"]];

const floats = (ctx, name) => {
  const bytes = ctx.buffers.get(name);
  return bytes && new Float32Array(bytes.slice().buffer);
};

/* Where a point is that goes straight from level to level: path (levels, count, 2). */
function placeAt(path, count, sigmas, sigma, point) {
  let step = sigmas.findIndex((level) => level <= sigma);
  if (step < 0) step = sigmas.length - 1;
  const at = (level, axis) => path[2 * (level * count + point) + axis];
  if (step === 0) return [at(0, 0), at(0, 1)];
  const share = (sigmas[step - 1] - sigma) / (sigmas[step - 1] - sigmas[step]);
  return [0, 1].map((axis) => at(step - 1, axis) + share * (at(step, axis) - at(step - 1, axis)));
}

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

    ctx.plane = view.pane(ctx, "the exact flow");
    ctx.handles = laElement("div", { class: "la-flow-handles" });
    ctx.plane.box.append(ctx.handles);
    ctx.learnt = view.pane(ctx, "the student's flow");
    ctx.chart = view.pane(ctx, "distance to the data by number of steps");
    ctx.chart.title.append(laTerm("flow_distance", "distance"), " to the data, by steps");
    ctx.fields = [0, 1, 2].map(() => view.pane(ctx, "a field of vectors"));
    ctx.table = laElement("table", { class: "la-numbers" });
    ctx.note = laElement("p", { class: "la-flow-note", role: "status" });
    const numbers = laElement("section", { class: "la-flow-numbers" }, ctx.table, ctx.note);
    ctx.main.append(laElement("div", { class: "la-flow-row" },
      ...[ctx.plane, ctx.learnt, ctx.chart].map((pane) => pane.root)), ctx.lesson,
      laElement("div", { class: "la-flow-row" }, ...ctx.fields.map((pane) => pane.root), numbers));
  },

  pane(ctx, label) {
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
    view.drawChart(ctx, Math.floor(Math.min(Math.max(width - 2 * side - 34, 240), 460)), side);
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
    ctx.progress.textContent = student ? `${working ? "" : "done: "}${student.update} of ${student.updates} updates`
      : "";
    const fixed = ctx.get("method") === "regression", key = `${fixed}${body.jobs}`;
    if (ctx.jobsShown === key) return;
    ctx.jobsShown = key;
    ctx.jobs.replaceChildren(...body.jobs.map((job, step) => laElement("button", {
      type: "button", class: "la-button la-flow-job", disabled: fixed,
        style: `border-left-color:${ctx.colours.steps[step]}`, "data-job": job,
      title: fixed ? "Regression can only hold the mean" : "Change the job of this step",
      onclick: () => ctx.set("jobs", body.jobs.map((other, i) => (i === step ? (job === "mean" ? "distribution"
        : "mean") : other))),
    }, `${step}: ${JOB_WORDS[job]}`)));
  },

  /* The plane's points to pixels, and back. */
  scale(ctx, side) {
    const unit = side / (2 * ctx.body.reach);
    return { unit, x: (value) => side / 2 + value * unit, y: (value) => side / 2 - value * unit };
  },

  drawPlane(ctx, side) {
    const { body } = ctx, pen = laCanvas(ctx.plane.canvas, side, side), steps = ctx.get("steps");
    ctx.plane.title.textContent = `Exact field, ${steps} step${steps > 1 ? "s" : ""}`;
    view.drawDensity(ctx, pen, side);
    view.drawArrows(ctx, pen, side, floats(ctx, "field"), body.arrows, ctx.colours.soft);
    view.drawPath(ctx, pen, side, floats(ctx, "path"), body.sigmas);
    view.drawModes(ctx, pen, side);
    view.placeHandles(ctx, side);
  },

  drawDensity(ctx, pen, side) {
    const bytes = ctx.buffers.get("density"), count = Math.sqrt(bytes?.length ?? 0);
    if (!count) return;
    const [r, g, b] = ctx.colours.dark ? [86, 180, 233] : [0, 114, 178], data = new ImageData(count, count);
    for (let i = 0; i < bytes.length; i++) data.data.set([r, g, b, bytes[i] * 0.45], 4 * i);
    const canvas = laElement("canvas", { width: count, height: count });
    canvas.getContext("2d").putImageData(data, 0, 0);
    pen.drawImage(canvas, 0, 0, side, side);
  },

  drawArrows(ctx, pen, side, vectors, count, colour) {
    if (!vectors) return;
    const cell = side / count, lengths = [];
    for (let i = 0; i < vectors.length; i += 2) lengths.push(Math.hypot(vectors[i], vectors[i + 1]));
    const longest = Math.max(...lengths, 1e-6);
    pen.strokeStyle = pen.fillStyle = colour;
    pen.lineWidth = 1;
    lengths.forEach((length, i) => {
      const size = (0.95 * cell * length) / longest, x = (i % count + 0.5) * cell;
      const y = (Math.floor(i / count) + 0.5) * cell;
      const [dx, dy] = [vectors[2 * i] / (length || 1), -vectors[2 * i + 1] / (length || 1)];
      pen.beginPath();
      pen.moveTo(x - dx * size / 2, y - dy * size / 2);
      pen.lineTo(x + dx * size / 2, y + dy * size / 2);
      pen.stroke();
      if (size < 3) return;
      const head = Math.min(0.35 * size, 3.5), [tx, ty] = [x + dx * size / 2, y + dy * size / 2];
      pen.beginPath();
      pen.moveTo(tx, ty);
      pen.lineTo(tx - dx * head - dy * head * 0.6, ty - dy * head + dx * head * 0.6);
      pen.lineTo(tx - dx * head + dy * head * 0.6, ty - dy * head - dx * head * 0.6);
      pen.fill();
    });
  },

  /* Ways of some points as lines in the colours of the steps, and all points where they are at this noise level. */
  drawPath(ctx, pen, side, path, sigmas) {
    if (!path) return;
    const { x, y } = view.scale(ctx, side), count = ctx.body.drawn, sigma = ctx.get("sigma");
    const levels = path.length / (2 * count);
    pen.lineWidth = 1.1;
    for (let level = 1; level < levels; level++) {
      pen.strokeStyle =
        `${ctx.colours.steps[(levels > 9 ? Math.floor((level - 1) * 8 / (levels - 1)) : level - 1) % 8]}99`;
      pen.beginPath();
      for (let point = 0; point < count; point += 6) {
        const [from, to] = [2 * ((level - 1) * count + point), 2 * (level * count + point)];
        pen.moveTo(x(path[from]), y(path[from + 1]));
        pen.lineTo(x(path[to]), y(path[to + 1]));
      }
      pen.stroke();
    }
    for (let point = 0; point < count; point++) {
      const [px, py] = placeAt(path, count, sigmas, sigma, point);
      view.dot(pen, x(px), y(py), 2, ctx.colours.ink);
    }
    for (let point = 0; point < count; point++) {
      const end = 2 * ((levels - 1) * count + point);
      view.dot(pen, x(path[end]), y(path[end + 1]), 2, ctx.colours.vermilion);
    }
  },

  dot(pen, x, y, radius, colour) {
    pen.fillStyle = colour;
    pen.beginPath();
    pen.arc(x, y, radius, 0, 7);
    pen.fill();
  },

  drawModes(ctx, pen, side) {
    const { unit, x, y } = view.scale(ctx, side);
    ctx.means.forEach(([mx, my], mode) => {
      const there = mode < ctx.body.open;
      pen.strokeStyle = there ? ctx.colours.ink : ctx.colours.soft;
      pen.lineWidth = there ? 1.2 : 1;
      pen.setLineDash(there ? [] : [3, 4]);
      pen.beginPath();
      pen.arc(x(mx), y(my), 2 * ctx.get("width") * unit, 0, 7);
      pen.stroke();
    });
    pen.setLineDash([]);
  },

  /* Buttons over the modes: dragged with the pointer, moved with the arrow keys. */
  placeHandles(ctx, side) {
    const { unit, x, y } = view.scale(ctx, side);
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
    const path = student && floats(ctx, "student path");
    const method = student && METHOD_WORDS.find(([name]) => name === student.method)[1];
    ctx.learnt.title.textContent = student
      ? `Student of ${student.jobs.length} step${student.jobs.length > 1 ? "s" : ""}, by ${method}` : "Student";
    if (path) view.drawPath(ctx, pen, side, path, student.sigmas);
    view.drawModes(ctx, pen, side);
    if (path) return;
    pen.fillStyle = ctx.colours.soft;
    pen.font = `13px ${ctx.colours.font}`;
    pen.textAlign = "center";
    pen.fillText("No student yet: press Distil.", side / 2, side / 2);
  },

  drawChart(ctx, wide, side) {
    const { curves, knees, open, student, figures } = ctx.body, pen = laCanvas(ctx.chart.canvas, wide, side);
    const theme = ctx.colours;
    const [left, top, foot] = [34, 26, 40], all = Object.values(curves).flat().map(([, value]) => value);
    const most = 1.05 * Math.max(...all, figures.distance, student?.figures.distance ?? 0, 0.5);
    const x = (steps) => left + 12 + FLOW_STEPS.indexOf(steps) * (wide - left - 24) / (FLOW_STEPS.length - 1);
    const y = (value) => top + (side - top - foot) * (1 - value / most);
    pen.font = `11px ${theme.font}`;
    pen.textBaseline = "middle";
    for (let value = 0; value <= most; value += 0.5) {
      pen.strokeStyle = theme.line;
      pen.lineWidth = 0.5;
      pen.beginPath(); pen.moveTo(left, y(value)); pen.lineTo(wide, y(value)); pen.stroke();
      pen.fillStyle = theme.soft;
      pen.textAlign = "right";
      pen.fillText(value.toFixed(1), left - 6, y(value));
    }
    pen.textAlign = "center";
    for (const steps of FLOW_STEPS) pen.fillText(steps, x(steps), side - foot + 14);
    pen.fillText("steps", (left + wide) / 2, side - 8);
    for (const [count, curve] of Object.entries(curves)) {
      const chosen = Number(count) === open;
      pen.strokeStyle = chosen ? theme.ink : theme.soft;
      pen.globalAlpha = chosen ? 1 : 0.45;
      pen.lineWidth = chosen ? 2 : 1;
      pen.beginPath();
      curve.forEach(([steps, value], i) => pen[i ? "lineTo" : "moveTo"](x(steps), y(value)));
      pen.stroke();
      const knee = curve.find(([steps]) => steps === knees[count]);
      pen.beginPath();
      pen.arc(x(knee[0]), y(knee[1]), chosen ? 5.5 : 3.5, 0, 7);
      pen.stroke();
      pen.fillStyle = pen.strokeStyle;
      pen.textAlign = "right";
      pen.fillText(count, x(1) - 5, y(curve[0][1]));
    }
    pen.globalAlpha = 1;
    view.dot(pen, x(ctx.get("steps")), y(figures.distance), 4.5, theme.vermilion);
    if (student) view.drawDiamond(pen, x(student.jobs.length), y(student.figures.distance), theme);
    pen.textAlign = "right";
    pen.fillStyle = theme.soft;
    pen.fillText("numbers: modes left open; rings: knees", wide - 2, 8);
  },

  drawDiamond(pen, x, y, theme) {
    pen.fillStyle = theme.orange;
    pen.strokeStyle = theme.ink;
    pen.lineWidth = 1;
    pen.beginPath();
    for (const [dx, dy] of [[0, -7], [7, 0], [0, 7], [-7, 0]]) pen.lineTo(x + dx, y + dy);
    pen.closePath();
    pen.fill();
    pen.stroke();
    pen.textAlign = "left";
    pen.fillStyle = theme.ink;
    pen.fillText("student", x + 11, y);
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
      view.drawArrows(ctx, pen, side, floats(ctx, `field ${place}`), arrows, colours[name] ?? ctx.colours.green);
      view.drawModes(ctx, pen, side);
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
