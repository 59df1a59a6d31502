/* What each step of a run predicted and changed, at one moment of the video. Needs laElement. */

import { laElement } from "#liveavatar/web/element.js";

/* Build the section into a box. -> draw(time_s), to be called when the video stands elsewhere */
export function buildSteps(steps, box) {
  const words = laElement("p", { class: "rs-words", role: "status" });
  const sheet = (data) => {
    if (!data) return null;
    const picture = new Image();
    picture.src = `data:image/jpeg;base64,${data}`;
    picture.onload = () => draw();
    return picture;
  };
  const canvas = (label) => laElement("canvas", { width: steps.tile[0], height: steps.tile[1], role: "img",
    "aria-label": label });
  const columns = steps.strips.map((strip, index) => {
    const column = { guess: sheet(strip.guess), change: sheet(strip.change), sentence: laElement("span", {}),
      guessCanvas: canvas(`the prediction after step ${index}`), changeCanvas: canvas(`what step ${index} changed`) };
    const noise =
      `noise ${strip.sigma.toFixed(2)} to ${strip.sigma_next.toFixed(2)}, ${strip.milliseconds.toFixed(0)} ms`;
    column.element = laElement("figure", { class: "rs-step" }, column.guessCanvas, column.change && column.changeCanvas,
      laElement("figcaption", {}, laElement("b", {}, `after step ${index}`), laElement("span", {}, noise),
        column.sentence));
    return column;
  });
  const portrait = sheet(steps.portrait), portraitCanvas = canvas("the portrait");
  const known = portrait && laElement("figure", { class: "rs-step" }, portraitCanvas,
    laElement("figcaption", {}, laElement("b", {}, "the portrait"), laElement("span", {}, "known before step 0")));
  box.append(words, laElement("div", { class: "rs-row" }, known, ...columns.map(({ element }) => element)));
  if (steps.scale.length) box.append(scaleOf(steps));
  if (steps.note) box.append(laElement("p", {}, steps.note));

  let time = 0;
  function draw(now = time) {
    time = now;
    const [w, h] = steps.tile, kept = time < steps.ends_s;
    const tile = Math.max(steps.starts_s.findLastIndex((start) => start <= time + 1e-6), 0);
    const block = steps.first.findLastIndex((first) => first <= tile);
    const paint = (target, source) => {
      const pen = target.getContext("2d");
      pen.clearRect(0, 0, w, h);
      if (kept && source?.complete)
        pen.drawImage(source, tile % steps.columns * w, Math.floor(tile / steps.columns) * h, w, h, 0, 0, w, h);
    };
    const [headline, sentences] = steps.words[block] ?? ["", []];
    words.textContent = kept ? `Block ${block}. ${headline}`
      : `The steps of the first ${steps.ends_s.toFixed(1)} s are shown here.`;
    columns.forEach((column, index) => {
      paint(column.guessCanvas, column.guess);
      paint(column.changeCanvas, column.change);
      column.sentence.textContent = kept ? sentences[index] ?? "" : "";
    });
    if (portrait?.complete) portraitCanvas.getContext("2d").drawImage(portrait, 0, 0);
  }
  draw();
  return draw;
}

/* The colours of differences, and what they stand for. */
function scaleOf(steps) {
  const bar = laElement("canvas", { width: steps.scale.length, height: 1 }), pen = bar.getContext("2d");
  steps.scale.forEach((colour, x) => { pen.fillStyle = `rgb(${colour.join()})`; pen.fillRect(x, 0, 1, 1); });
  const ticks = steps.ticks.map(([place, text]) => laElement("span", { style: `left: ${100 * place}%` }, text));
  return laElement("div", { class: "rs-scale" }, laElement("div", {}, bar, ...ticks),
    laElement("span", {}, "What each step changed, below its prediction; step 0 against the portrait. 100 % is " +
      "black against white."));
}
