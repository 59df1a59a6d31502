/* The stage of the player: one run, or two against each other. */

import { laBlinks, laBoxes, laChip, laPut, laRound, laWipe } from "./compare.js";
import { stageHeight } from "./present.js";
import { laCanvas } from "#liveavatar/web/canvas.js";
import { laSeconds } from "#liveavatar/web/format.js";

export function drawStage(ctx, theme) {
  const { engine, body } = ctx, other = !!body.others.b, show = other ? ctx.get("show") : "one", time = engine.shown;
  const a = engine.frame("a", time), b = other ? engine.frame("b", time) : null;
  ctx.aspect = a ? a.width / a.height : (ctx.aspect ?? 1);
  const width = Math.max(ctx.main.clientWidth, 200), height = stageHeight(ctx, ctx.get("height_px"));
  const boxes = laBoxes(width, height, show === "side" ? 2 : 1, ctx.aspect), [box] = boxes, chips = [];
  const pen = laCanvas(ctx.stage, width, Math.round(box.h));
  ctx.comparing = show;
  ctx.box = box;
  pen.fillStyle = theme.faint;
  for (const one of boxes) laRound(pen, one, () => pen.fillRect(one.x, 0, one.w, one.h));
  if (show === "side") {
    boxes.forEach((one, i) => {
      laRound(pen, one, () => laPut(pen, i ? b : a, one));
      chips.push([i ? "b" : "a", one.x + 8]);
    });
  } else if (show === "wipe") {
    laWipe(pen, a, b, box, ctx.get("split"));
    chips.push(["a", box.x + 8], ["b", box.x + box.w - 8, "right"]);
  } else if (show === "blink") {
    const second = laBlinks(ctx.get("blink_s"));
    laRound(pen, box, () => laPut(pen, second ? b : a, box));
    chips.push([second ? "b" : "a", second ? box.x + box.w - 8 : box.x + 8, second ? "right" : "left"]);
  } else if (show === "difference") drawDifference(ctx, pen, theme, a, b, box);
  else {
    laRound(pen, box, () => laPut(pen, a, box));
    if (other) chips.push(["a", box.x + 8]);
  }
  const most = box.w / (show === "wipe" ? 2 : 1) - 12;
  for (const [name, x, align] of chips) laChip(pen, theme, body.names[name], x, 8, align, true, most);
  drawState(ctx, pen, theme, boxes, !!a);
}

/* What is seen where it is no finished picture, and what is waited for. */
function stateWords(ctx) {
  const { engine, body } = ctx, { run, guess } = body;
  if (engine.guessAt(engine.shown)) {
    const last = guess.step === guess.steps - 1 ? ", the last" : ` of ${guess.steps}`;
    if (guess.preview && engine.guesses.has(`${guess.block}`)) return `decoding the guess of step ${guess.step} …`;
    return `guess after step ${guess.step}${last}${guess.preview ? " · preview" : ""}`;
  }
  if (engine.waiting && engine.ready <= 0) return "the first picture is being made …";
  if (engine.waiting) return `waiting for block ${Math.round(engine.ready / run.block_s)} …`;
  if (!engine.ready) return run.state === "ready" || run.stepping ? "" : "nothing decoded yet";
  return engine.shown > engine.ready + 0.02 ? `not made yet: there are ${laSeconds(engine.ready)}` : "";
}

function drawState(ctx, pen, theme, boxes, seen) {
  const { run } = ctx.body, words = stateWords(ctx), [first] = boxes, last = boxes.at(-1);
  const guessed = !!ctx.engine.guessAt(ctx.engine.shown);
  const middle = guessed ? first.x + first.w / 2 : (first.x + last.x + last.w) / 2;
  if (words) laChip(pen, theme, words, middle, first.h - 34, "center");
  ctx.stage.setAttribute("aria-label", guessed ? `the ${words}, block ${ctx.body.guess.block}` : "the video");
  if (seen || run.state !== "ready") return;
  pen.fillStyle = theme.soft;                                       // an empty stage
  pen.beginPath();
  const y = boxes[0].h / 2 - 10;
  pen.moveTo(middle - 16, y - 24);
  pen.lineTo(middle + 26, y);
  pen.lineTo(middle - 16, y + 24);
  pen.fill();
  pen.font = `13px ${theme.font}`;
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.fillText(ctx.get("controls") ? "press Start, or space" : "not started yet", middle, y + 50);
}

/* |A - B|, made brighter; and how much it is. */
function drawDifference(ctx, pen, theme, a, b, box) {
  if (!a || !b) return;
  const { width, height } = a;
  ctx.scratch ??= document.createElement("canvas");
  ctx.scratch.width = width;
  ctx.scratch.height = height;
  const small = ctx.scratch.getContext("2d", { willReadFrequently: true });
  const read = (frame) => {
    small.drawImage(frame.bitmap, frame.x, 0, frame.width, frame.height, 0, 0, width, height);
    return small.getImageData(0, 0, width, height);
  };
  const first = read(a), second = read(b), gain = ctx.get("gain");
  let sum = 0;
  for (let i = 0; i < first.data.length; i++) {
    if (i % 4 === 3) continue;
    const off = Math.abs(first.data[i] - second.data[i]);
    sum += off;
    first.data[i] = Math.min(off * gain, 255);
  }
  small.putImageData(first, 0, 0);
  laRound(pen, box, () => laPut(pen, { bitmap: ctx.scratch, x: 0, y: 0, width, height }, box));
  const mean = (sum / (width * height * 3) / 2.55).toFixed(2);
  laChip(pen, theme, `|A − B|, ${gain}× brighter: ${mean} % on average`, box.x + 8, 8, "left", true);
}
