/* The page around the views: what goes in on the left, the video and its steps on the right, one more view below. The views
   themselves are widgets of their own, put into their places here. */

const BENCH_PAGES = [   // name, view, title, what is seen there
  ["change", "change", "What changed", "What each step changed in the picture, on one scale and in words"],
  ["cell", "grid", "One step", "The chosen step in depth: its pictures, all channels, numbers"],
  ["lips", "lips", "Lips", "The mouth against the sound"],
  ["memory", "memory", "Memory", "Who holds how much memory, step by step"],
  ["path", "path", "Path", "The noise levels, and how far each step goes"],
  ["caches", "caches", "Caches", "What each noise level remembers"],
  ["avatar", "designer", "Avatar", "Make the portrait"],
];
const BENCH_SLOTS = ["gesture", "mood", "lighting", "energy"];
const BENCH_PIECE = 1 << 19;            // bytes of a file that travel in one message

const view = {
  name: "la-bench",

  build(ctx) {
    ctx.head = laElement("div", { class: "la-bench-head" });
    ctx.progress = laElement("div", { class: "la-bench-progress", role: "progressbar", "aria-label": "how much of the video is made" }, laElement("div"));
    ctx.left = laElement("div", { class: "la-bench-left" });
    ctx.player = laElement("div", { class: "la-bench-player" });
    ctx.grid = laElement("div", { class: "la-bench-grid" });
    ctx.tabs = laElement("div", { class: "la-bench-tabs", role: "tablist" });
    ctx.pages = laElement("div", { class: "la-bench-pages" });
    const right = laElement("div", { class: "la-bench-right" }, laElement("div", { class: "la-bench-top" }, ctx.player, ctx.grid),
      laElement("div", { class: "la-bench-bottom" }, ctx.tabs, ctx.pages));
    ctx.main.append(ctx.head, ctx.progress, laElement("div", { class: "la-bench-body" }, ctx.left, right));
    ctx.fill = (box, make) => { const bar = ctx.bar; ctx.bar = box; make(); ctx.bar = bar; return box; };
    ctx.shows = [];                                    // called at every drawing
    ctx.known = new Map();
    ctx.opened = new Map();                            // page -> its element
    ctx.made = [];                                     // views in place
    view.buildHead(ctx);
    view.buildPortrait(ctx);
    view.buildSound(ctx);
    view.buildPrompt(ctx);
    view.buildSettings(ctx);
    ctx.on("change:_children", () => view.place(ctx));
    view.place(ctx);
  },

  /* Whether something is another than at the last drawing: what has not changed is left alone, the page is busy enough. */
  isNew(ctx, name, ...now) {
    const key = JSON.stringify(now), is = ctx.known.get(name) !== key;
    ctx.known.set(name, key);
    return is;
  },

  /* ---- the row at the top */

  buildHead(ctx) {
    const steer = (what) => () => ctx.send("steer", { what });
    const presets = laElement("div", { class: "la-picks la-bench-presets", role: "group", "aria-label": "presets" });
    const state = laElement("div", { class: "la-bench-state", role: "status" });
    const buttons = ctx.fill(laElement("div", { class: "la-bench-buttons" }), () => {
      ctx.runButton = ctx.button("Run", "Make a new video (space)", () => ctx.send("run"), "la-main-button");
      ctx.pauseButton = ctx.button("Pause", "Rest after the step that is being made, or go on (space)", steer("toggle"));
      ctx.stepButton = ctx.button("Step", "Make one sampler step and rest", steer("step"));
      ctx.blockButton = ctx.button("Block", "Go on until the next block is decoded, and rest", steer("block"));
      ctx.stopButton = ctx.button("Stop", "End within one step; what is done is kept", steer("stop"));
    });
    ctx.head.append(buttons, state, presets);
    ctx.shows.push((body) => {
      const run = body.run, going = run && ["running", "paused"].includes(run.state), paused = run?.state === "paused";
      ctx.pauseButton.textContent = paused ? "Go on" : "Pause";
      ctx.pauseButton.disabled = !going || body.preparing;
      ctx.runButton.classList.toggle("la-busy", body.busy);
      ctx.stepButton.disabled = ctx.blockButton.disabled = body.preparing || run?.state === "running";
      ctx.stopButton.disabled = !body.busy || run?.stopping;
      view.showState(ctx, state, body);
      if (!presets.childElementCount) {
        presets.append(...body.presets.map(([name, article, mini]) => laElement("button", { type: "button", class: "la-pick", "data-preset": name, title: `${article}\n${mini}`,
          onclick: () => ctx.send("preset", { name }) }, name)));
      }
      for (const button of presets.children) button.setAttribute("aria-pressed", button.dataset.preset === body.preset);
    });
  },

  showState(ctx, state, body) {
    const { run } = body, share = run?.total_s ? Math.min(run.done_s / run.total_s, 1) : 0;
    ctx.progress.firstChild.style.width = `${100 * share}%`;
    ctx.progress.classList.toggle("la-preparing", body.preparing);
    ctx.progress.setAttribute("aria-valuenow", Math.round(100 * share));
    if (!view.isNew(ctx, "state", body.says, run, ctx.body.busy)) return;
    if (body.says) { state.replaceChildren(laElement("b", {}, body.says)); return; }
    if (!run) { state.replaceChildren(laElement("b", {}, "Ready."), " One click on Run makes a video."); return; }
    const number = (value, ...words) => [laElement("b", {}, value), " ", ...words];
    const parts = [[laElement("b", { class: `la-bench-is la-bench-is-${run.state}` }, run.stopping ? "stopping" : run.state)],
      number(run.done_s.toFixed(2), `of ${laSeconds(run.total_s)}`)];
    if (run.x_realtime) parts.push(number(`${run.x_realtime.toFixed(2)}×`, laTerm("x_realtime", "real time")));
    if (run.first_picture_s !== null) parts.push(number(laSeconds(run.first_picture_s), laTerm("first_picture", "to the first picture")));
    state.replaceChildren(...parts.map((part) => laElement("span", {}, ...part)));
  },

  /* ---- what goes in */

  card(ctx, title, ...children) {
    const card = laElement("section", { class: "la-card" }, laElement("h4", {}, title), ...children);
    ctx.left.append(card);
    return card;
  },

  /* One of a few, as buttons side by side. */
  segments(ctx, trait, label, options) {
    const buttons = options.map(([value, words, tip]) => laElement("button", { type: "button", class: "la-pick", title: tip, "data-value": value, onclick: () => ctx.set(trait, value) }, words));
    ctx.shows.push(() => buttons.forEach((button) => button.setAttribute("aria-pressed", button.dataset.value === ctx.get(trait))));
    return laElement("div", { class: "la-picks", role: "group", "aria-label": label, "data-trait": trait }, ...buttons);
  },

  buildPortrait(ctx) {
    ctx.faceCanvas = laElement("canvas", { role: "img", "aria-label": "the portrait" });
    const words = laElement("div", { class: "la-note la-bench-face-words" });
    const file = view.fileInput(ctx, "face", "image/*");
    const buttons = ctx.fill(laElement("div", { class: "la-bench-face-buttons" }), () => {
      ctx.button("Random", "Somebody else", () => ctx.send("random"));
      ctx.button("Design …", "Change the avatar by hand, below", () => { ctx.set("face", "designer"); ctx.set("page", "avatar"); });
      ctx.button("Upload …", "A picture of your own. mini knows avatars only: a photo comes out as an avatar", () => file.click());
    });
    view.card(ctx, "Portrait", laElement("div", { class: "la-bench-face" }, ctx.faceCanvas, laElement("div", {}, buttons, words)), file);
    ctx.shows.push((body) => {
      if (!view.isNew(ctx, "face", ctx.get("face"), body.rendered, body.picture, ctx.faces, devicePixelRatio)) return;
      words.textContent = ctx.get("face") === "designer" ? "a rendered avatar" : body.rendered ? body.picture : `${body.picture}: will come out as an avatar`;
      const source = ctx.faceSource;
      if (!source) return;
      const pen = laCanvas(ctx.faceCanvas, 96, 96), side = Math.min(source.width, source.height);
      pen.imageSmoothingQuality = "high";
      pen.drawImage(source, (source.width - side) / 2, (source.height - side) / 2, side, side, 0, 0, 96, 96);
    });
  },

  buildSound(ctx) {
    const file = view.fileInput(ctx, "sound", "audio/*,video/*");
    const choose = view.segments(ctx, "sound", "where the speech comes from", [["sample", "Sample", "A recording that is shipped"], ["text", "Write", "A synthetic voice says what you write"], ["recording", "Upload", "A recording of your own"]]);
    const samples = laElement("div", { class: "la-picks la-bench-samples", role: "group", "aria-label": "samples" });
    const text = view.text(ctx, "text", "What the voice should say", 2);
    const voice = laElement("select", { "aria-label": "voice", "data-trait": "voice", title: "The voice", onchange: () => ctx.set("voice", voice.value) });
    const upload = ctx.fill(laElement("div", { class: "la-bench-upload" }), () => ctx.button("Choose a file …", "Any sound or video file", () => file.click()));
    const uploaded = laElement("span", { class: "la-note" });
    upload.append(uploaded);
    ctx.waveCanvas = laElement("canvas", { role: "img", "aria-label": "the sound" });
    const said = laElement("div", { class: "la-note la-bench-said" });
    const seconds = laElement("select", { "aria-label": "seconds at most", "data-trait": "seconds", title: "How much of the sound is used", onchange: () => ctx.set("seconds", Number(seconds.value)) },
      ...[[0, "all of it"], [2, "first 2 s"], [4, "first 4 s"], [8, "first 8 s"]].map(([value, words]) => laElement("option", { value }, words)));
    const length = laElement("span", { class: "la-note" });
    view.card(ctx, "Sound", choose, samples, text, voice, upload, ctx.waveCanvas, said, laElement("div", { class: "la-bench-length" }, length, laElement("span", { class: "la-space" }), seconds), file);
    ctx.shows.push((body) => {
      const kind = ctx.get("sound"), total = body.sound?.seconds ?? 0, most = ctx.get("seconds");
      if (!view.isNew(ctx, "sound", kind, body.sound, most, ctx.get("sample"), ctx.get("voice"), body.recording, ctx.waves, ctx.root.clientWidth, ctx.theme().dark)) return;
      if (!samples.childElementCount) samples.append(...body.samples.map(([name, words]) => laElement("button", { type: "button", class: "la-pick", "data-value": name, title: words, onclick: () => ctx.set("sample", name) }, name)));
      if (voice.childElementCount !== body.voices.length) voice.replaceChildren(...body.voices.map((name) => laElement("option", {}, name)));
      for (const button of samples.children) button.setAttribute("aria-pressed", button.dataset.value === ctx.get("sample"));
      const write = choose.querySelector("[data-value=text]");
      write.disabled = !body.voices.length;
      if (write.disabled) write.title = "No synthetic voice on this machine: install espeak-ng or flite";
      voice.value = ctx.get("voice");
      samples.hidden = kind !== "sample";
      text.hidden = voice.hidden = kind !== "text";
      upload.hidden = kind !== "recording";
      uploaded.textContent = body.recording;
      said.textContent = kind === "text" ? "" : body.sound?.text ? `“${body.sound.text.trim()}”` : "";
      said.title = said.textContent;
      length.textContent = total ? (most && most < total ? `${laSeconds(most)} of ${laSeconds(total)}` : laSeconds(total)) : "";
      if (![...seconds.options].some((option) => Number(option.value) === most)) seconds.append(laElement("option", { value: most }, `first ${most} s`));
      seconds.value = most;
      view.drawWave(ctx, total, most);
    });
  },

  buildPrompt(ctx) {
    const text = view.text(ctx, "prompt", "Gesture, mood, light and energy in everyday words", 2);
    const chips = laElement("div", { class: "la-bench-chips" });
    view.card(ctx, "Prompt", text, chips);
    ctx.shows.push(({ words, remarks }) => {
      if (!view.isNew(ctx, "words", words, remarks)) return;
      const slots = words.free ? [] : BENCH_SLOTS;
      chips.replaceChildren(...slots.map((slot) => laElement("span", { class: `la-chip ${words.slots[slot] ? "la-chip-on" : ""}`, title: words.slots[slot] ? `understood: ${slot}` : `nothing is said of the ${slot}` },
        laElement("i", {}, slot), words.slots[slot] ?? words.unsaid[slot])),
        ...words.unknown.map((word) => laElement("span", { class: "la-chip la-chip-off", title: "mini does not know this: it changes nothing" }, word)),
        words.free ? laElement("div", { class: "la-note" }, "This model reads every word.") : "",
        remarks ? laElement("div", { class: "la-note" }, remarks) : "");
    });
  },

  buildSettings(ctx) {
    const grid = ctx.fill(laElement("div", { class: "la-bench-settings" }), () => {
      ctx.select("steps", "steps", "Denoising steps of a block; the student was trained for 4, the many-step base for many",
        LA_STEP_COUNTS.map((count) => [count, `${count}`]));
      const model = ctx.select("model", "model", "The student makes a picture in 4 steps; it was distilled from the many-step "
        + "base, its teacher, which needs 16 or more", [["student", "student"], ["teacher", "teacher"]]);
      ctx.shows.push((body) => { model.hidden = !body.models; });
      view.listOf(ctx, "size", "size", "Width × height in pixels. mini was trained at 128×128 only: other sizes come out worse", (body) => body.sizes);
      ctx.select("schedule", "noise", "The noise levels: as mini was trained, as Live Avatar was released, even, or your own from the view Path", [["trained", "trained"], ["released", "released"], ["linear", "linear"], ["own", "own"]]);
      ctx.select("solver", "solver", "Straight on, or by a guess and fresh noise", [["euler", "Euler"], ["renoise", "re-noise"]]);
      const seed = laElement("input", { type: "number", min: 0, step: 1, "data-trait": "seed", onchange: () => ctx.set("seed", Math.max(0, Math.round(Number(seed.value) || 0))) });
      ctx.field("seed", "Of the noise: the same seed is the same video", seed);
      ctx.shows.push(() => { if (document.activeElement !== seed) seed.value = ctx.get("seed"); });
      ctx.select("clean", "clean", "Take noise out of the sound before mini hears it; the video keeps the sound", [["", "no"], ["wiener", "Wiener"], ["noisereduce", "gate"]]);
      ctx.check("compare", "keep last run", "Show the next run beside the last one, under one cursor: for example 2 steps against 4");
      ctx.shows.push((body) => ctx.root.classList.toggle("la-bench-two", !!body.beside));
    });
    const why = laElement("div", { class: "la-note la-bench-why" });
    const card = view.card(ctx, "Settings", grid, why);
    ctx.fill(card.firstChild, () => ctx.copyButton());
    ctx.shows.push((body) => {
      if (!view.isNew(ctx, "why", body.preset)) return;
      const preset = body.presets.find(([name]) => name === body.preset);
      why.replaceChildren(...(preset ? preset.slice(1).map((words) => laElement("div", {}, words)) : []));
    });
  },

  /* ---- pieces */

  text(ctx, trait, tip, rows) {
    const area = laElement("textarea", { rows, title: tip, "aria-label": tip, "data-trait": trait, spellcheck: "false", oninput: () => ctx.set(trait, area.value) });
    area.addEventListener("keydown", (event) => event.stopPropagation());
    ctx.shows.push(() => { if (document.activeElement !== area && area.value !== ctx.get(trait)) area.value = ctx.get(trait); });
    return area;
  },

  listOf(ctx, trait, label, tip, options) {
    const list = laElement("select", { "data-trait": trait, onchange: () => ctx.set(trait, list.value) });
    ctx.field(label, tip, list);
    ctx.shows.push((body) => {
      const now = ctx.get(trait), all = options(body);
      const values = all.includes(now) ? all : [...all, now];
      if (list.childElementCount !== values.length) list.replaceChildren(...values.map((value) => laElement("option", { value }, value.replace("*", "×"))));
      list.value = now;
    });
  },

  fileInput(ctx, what, accept) {
    const input = laElement("input", { type: "file", accept, hidden: true, "data-upload": what });
    input.addEventListener("change", async () => {
      const file = input.files[0];
      if (!file) return;
      const bytes = new Uint8Array(await file.arrayBuffer()), parts = Math.max(1, Math.ceil(bytes.length / BENCH_PIECE));
      for (let part = 0; part < parts; part++) {
        let text = "";
        const piece = bytes.subarray(part * BENCH_PIECE, (part + 1) * BENCH_PIECE);
        for (let i = 0; i < piece.length; i += 8192) text += String.fromCharCode(...piece.subarray(i, i + 8192));
        ctx.send("upload", { what, name: file.name, part, parts, data: btoa(text) });
      }
      input.value = "";
    });
    return input;
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
      const tab = laElement("button", { type: "button", role: "tab", class: "la-tab", title: tip, "data-page": page, onclick: () => { ctx.set("page", page); view.open(ctx); } }, title);
      ctx.tabs.append(tab);
    }
    ctx.on("change:page", () => view.open(ctx));
    view.open(ctx);
    ctx.changed();
  },

  async mount(ctx, id, box) {
    if (!id) { box.hidden = true; return; }
    const model = await ctx.model.widget_manager.get_model(id), child = await ctx.model.widget_manager.create_view(model);
    ctx.made.push(child);
    box.append(child.el);
  },

  /* Show a page; its view is made when it is first opened. */
  open(ctx) {
    const children = ctx.get("_children"), known = BENCH_PAGES.filter(([, child]) => children[child]);
    const page = known.some(([name]) => name === ctx.get("page")) ? ctx.get("page") : known[0][0];
    for (const tab of ctx.tabs.children) tab.setAttribute("aria-selected", tab.dataset.page === page);
    if (!ctx.opened.has(page)) {
      const box = laElement("div", { class: `la-bench-page la-bench-page-${page}`, role: "tabpanel" });
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
      if (what === "face") { ctx.faceSource = laPicture(bytes, Number(width), Number(height)); ctx.faces = (ctx.faces ?? 0) + 1; }
    }
  },

  drawWave(ctx, total, most) {
    const width = ctx.waveCanvas.parentElement.clientWidth - 20, height = 30, pen = laCanvas(ctx.waveCanvas, width, height), theme = ctx.theme();
    if (!ctx.wave || !total) return;
    const pitch = width / ctx.wave.length, used = most && most < total ? most / total : 1;
    ctx.wave.forEach((peak, i) => {
      const tall = Math.max(1, peak * (height - 2));
      pen.fillStyle = (i + 0.5) / ctx.wave.length <= used ? theme.accent : theme.line;
      pen.fillRect(i * pitch, (height - tall) / 2, Math.max(1, pitch - 1), tall);
    });
  },

  draw(ctx) {
    if (!ctx.body?.presets) return;
    for (const show of ctx.shows) show(ctx.body);
  },

  leave(ctx) { for (const child of ctx.made) child.remove(); },
};
