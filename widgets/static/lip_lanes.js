/* The lanes of LipView: sound, mel, sounds of the language, opening of the mouth, agreement. */

import { LIP_GAP, LIP_GUTTER, LIP_LANES, LIP_TOP, timeScale } from "./lip_time.js";
import { laCanvas, laColourTable, laInkOn, laPixels } from "#liveavatar/web/canvas.js";

// closed, lip-tooth, spread, open, rounded
const LIP_SHAPES = ["vermilion", "purple", "sky", "orange", "green"];
export const lipShape = (theme, shape) => (shape >= 0 ? theme[LIP_SHAPES[shape]] : theme.grey);

export function drawLanes(ctx, theme) {
  const height = LIP_TOP + LIP_LANES.reduce((sum, [, tall]) => sum + tall + LIP_GAP, 0);
  const pen = laCanvas(ctx.lanes, ctx.width, height), times = timeScale(ctx);
  let top = LIP_TOP;
  drawTicks(pen, theme, times, ctx.width, height);
  for (const [name, tall] of LIP_LANES) {
    const hidden = name === "sounds" && !ctx.sounds.length;
    const words = { wave: "sound", mel: "mel", sounds: "sounds", mouth: "mouth", agreement: "agreement" }[name];
    pen.fillStyle = theme.soft;
    pen.font = `12px ${theme.font}`;
    pen.textAlign = "left";
    pen.textBaseline = "middle";
    pen.fillText(words, 0, top + tall / 2);
    if (name === "mouth") {
      pen.font = `10px ${theme.font}`;
      pen.fillText("wide open", 0, top + 10);
      pen.fillText("closed", 0, top + tall - 5);
    }
    pen.save();
    pen.beginPath();
    pen.rect(LIP_GUTTER, 0, ctx.width - LIP_GUTTER, height);
    pen.clip();
    if (hidden) drawReason(ctx, pen, top + tall / 2);
    else LANE_PAINTERS[name](ctx, pen, theme, times, top, tall);
    pen.restore();
    top += tall + LIP_GAP;
  }
  drawCursor(ctx, pen, theme, times, height - LIP_GAP);
}

/* Why the sounds are not known, in as many lines as it needs. */
function drawReason(ctx, pen, middle) {
  const lines = [""], room = ctx.width - LIP_GUTTER - 12;
  for (const word of (ctx.body.no_sounds || "not known").split(" ")) {
    const longer = `${lines.at(-1)} ${word}`.trim();
    if (pen.measureText(longer).width <= room) lines[lines.length - 1] = longer; else lines.push(word);
  }
  lines.forEach((line, i) => pen.fillText(line, LIP_GUTTER + 6, middle + (i - (lines.length - 1) / 2) * 14));
}

function drawTicks(pen, theme, times, width, height) {
  const every = [0.1, 0.2, 0.5, 1, 2, 5, 10].find((step) => step * times.per_s > 62) ?? 20;
  pen.font = `11px ${theme.font}`;
  pen.textAlign = "center";
  pen.textBaseline = "alphabetic";
  for (let time = Math.ceil(times.from / every - 1e-6) * every; time <= times.to + 1e-6; time += every) {
    const x = times.x(time);
    pen.strokeStyle = theme.line;
    pen.lineWidth = 0.5;
    pen.beginPath();
    pen.moveTo(x, LIP_TOP - 4);
    pen.lineTo(x, height - LIP_GAP);
    pen.stroke();
    pen.fillStyle = theme.soft;
    pen.textAlign = x > width - 20 ? "right" : x < LIP_GUTTER + 12 ? "left" : "center";
    pen.fillText(`${Number(time.toFixed(2))} s`, x, 11);
  }
}

function waveLane(ctx, pen, theme, times, top, tall) {
  const { peaks } = ctx, rate = ctx.body.peaks_hz, middle = top + tall / 2, half = tall / 2 - 1;
  if (!peaks) return;
  pen.fillStyle = theme.grey;
  pen.globalAlpha = 0.55;
  for (let x = LIP_GUTTER; x < ctx.width; x++) {
    const from = Math.max(Math.floor(times.time(x) * rate), 0);
    const to = Math.max(Math.floor(times.time(x + 1) * rate), from + 1);
    let [low, high] = [0, 0];
    for (let i = from; i < to && 2 * i + 1 < peaks.length; i++) {
      low = Math.min(low, peaks[2 * i]);
      high = Math.max(high, peaks[2 * i + 1]);
    }
    pen.fillRect(x, middle - (high / 127) * half, 1, Math.max(((high - low) / 127) * half, 0.8));
  }
  pen.globalAlpha = 1;
  drawCurve(ctx, pen, times, 2, (value) => top + tall - 1 - value * (tall - 3), theme.ink, 1.3);
  drawNonspeech(ctx, pen, theme, times, top, tall);
}

/* Where something is heard but nobody speaks. */
function drawNonspeech(ctx, pen, theme, times, top, tall) {
  pen.font = `11px ${theme.font}`;
  pen.textAlign = "center";
  pen.textBaseline = "top";
  for (const [from, to] of ctx.body.nonspeech ?? []) {
    if (to < times.from || from > times.to) continue;
    const left = Math.max(times.x(from), LIP_GUTTER), right = Math.min(times.x(to), ctx.width), words = "not speech";
    pen.fillStyle = theme.purple;
    pen.globalAlpha = theme.dark ? 0.34 : 0.2;
    pen.fillRect(left, top, right - left, tall);
    pen.globalAlpha = 1;
    const wide = pen.measureText(words).width + 8, middle = (left + right) / 2;
    if (wide > right - left) continue;
    pen.fillStyle = theme.ground;
    pen.fillRect(middle - wide / 2, top + tall - 16, wide, 15);
    pen.fillStyle = theme.ink;
    pen.fillText(words, middle, top + tall - 14);
  }
}

const MEL_STOPS = {   // colour at silence, half way, the loudest
  dark: [[33, 33, 33], [24, 96, 140], [214, 240, 255]],
  light: [[255, 255, 255], [86, 160, 205], [0, 52, 92]],
};

function melLane(ctx, pen, theme, times, top, tall) {
  if (!ctx.mel) return;
  const bands = 64, count = ctx.mel.length / bands;
  if (!ctx.melPicture || ctx.melDark !== theme.dark) {
    ctx.melDark = theme.dark;
    const table = laColourTable(MEL_STOPS[theme.dark ? "dark" : "light"]);
    ctx.melPicture = laPixels(count, bands, (out) => {
      for (let m = 0; m < count; m++)
        for (let b = 0; b < bands; b++) out[(bands - 1 - b) * count + m] = table[ctx.mel[m * bands + b]];
    });
  }
  const rate = ctx.body.mel_hz, from = times.from * rate - 0.5, to = times.to * rate - 0.5;
  pen.imageSmoothingEnabled = true;
  pen.drawImage(ctx.melPicture, from + 0.5, 0, to - from, bands, LIP_GUTTER, top, ctx.width - LIP_GUTTER, tall);
}

function soundsLane(ctx, pen, theme, times, top, tall) {
  const box = tall - 12, chosen = ctx.get("sound");
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  ctx.sounds.forEach(([symbol, from, to, shape, kept], number) => {
    if (to < times.from || from > times.to || shape === -1) return;
    const x0 = times.x(from), wide = Math.max(times.x(to) - x0 - 1.5, 1), colour = lipShape(theme, shape);
    pen.fillStyle = colour;
    pen.globalAlpha = number === chosen ? 1 : theme.dark ? 0.5 : 0.36;
    pen.beginPath();
    pen.roundRect(x0, top, wide, box, 3);
    pen.fill();
    pen.globalAlpha = 1;
    if (number === chosen) { pen.strokeStyle = theme.ink; pen.lineWidth = 1.6; pen.stroke(); }
    pen.font = `${wide > 15 ? 12 : 10}px ${theme.font}`;
    pen.fillStyle = number === chosen ? laInkOn(colour) : theme.ink;
    if (pen.measureText(symbol).width <= wide + 3) pen.fillText(symbol, x0 + wide / 2, top + box / 2 + 0.5);
    if (kept !== null && kept !== undefined) drawMark(pen, theme, kept, x0 + wide / 2, top + box + 7);
  });
}

/* Did the mouth do what the sound asks for? */
function drawMark(pen, theme, kept, x, y) {
  pen.strokeStyle = kept ? theme.soft : theme.vermilion;
  pen.lineWidth = kept ? 1.6 : 2.2;
  pen.lineCap = "round";
  pen.beginPath();
  if (kept) { pen.moveTo(x - 3.5, y); pen.lineTo(x - 1, y + 2.5); pen.lineTo(x + 4, y - 3); }
  else { pen.moveTo(x - 3, y - 3); pen.lineTo(x + 3, y + 3); pen.moveTo(x + 3, y - 3); pen.lineTo(x - 3, y + 3); }
  pen.stroke();
  pen.lineCap = "butt";
}

/* One column of the curves (opening, expected, loudness, agreement), in the middle of each frame. */
function drawCurve(ctx, pen, times, column, y, colour, width, dash = []) {
  const { curves } = ctx, fps = ctx.body.run.fps;
  if (!curves) return;
  pen.strokeStyle = colour;
  pen.lineWidth = width;
  pen.lineJoin = "round";
  pen.setLineDash(dash);
  pen.beginPath();
  let drawing = false;
  for (let f = Math.max(Math.floor(times.from * fps) - 1, 0), last = Math.min(Math.ceil(times.to * fps) + 1,
    curves.length / 4 - 1); f <= last; f++) {
    const value = curves[4 * f + column];
    if (Number.isNaN(value)) { drawing = false; continue; }
    const x = times.x((f + 0.5) / fps);
    if (drawing) pen.lineTo(x, y(value)); else pen.moveTo(x, y(value));
    drawing = true;
  }
  pen.stroke();
  pen.setLineDash([]);
}

function mouthLane(ctx, pen, theme, times, top, tall) {
  const run = ctx.body.run, base = top + tall - 1, y = (value) => base - Math.min(Math.max(value, -0.05),
    1.1) * (tall - 10);
  for (const level of [0, 1]) {
    pen.strokeStyle = theme.line;
    pen.lineWidth = level ? 0.5 : 1;
    pen.beginPath();
    pen.moveTo(LIP_GUTTER, y(level));
    pen.lineTo(ctx.width, y(level));
    pen.stroke();
  }
  const done = times.x(Math.min(run.done_s, times.total));
  if (done < ctx.width) {
    pen.fillStyle = theme.faint;
    pen.globalAlpha = 0.6;
    pen.fillRect(Math.max(done, LIP_GUTTER), top, ctx.width - done, tall);
    pen.globalAlpha = 1;
  }
  drawCurve(ctx, pen, times, 1, y, theme.orange, 1.8);
  drawCurve(ctx, pen, times, 0, y, theme.dark ? theme.sky : theme.blue, 2.4);
  if (done < ctx.width - 130) {
    pen.fillStyle = theme.soft;
    pen.font = `11px ${theme.font}`;
    pen.textAlign = "left";
    pen.textBaseline = "top";
    pen.fillText("not made yet", Math.max(done, LIP_GUTTER) + 8, top + 4);
  }
}

function agreementLane(ctx, pen, theme, times, top, tall) {
  const { curves } = ctx, fps = ctx.body.run.fps, base = top + tall;
  if (!curves) return;
  for (let f = Math.max(Math.floor(times.from * fps), 0), last = Math.min(Math.ceil(times.to * fps),
    curves.length / 4 - 1); f <= last; f++) {
    const value = curves[4 * f + 3];
    if (Number.isNaN(value)) continue;
    const x = times.x(f / fps), wide = Math.max(times.per_s / fps - 0.7, 0.8), off = 1 - value;
    pen.fillStyle = off > 0.3 ? theme.vermilion : off > 0.15 ? theme.orange : theme.dark ? theme.sky : theme.blue;
    pen.globalAlpha = off > 0.15 ? 1 : 0.5;
    pen.fillRect(x, base - Math.max(value * tall, 1), wide, Math.max(value * tall, 1));
  }
  pen.globalAlpha = 1;
}

function drawCursor(ctx, pen, theme, times, height) {
  for (const [time, strong] of [[ctx.mouse?.time, false], [ctx.time, true]]) {
    if (time === undefined || time < times.from || time > times.to) continue;
    const x = times.x(time);
    pen.strokeStyle = pen.fillStyle = strong ? theme.ink : theme.soft;
    pen.lineWidth = 1;
    pen.setLineDash(strong ? [] : [3, 3]);
    pen.beginPath();
    pen.moveTo(x, LIP_TOP - 2);
    pen.lineTo(x, height);
    pen.stroke();
    pen.setLineDash([]);
    if (!strong) continue;
    pen.beginPath();
    pen.moveTo(x - 5, LIP_TOP - 7);
    pen.lineTo(x + 5, LIP_TOP - 7);
    pen.lineTo(x, LIP_TOP);
    pen.fill();
  }
}

const LANE_PAINTERS = { wave: waveLane, mel: melLane, sounds: soundsLane, mouth: mouthLane, agreement: agreementLane };
