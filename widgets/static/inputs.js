/* What goes into a video: the cards Portrait, Sound, Prompt and Settings of the workbench. */

import { UploadLine } from "./upload.js";
import { RECORD_NAME, Recorder } from "./recorder.js";
import { Waveform } from "./waveform.js";
import { LA_STEP_COUNTS } from "./controls.js";
import { laCanvas } from "#liveavatar/web/canvas.js";
import { laElement } from "#liveavatar/web/element.js";
import { laSeconds, wholeNumber } from "#liveavatar/web/format.js";

const FACE_WIDE = 96, FACE_TALL = 116;  // px, room for the portrait
const SLOTS = ["gesture", "mood", "lighting", "energy"];
const SLOT_WORDS = { rest: "hands still" };                       // values of the prompt that sound odd by themselves

/* Whether something is another than at the last drawing: what has not changed is left alone. */
export function isNew(ctx, name, ...now) {
  const key = JSON.stringify(now), is = ctx.known.get(name) !== key;
  ctx.known.set(name, key);
  return is;
}

function card(ctx, name, title, ...children) {
  const element = laElement("section", { class: `la-card la-card-${name}`, "aria-label": title },
    laElement("h4", {}, title), ...children);
  ctx.left.append(element);
  return element;
}

/* One of a few, as buttons side by side. options: [value, words, tip, what a click does]. */
function segments(ctx, trait, label, options) {
  const buttons = options.map(([value, words, tip, choose = () => ctx.set(trait, value)]) => laElement("button",
    { type: "button", class: "la-pick", title: tip, "data-value": value, onclick: choose }, words));
  ctx.shows.push(() => {
    for (const button of buttons) button.setAttribute("aria-pressed", button.dataset.value === ctx.get(trait));
  });
  return laElement("div", { class: "la-picks", role: "group", "aria-label": label, "data-trait": trait }, ...buttons);
}

function textArea(ctx, trait, tip, rows) {
  const area = laElement("textarea", { rows, title: tip, "aria-label": tip, "data-trait": trait, spellcheck: "false",
    oninput: () => ctx.set(trait, area.value) });
  ctx.shows.push(() => {
    if (document.activeElement !== area && area.value !== ctx.get(trait)) area.value = ctx.get(trait);
  });
  return area;
}

/* ---- portrait */

export function portraitCard(ctx) {
  const upload = new UploadLine(ctx, "face", "image/*");
  const words = laElement("div", { class: "la-note la-bench-face-words" });
  const warning = laElement("div", { class: "la-note la-warning", role: "note", hidden: true });
  ctx.faceCanvas = laElement("canvas", { role: "img", "aria-label": "the portrait, as the video will show it" });
  const choose = segments(ctx, "face", "where the portrait comes from", [
    ["sample", "Photo", "A photograph that is shipped, of somebody who does not exist"],
    ["designer", "Avatar", "A rendered person, made by hand or at random"],
    ["picture", "Upload", "A picture of your own",
      () => (ctx.get("picture") ? ctx.set("face", "picture") : upload.choose())]]);
  const people = laElement("div", { class: "la-bench-face-buttons", role: "group", "aria-label": "photographs" });
  const avatar = faceButtons(ctx, () => {
    ctx.button("Random", "Somebody else", () => ctx.send("random"));
    ctx.button("Design …", "Change the avatar by hand, below", () => ctx.set("page", "avatar"));
  });
  const own = faceButtons(ctx, () => ctx.button("Choose a file …", "A picture of your own", () => upload.choose()));
  card(ctx, "face", "Portrait", choose, laElement("div", { class: "la-bench-face" },
    laElement("div", {}, ctx.faceCanvas),
    laElement("div", {}, people, avatar, own, words)), strength(ctx, "portrait", "1: the whole portrait; less: only " +
      "its " +
    "blurred colours; 0: none, and the seed decides who speaks"), warning, upload.element, upload.input);
  ctx.shows.push((body) => {
    if (!people.childElementCount) {
      people.append(...body.people.map((name) => laElement("button", { type: "button", class: "la-button",
        "data-value": name, title: `The photograph of a ${name}`, onclick: () => ctx.set("person", name) }, name)));
    }
    for (const one of people.children) one.setAttribute("aria-pressed", one.dataset.value === ctx.get("person"));
    people.hidden = ctx.get("face") !== "sample";
    avatar.hidden = ctx.get("face") !== "designer";
    own.hidden = ctx.get("face") !== "picture";
    if (!isNew(ctx, "face", ctx.get("face"), body.frame, body.picture, ctx.faces, devicePixelRatio)) return;
    const { frame } = body;
    const size = frame ? `${frame.width} × ${frame.height} px` : "";
    const kind = { sample: "a generated photograph", designer: "a rendered avatar" }[ctx.get("face")];
    words.replaceChildren(kind ?? (body.picture || "no picture yet"), laElement("br"), size);
    words.title = frame ? `The video will have ${size}. What does not fit into it is cut off, as it is here.` : "";
    warning.textContent = frame?.warning ?? "";
    warning.hidden = !warning.textContent;
    drawFace(ctx);
  });
}

function faceButtons(ctx, make) {
  return ctx.fill(laElement("div", { class: "la-bench-face-buttons" }), make);
}

/* How much a condition steers the video, 0 to 1. */
function strength(ctx, what, tip) {
  return ctx.fill(laElement("div", { class: "la-bench-strength" }), () => ctx.slider(`${what}_strength`, "strength",
    `How much the ${what} steers the video. ${tip}`, { step: 0.05, words: (value) => value.toFixed(2) }));
}

function drawFace(ctx) {
  const source = ctx.faceSource;
  if (!source) return;
  const scale = Math.min(FACE_WIDE / source.width, FACE_TALL / source.height);
  const width = Math.round(source.width * scale), height = Math.round(source.height * scale);
  const pen = laCanvas(ctx.faceCanvas, width, height);
  pen.imageSmoothingQuality = "high";
  pen.drawImage(source, 0, 0, width, height);
  ctx.player.style.setProperty("--la-face", `url(${source.toDataURL()})`);     /* seen where the video will be */
}

/* ---- sound */

export function soundCard(ctx) {
  const upload = new UploadLine(ctx, "sound", "audio/*,video/*");
  const recorded = new UploadLine(ctx, "microphone", "audio/*");
  const recorder = ctx.recorder = new Recorder(ctx, (file) => recorded.send(file));
  const choose = segments(ctx, "sound", "where the speech comes from", [
    ["sample", "Sample", "A recording that is shipped"],
    ["text", "Write", "A synthetic voice says what you write"],
    ["recording", "Upload", "A recording of your own: any sound or video file",
      () => (ctx.get("recording") ? ctx.set("sound", "recording") : upload.choose())],
    ["microphone", "Record", "Speak into the microphone",
      () => (recorder.recording ? recorder.stop() : recorder.start())]]);
  const samples = laElement("div", { class: "la-picks la-bench-samples", role: "group", "aria-label": "samples" });
  const text = textArea(ctx, "text", "What the voice should say", 2);
  const voice = laElement("select", { "aria-label": "voice", "data-trait": "voice", title: "The voice",
    onchange: () => ctx.set("voice", voice.value) });
  const chosen = ctx.fill(laElement("div", { class: "la-bench-upload" }), () =>
    ctx.button("Choose a file …", "Any sound or video file", () => upload.choose()));
  const name = laElement("span", { class: "la-note" });
  chosen.append(name);
  const wave = ctx.waveform = new Waveform(ctx);
  const said = laElement("div", { class: "la-note la-bench-said" });
  const seconds = secondsList(ctx);
  const length = laElement("span", { class: "la-note" });
  card(ctx, "sound", "Sound", choose, samples, text, voice, chosen, recorder.element, recorded.element, upload.element,
    wave.canvas, said, laElement("div", { class: "la-bench-length" }, wave.button, length,
      laElement("span", { class: "la-space" }),
      seconds.element), strength(ctx, "sound", "1: as it is; less: mixed with noise; 0: none"), upload.input,
        recorded.input);

  ctx.shows.push((body) => {
    const kind = ctx.get("sound"), total = body.sound?.seconds ?? 0, most = ctx.get("seconds");
    const start = ctx.get("start_s");
    const spoken = kind === "recording" && RECORD_NAME.test(body.recording);
    choose.querySelector("[data-value=microphone]").setAttribute("aria-pressed", recorder.recording || spoken);
    choose.querySelector("[data-value=recording]").setAttribute("aria-pressed", kind === "recording" && !spoken);
    if (!isNew(ctx, "sound", kind, body.sound, most, start, ctx.get("sample"), ctx.get("voice"), body.recording,
      ctx.waves,
      wave.canvas.parentElement.clientWidth, ctx.theme().dark)) return;
    if (!samples.childElementCount) {
      samples.append(...body.samples.map(([sample, words]) => laElement("button", { type: "button", class: "la-pick",
        "data-value": sample, title: words, onclick: () => ctx.set("sample", sample) }, sample)));
    }
    if (voice.childElementCount !== body.voices.length) {
      voice.replaceChildren(...body.voices.map((one) => laElement("option", {}, one)));
    }
    for (const one of samples.children) one.setAttribute("aria-pressed", one.dataset.value === ctx.get("sample"));
    const write = choose.querySelector("[data-value=text]");
    write.disabled = !body.voices.length;
    if (write.disabled) write.title = body.voiceless;
    voice.value = ctx.get("voice");
    samples.hidden = kind !== "sample";
    text.hidden = voice.hidden = kind !== "text";
    chosen.hidden = kind !== "recording";
    name.textContent = name.title = body.recording || "no file yet";
    said.textContent = said.title = kind !== "text" && body.sound?.text ? `“${body.sound.text.trim()}”` : "";
    wave.draw(total);
    wave.button.disabled = !total;
    const [from, to] = wave.part, all = to - from > total - 0.02;
    length.textContent = !total ? "" : all ? laSeconds(total) :
      `${start ? `${from.toFixed(2)} to ` : ""}${to.toFixed(2)} of ${laSeconds(total)}`;
    seconds.show(start, most);
  });
}

/* How much of the sound is used, from its beginning on: a shorter way than the waveform. */
function secondsList(ctx) {
  const part = laElement("option", { value: -1, hidden: true }, "a part");
  const element = laElement("select", { "aria-label": "seconds at most", "data-trait": "seconds",
    title: "How much of the sound is used",
    onchange: () => { ctx.set("start_s", 0); ctx.set("seconds", Number(element.value)); } },
    ...[[0, "all of it"], [2, "first 2 s"], [4, "first 4 s"], [8, "first 8 s"]].map(([value, words]) =>
      laElement("option", { value }, words)), part);
  return { element, show(start, most) {
    const listed = [...element.options].some((option) => Number(option.value) === most);
    if (!start && !listed) element.insertBefore(laElement("option", { value: most }, `first ${most} s`), part);
    part.hidden = !start;
    element.value = start ? -1 : most;
  } };
}

/* ---- prompt */

export function promptCard(ctx) {
  const text = textArea(ctx, "prompt", "Gesture, mood, light and energy in everyday words", 2);
  const chips = laElement("div", { class: "la-bench-chips" });
  card(ctx, "prompt", "Prompt", text, chips);
  const called = (value) => SLOT_WORDS[value] ?? value;
  ctx.shows.push(({ words, remarks }) => {
    if (!isNew(ctx, "words", words, remarks)) return;
    const slots = words.free ? [] : SLOTS;
    chips.replaceChildren(
      ...slots.map((slot) => laElement("span", { class: `la-chip ${words.slots[slot] ? "la-chip-on" : ""}`,
        title: words.slots[slot] ? `understood: ${slot}` : `nothing is said of the ${slot}` },
        laElement("i", {}, slot), called(words.slots[slot] ?? words.unsaid[slot]))),
      ...words.unknown.map((word) => laElement("span", { class: "la-chip la-chip-off",
        title: "mini does not know this: it changes nothing" }, word)),
      words.free ? laElement("div", { class: "la-note" }, "This model reads every word.") : "",
      remarks ? laElement("div", { class: "la-note" }, remarks) : "");
  });
}

/* ---- settings */

export function settingsCard(ctx) {
  const presets = laElement("div", { class: "la-picks la-bench-presets", role: "group", "aria-label": "presets" });
  const grid = ctx.fill(laElement("div", { class: "la-bench-settings" }), () => {
    ctx.select("steps", "steps", "Denoising steps of a block; the student was trained for 4, the many-step base for " +
      "many",
      LA_STEP_COUNTS.map((count) => [count, `${count}`]));
    const model = ctx.select("model", "model", "The student makes a picture in 4 steps; it was distilled from the " +
      "many-step base, its teacher, which needs 16 or more", [["student", "student"], ["teacher", "teacher"]]);
    ctx.shows.push((body) => { model.hidden = !body.models; });
    sizeList(ctx);
    ctx.select("schedule", "noise", "The noise levels: as mini was trained, as Live Avatar was released, even, or " +
      "your " +
      "own from the view Path", ["trained", "released", "linear", "own"].map((name) => [name, name]));
    ctx.select("solver", "solver", "Straight on, or by a guess and fresh noise",
      [["euler", "Euler"], ["renoise", "re-noise"]]);
    const seed = laElement("input", { type: "number", min: 0, step: 1, "data-trait": "seed",
      onchange: () => ctx.set("seed", seed.valueAsNumber = wholeNumber(seed.value, ctx.get("seed"))) });
    ctx.field("seed", "Of the noise: the same seed is the same video", seed);
    ctx.shows.push(() => { if (document.activeElement !== seed) seed.value = ctx.get("seed"); });
    ctx.select("clean", "clean", "Take noise out of the sound before mini hears it; the video keeps the sound",
      [["", "no"], ["wiener", "Wiener"], ["noisereduce", "gate"]]);
    ctx.check("label", "mark photos", "Burn a small visible “AI” into the video of a photograph");
    ctx.check("compare", "keep last run", "Show the next run beside the last one, under one cursor: for example 2 " +
      "steps " +
      "against 4");
    ctx.shows.push((body) => ctx.root.classList.toggle("la-bench-two", !!body.beside));
  });
  const why = laElement("div", { class: "la-note la-bench-why" });
  const element = card(ctx, "settings", "Settings", presets, grid, why);
  ctx.fill(element.firstChild, () => ctx.copyButton());
  ctx.shows.push((body) => {
    if (!presets.childElementCount) {
      presets.append(...body.presets.map(([name, article, mini]) => laElement("button", { type: "button",
        class: "la-pick", "data-preset": name, title: `${article}\n${mini}`,
        onclick: () => ctx.send("preset", { name }) }, name)));
    }
    for (const button of presets.children) button.setAttribute("aria-pressed", button.dataset.preset === body.preset);
    if (!isNew(ctx, "why", body.preset)) return;
    const preset = body.presets.find(([name]) => name === body.preset);
    why.replaceChildren(...(preset ? preset.slice(1).map((words) => laElement("div", {}, words)) : []));
  });
}

function sizeList(ctx) {
  const list = laElement("select", { "data-trait": "size", onchange: () => ctx.set("size", list.value) });
  const option = (size, own) => laElement("option", { value: size }, (size || own).replace("*", "×"));
  ctx.field("size", "Width × height in pixels. The first is what the model was trained at: the portrait is cropped " +
    "to " +
    "it. Others are an area, the portrait gives the shape, and come out worse", list);
  ctx.shows.push(({ sizes, own_size: own }) => {
    const now = ctx.get("size"), values = sizes.includes(now) ? sizes : [...sizes, now];
    if (isNew(ctx, "sizes", values, own)) list.replaceChildren(...values.map((size) => option(size, own)));
    list.value = now;
  });
}
