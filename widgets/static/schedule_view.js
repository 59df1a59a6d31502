/* The path from noise to picture: one wide bar cut into steps, the noise levels as a curve, and what each step
   covers. */

const EXAMPLE = 64, PATH_W = 430, PATH_H = 250;

/* A face for those who brought none. */
function exampleFace() {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = EXAMPLE;
  const pen = canvas.getContext("2d");
  const blob = (colour, x, y, rx, ry) => {
    pen.fillStyle = colour;
    pen.beginPath();
    pen.ellipse(x, y, rx, ry, 0, 0, 7);
    pen.fill();
  };
  pen.fillStyle = "#a9d3e8";
  pen.fillRect(0, 0, EXAMPLE, EXAMPLE);
  blob("#3f5f8a", 32, 66, 24, 18);
  blob("#5a3b28", 32, 25, 19, 20);
  blob("#e8b48f", 32, 31, 14, 18);
  blob("#fff", 26, 28, 3.6, 2.8); blob("#fff", 38, 28, 3.6, 2.8);
  blob("#222", 26.5, 28, 1.8, 1.9); blob("#222", 38.5, 28, 1.8, 1.9);
  blob("#a2423d", 32, 40, 5, 2.6);
  blob("#5a3b28", 32, 13, 15, 6);
  return pen.getImageData(0, 0, EXAMPLE, EXAMPLE).data;
}

/* Noise that is always the same. */
function exampleNoise() {
  let seed = 7;
  const next = () => ((seed = (seed * 1664525 + 1013904223) >>> 0) + 1) / 4294967297;
  return Float32Array.from({ length: 3 * EXAMPLE * EXAMPLE },
    () => Math.sqrt(-2 * Math.log(next())) * Math.cos(2 * Math.PI * next()));
}

/* (1 - sigma) * picture + sigma * noise, as the sampler has it in its latents. */
function noisyPicture(ctx, sigma) {
  const key = Math.round(sigma * 400);
  ctx.noisy ??= new Map();
  if (!ctx.noisy.has(key)) {
    ctx.noise ??= exampleNoise();
    const data = new ImageData(EXAMPLE, EXAMPLE), face = ctx.face;
    for (let i = 0; i < EXAMPLE * EXAMPLE; i++) {
      for (let c = 0; c < 3; c++) {
        const clean = face[i * face.channels + c] / 127.5 - 1;
        data.data[4 * i + c] = 127.5 + 127.5 * ((1 - sigma) * clean + sigma * 0.62 * ctx.noise[3 * i + c]);
      }
      data.data[4 * i + 3] = 255;
    }
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = EXAMPLE;
    canvas.getContext("2d").putImageData(data, 0, 0);
    if (ctx.noisy.size > 600) ctx.noisy.clear();
    ctx.noisy.set(key, canvas);
  }
  return ctx.noisy.get(key);
}

const onColour = (colour) => (["#56b4e9", "#e69f00", "#cc79a7", "#f0e442"].includes(colour) ? "#111" : "#fff");

const view = {
  name: "la-schedule",

  build(ctx) {
    ctx.transport();
    ctx.select("schedule", "Schedule", "Where the noise levels come from",
      [["trained", "trained (mini)"], ["released", "released (Live Avatar)"], ["linear", "linear"],
        ["own", "own list"]]);
    const buttons = laElement("span", { class: "la-segments", role: "group", "aria-label": "sampler steps" });
    ctx.stepButtons = LA_STEP_COUNTS.map((count) => {
      const button = laElement("button", { type: "button", class: "la-button", title: `${count} sampler steps`,
        "data-steps": count, onclick: () => ctx.set("steps", count) }, count);
      buttons.append(button);
      return [count, button];
    });
    ctx.field("steps", "Sampler steps", buttons);
    ctx.shiftField = ctx.slider("shift", "shift", LA_TERMS.shift, { min: 0.5, max: 12, step: 0.1,
      words: (value) => value.toFixed(1) });
    ctx.select("solver", "solver", LA_TERMS.solver, [["euler", "Euler"], ["renoise", "re-noise"]]);
    ctx.list = laElement("input", { type: "text", size: 23, "aria-label": "own noise levels",
      placeholder: "1, 0.9, 0.75, 0.5, 0" });
    ctx.list.addEventListener("change", () => ctx.send("list", { text: ctx.list.value }));
    // not every browser calls that a change
    ctx.list.addEventListener("keydown", (event) => { if (event.key === "Enter") ctx.list.blur(); });
    ctx.field("noise levels", "An own list, from 1 down to 0; or time steps from 1000. Press Enter.", ctx.list);
    ctx.space();
    ctx.copyButton();

    ctx.strip = laElement("canvas", { role: "img", "aria-label": "share of the path that each step covers" });
    ctx.note = laElement("p", { class: "la-schedule-note" });
    ctx.path = laElement("canvas", { role: "img", "aria-label": "noise level before and after every step" });
    ctx.pathWords = laElement("p", { class: "la-note" });
    ctx.table = laElement("table", { class: "la-numbers la-schedule-table" });
    ctx.main.append(ctx.strip, ctx.note, laElement("div", { class: "la-schedule-lower" },
      laElement("section", {}, ctx.path, ctx.pathWords), laElement("section", { class: "la-schedule-right" },
        ctx.table)));
    view.dragging(ctx);
    ctx.strip.addEventListener("pointermove", (event) => {
      const sigmas = ctx.get("sigmas"), level = sigmas[0] * (1 - (event.offsetX - 28) / (ctx.strip.clientWidth - 56));
      const step = sigmas.findIndex((sigma) => sigma < level) - 1;
      ctx.strip.title = step < 0 ? ""
        : `step ${step}: noise ${sigmas[step].toFixed(3)} → ${sigmas[step + 1].toFixed(3)}, ` +
          `${laPercent((sigmas[step] - sigmas[step + 1]) / sigmas[0])} of the path`;
    });
  },

  received(ctx) {
    const bytes = ctx.store.buffers.get("example");
    ctx.noisy = null;
    ctx.face = bytes ?? exampleFace();
    ctx.face.channels = bytes ? 3 : 4;
  },

  /* ---- the bar */

  drawStrip(ctx, theme, sigmas, shares) {
    const width = Math.max(ctx.main.clientWidth, 300), picture = 56, top = picture + 26, tall = 62;
    const inset = picture / 2, wide = width - 2 * inset, pen = laCanvas(ctx.strip, width, top + tall + 50);
    const x = (sigma) => inset + (1 - sigma / sigmas[0]) * wide;
    let used = -1e9;
    sigmas.forEach((sigma, i) => {                                     // what the latent looks like between the steps
      const middle = x(sigma), last = i === sigmas.length - 1;
      const free = middle - used >= picture + 6, at = middle;
      if (free && (last || wide - (at - inset) >= picture + 6)) {
        used = at;
        pen.drawImage(noisyPicture(ctx, sigma), at - picture / 2, 0, picture, picture);
        pen.strokeStyle = theme.line;
        pen.lineWidth = 1;
        pen.strokeRect(at - picture / 2 + 0.5, 0.5, picture - 1, picture - 1);
      }
      pen.strokeStyle = theme.soft;
      pen.beginPath();
      pen.moveTo(at, free ? picture + 3 : top - 12);
      pen.lineTo(at, top - 2);
      pen.stroke();
    });
    pen.textBaseline = "middle";
    shares.forEach((share, i) => {
      const from = x(sigmas[i]), to = x(sigmas[i + 1]), colour = theme.steps[i % 8], broad = to - from;
      pen.fillStyle = colour;
      pen.fillRect(from, top, Math.max(broad - (i < shares.length - 1 ? 1.5 : 0), 1), tall);
      if (ctx.body.now?.[1] === i && ctx.body.run?.state === "running") {
        pen.strokeStyle = theme.ink;
        pen.lineWidth = 3;
        pen.strokeRect(from + 1.5, top + 1.5, broad - 4, tall - 3);
      }
      pen.textAlign = "center";
      if (broad > 46) {
        const size = Math.min(15 + share * 34, 34, broad / 3.2);
        pen.fillStyle = onColour(colour);
        pen.font = `700 ${size}px ${theme.font}`;
        pen.fillText(laPercent(share), (from + to) / 2, top + tall / 2 - 5);
        pen.font = `11px ${theme.font}`;
        pen.fillText(`step ${i}`, (from + to) / 2, top + tall / 2 + size / 2 + 6);
      } else if (share < 0.05) view.drawSliver(pen, theme, i, share, (from + to) / 2, top + tall, width);
    });
    pen.textBaseline = "alphabetic";
    pen.fillStyle = theme.soft;
    pen.font = `12px ${theme.font}`;
    pen.textAlign = "left";
    pen.fillText("pure noise", inset, top + tall + 16);
    pen.textAlign = "right";
    if (shares.at(-1) >= 0.05) pen.fillText("picture", width - inset, top + tall + 16);
  },

  /* A step that hardly moves: too thin to see, so it is called out. */
  drawSliver(pen, theme, index, share, x, y, width) {
    pen.strokeStyle = pen.fillStyle = theme.vermilion;
    pen.lineWidth = 2;
    pen.beginPath();
    pen.moveTo(x, y + 2);
    pen.lineTo(x, y + 26);
    pen.lineTo(x - 14, y + 26);
    pen.stroke();
    pen.beginPath();
    pen.moveTo(x - 5, y + 8);
    pen.lineTo(x + 5, y + 8);
    pen.lineTo(x, y);
    pen.fill();
    pen.textAlign = "right";
    pen.font = `700 20px ${theme.font}`;
    const words = `only ${laPercent(share)}`;
    pen.fillText(words, x - 20, y + 27);
    const wide = pen.measureText(words).width;
    pen.font = `12px ${theme.font}`;
    pen.fillText(`step ${index} covers`, x - 26 - wide, y + 28);
  },

  /* ---- the path */

  pathAt(sigmas) {
    const left = 54, right = PATH_W - 14, top = 14, bottom = PATH_H - 34, count = sigmas.length - 1;
    return { x: (i) => left + (i / count) * (right - left), y: (sigma) => bottom - (sigma / 1) * (bottom - top), left,
      right, top, bottom,
             sigma: (y) => (bottom - y) / (bottom - top) };
  },

  drawPath(ctx, theme, sigmas) {
    const at = view.pathAt(sigmas), pen = laCanvas(ctx.path, PATH_W, PATH_H), renoise = ctx.get("solver") === "renoise";
    pen.font = `11px ${theme.font}`;
    pen.textBaseline = "middle";
    for (const level of [0, 0.25, 0.5, 0.75, 1]) {
      pen.strokeStyle = theme.line;
      pen.lineWidth = level === 0 ? 1.2 : 0.6;
      pen.beginPath();
      pen.moveTo(at.left, at.y(level));
      pen.lineTo(at.right, at.y(level));
      pen.stroke();
      pen.fillStyle = theme.soft;
      pen.textAlign = "right";
      pen.fillText(level === 1 ? "noise 1" : level === 0 ? "clean 0" : level, at.left - 5, at.y(level));
    }
    pen.textAlign = "center";
    for (let i = 0; i < sigmas.length - 1; i++) {
      const [x0, x1] = [at.x(i), at.x(i + 1)], [y0, y1] = [at.y(sigmas[i]), at.y(sigmas[i + 1])];
      const colour = theme.steps[i % 8];
      pen.fillStyle = theme.soft;
      pen.fillText(`step ${i}`, (x0 + x1) / 2, PATH_H - 18);
      pen.fillStyle = colour;
      pen.globalAlpha = 0.16;
      pen.fillRect(x0, y0, x1 - x0, y1 - y0);
      pen.globalAlpha = 1;
      pen.strokeStyle = colour;
      pen.lineWidth = 3;
      pen.lineCap = "round";
      pen.beginPath();
      pen.moveTo(x0, y0);
      if (renoise && sigmas[i + 1] > 0) {                 // to the clean guess, and back up with fresh noise
        const turn = x0 + 0.62 * (x1 - x0);
        pen.lineTo(turn, at.y(0));
        pen.stroke();
        pen.setLineDash([2, 6]);
        pen.beginPath();
        pen.moveTo(turn, at.y(0));
      }
      pen.lineTo(x1, y1);
      pen.stroke();
      pen.setLineDash([]);
    }
    sigmas.forEach((sigma, i) => {
      pen.beginPath();
      pen.arc(at.x(i), at.y(sigma), i && i < sigmas.length - 1 ? 5.5 : 4, 0, 7);
      pen.fillStyle = theme.ground;
      pen.fill();
      pen.strokeStyle = theme.ink;
      pen.lineWidth = 1.8;
      pen.stroke();
    });
    ctx.pathWords.textContent = renoise
      ? "Re-noise: each step jumps to its clean guess, then fresh noise is added (dotted). Drag a point to make an " +
        "own list."
      : "Euler: each step follows the velocity in a straight line. Drag a point to make an own list.";
  },

  dragging(ctx) {
    let held = null;
    const nearest = (event) => {
      const sigmas = ctx.get("sigmas"), at = view.pathAt(sigmas);
      for (let i = 1; i < sigmas.length - 1; i++)
        if (Math.hypot(event.offsetX - at.x(i), event.offsetY - at.y(sigmas[i])) < 12) return i;
      return null;
    };
    ctx.path.addEventListener("pointerdown", (event) => {
      held = nearest(event);
      if (held !== null) ctx.path.setPointerCapture(event.pointerId);
    });
    ctx.path.addEventListener("pointermove", (event) => {
      const near = held !== null || nearest(event) !== null;
      ctx.path.style.cursor = near ? "ns-resize" : "default";
      ctx.path.title = near ? "Drag to change this noise level: the list becomes your own" : "";
      if (held === null) return;
      const sigmas = [...ctx.get("sigmas")], wanted = view.pathAt(sigmas).sigma(event.offsetY);
      sigmas[held] = Number(Math.min(Math.max(wanted, sigmas[held + 1] + 0.002), sigmas[held - 1] - 0.002).toFixed(4));
      ctx.set("sigmas", sigmas);
    });
    ctx.path.addEventListener("pointerup", () => { held = null; });
  },

  /* ---- numbers */

  drawTable(ctx, theme, sigmas, shares) {
    const times = ctx.body.milliseconds ?? [], timed = times.some((time) => time !== null && time !== undefined);
    const most = Math.max(...shares);
    const heads = ["", laTerm("sigma", "noise"), laTerm("time_step", "time step"),
      laTerm("share_of_path", "share of the path"),
      ...(timed ? [laTerm("step_time", "takes")] : [])];
    const head = laElement("tr", {}, ...heads.map((words) => laElement("th", {}, words)));
    ctx.table.replaceChildren(head, ...shares.map((share, i) => laElement("tr", { class: share < 0.05 ? "la-idle"
      : "" },
      laElement("td", {}, laElement("b", {}, `step ${i}`)),
      laElement("td", {}, `${sigmas[i].toFixed(3)} → ${sigmas[i + 1].toFixed(3)}`),
      laElement("td", {}, (1000 * sigmas[i]).toFixed(1)),
      laElement("td", { class: "la-share" }, laElement("i",
        { style: `width:${Math.max((170 * share) / most, 1)}px;background:${theme.steps[i % 8]}` }),
        laElement("b", {}, laPercent(share))),
      timed ? laElement("td", {}, times[i] === null || times[i] === undefined ? "–" : `${Math.round(times[i])} ms`)
        : null)));
  },

  draw(ctx) {
    const theme = ctx.theme(), sigmas = ctx.get("sigmas"), kind = ctx.get("schedule");
    if (!ctx.face) view.received(ctx);
    if (sigmas.length < 2) return;
    const shares = sigmas.slice(0, -1).map((sigma, i) => (sigma - sigmas[i + 1]) / sigmas[0]);
    for (const [count, button] of ctx.stepButtons) button.classList.toggle("la-chosen", count === shares.length);
    ctx.shiftField.hidden = !["trained", "released"].includes(kind);
    if (document.activeElement !== ctx.list)
      ctx.list.value = ctx.list.title = sigmas.map((sigma) => Number(sigma.toFixed(4))).join(", ");
    view.drawStrip(ctx, theme, sigmas, shares);
    view.drawPath(ctx, theme, sigmas);
    view.drawTable(ctx, theme, sigmas, shares);
    ctx.note.textContent = ctx.body.note ?? "";
    ctx.note.classList.toggle("la-warn", shares.some((share) => share < 0.05));
  },

  key(ctx, key) {
    const hop = { ArrowLeft: -1, ArrowRight: 1 }[key];
    if (!hop) return false;
    ctx.set("steps", Math.min(Math.max(ctx.get("steps") + hop, 1), 12));
    return true;
  },
};
