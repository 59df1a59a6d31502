/* Beside and below the lanes of LipView: the frame under the mouse, agreement against delay, checks, one sound at
   every sampler step. */

import { lipShape } from "./lip_lanes.js";
import { soundAt } from "./lip_time.js";
import { laCanvas } from "#liveavatar/web/canvas.js";
import { laElement } from "#liveavatar/web/element.js";
import { laLag, laSeconds } from "#liveavatar/web/format.js";
import { laTerm } from "#liveavatar/web/term.js";

export function drawMouth(ctx, theme) {
  const side = ctx.narrow ? 118 : 158, gap = 10, pen = laCanvas(ctx.face, 2 * side + gap, side);
  const frame = ctx.body.frame, picture = ctx.framePicture;
  pen.fillStyle = theme.faint;
  for (const x of [0, side + gap]) { pen.beginPath(); pen.roundRect(x, 0, side, side, 6); pen.fill(); }
  if (!frame || !picture) {
    ctx.faceWords.textContent = "not made yet";
    return;
  }
  const short = Math.min(frame.width, frame.height), left = (frame.width - short) / 2;
  const top = (frame.height - short) / 2;
  const crop = frame.crop * short, place = frame.place ?? [0, 0.3];
  const cx = Math.min(Math.max(left + ((1 + place[0]) / 2) * short - crop / 2, 0), frame.width - crop);
  const cy = Math.min(Math.max(top + ((1 + place[1]) / 2) * short - crop / 2, 0), frame.height - crop);
  pen.imageSmoothingQuality = "high";
  [[left, top, short, 0], [cx, cy, crop, side + gap]].forEach(([x, y, size, at]) => {
    pen.save();
    pen.beginPath();
    pen.roundRect(at, 0, side, side, 6);
    pen.clip();
    pen.drawImage(picture, x, y, size, size, at, 0, side, side);
    pen.restore();
  });
  const k = side / short;
  pen.strokeStyle = "rgba(255,255,255,0.75)";
  pen.lineWidth = 1;
  pen.strokeRect((cx - left) * k, (cy - top) * k, crop * k, crop * k);
  const fps = ctx.body.run.fps, value = (column) => ctx.curves?.[4 * frame.index + column];
  const sound = soundAt(ctx, (frame.index + 0.5) / fps);
  const number = (v) => (v === undefined || Number.isNaN(v) ? "–" : v.toFixed(2));
  ctx.faceWords.replaceChildren(
    laElement("span", {},
      `frame ${frame.index} · ${laSeconds(frame.index / fps)}`,
      sound >= 0 && ctx.sounds[sound][3] !== -1 ? ` · ${ctx.sounds[sound][0]}` : ""),
    laTerm("open_of", "open ", laElement("b", {}, number(value(0))), " of ", laElement("b", {}, number(value(1)))));
}

export function drawDelay(ctx, theme) {
  const width = ctx.narrow ? 300 : 326, height = 168, left = 30, right = width - 8, top = 10, bottom = height - 34;
  const pen = laCanvas(ctx.delay, width, height);
  const curve = ctx.body.curve, lags = curve?.lags_ms ?? [-400, 400];
  const x = (ms) => left + ((ms - lags[0]) / (lags.at(-1) - lags[0])) * (right - left);
  const least = Math.min(-0.25, Math.floor(4 * Math.min(...(curve?.correlation ?? []))) / 4 || 0);
  const y = (value) => bottom - Math.min(Math.max((value - least) / (1 - least), 0), 1) * (bottom - top);
  const bands = [[ctx.body.acceptable, theme.dark ? 0.16 : 0.13], [ctx.body.detectable, theme.dark ? 0.3 : 0.24]];
  for (const [band, alpha] of bands) {
    pen.fillStyle = theme.green;
    pen.globalAlpha = alpha;
    pen.fillRect(x(band[0]), top, x(band[1]) - x(band[0]), bottom - top);
  }
  pen.globalAlpha = 1;
  pen.font = `10px ${theme.font}`;
  pen.textBaseline = "middle";
  for (const level of [-0.5, 0, 0.5, 1].filter((one) => one > least)) {
    pen.strokeStyle = theme.line;
    pen.lineWidth = level ? 0.5 : 1;
    pen.beginPath();
    pen.moveTo(left, y(level));
    pen.lineTo(right, y(level));
    pen.stroke();
    pen.fillStyle = theme.soft;
    pen.textAlign = "right";
    pen.fillText(level, left - 5, y(level));
  }
  pen.textBaseline = "alphabetic";
  for (const ms of [-400, -200, 0, 200, 400]) {
    pen.fillStyle = theme.soft;
    pen.textAlign = ms === -400 ? "left" : ms === 400 ? "right" : "center";
    pen.fillText(ms === 0 ? "0 ms" : ms, x(ms), bottom + 13);
  }
  pen.textAlign = "left";
  pen.fillText("← lips early", left, height - 6);
  pen.textAlign = "right";
  pen.fillText("lips late, sound early →", right, height - 6);
  const words = "ITU-R BT.1359", free = [left + pen.measureText("← lips early").width,
    right - pen.measureText("lips late, sound early →").width];
  const from = (free[0] + free[1] - pen.measureText(words).width - 12) / 2;       // below, where no curve comes
  pen.textAlign = "left";
  pen.fillText(words, from + 12, height - 6);
  pen.fillStyle = theme.green;
  pen.globalAlpha = 0.55;
  pen.fillRect(from, height - 14, 9, 9);
  pen.globalAlpha = 1;
  if (!curve?.correlation.length) return;
  pen.strokeStyle = theme.ink;
  pen.lineWidth = 1.8;
  pen.lineJoin = "round";
  pen.beginPath();
  curve.correlation.forEach((value, i) => pen.lineTo(x(lags[i]), y(value)));
  pen.stroke();
  const at = x(curve.best_ms);
  pen.strokeStyle = pen.fillStyle = theme.vermilion;
  pen.lineWidth = 1.4;
  pen.beginPath();
  pen.moveTo(at, bottom);
  pen.lineTo(at, y(curve.peak));
  pen.stroke();
  pen.beginPath();
  pen.arc(at, y(curve.peak), 4, 0, 7);
  pen.fill();
}

export function drawVerdict(ctx) {
  const { curve, verdict } = ctx.body;
  if (!curve || curve.best_ms === null) {
    const words = curve?.reason ? `Delay: ${curve.reason}.` : "measuring …";
    ctx.big.replaceChildren(laElement("span", { class: "la-note" }, words));
    return;
  }
  const words = Math.abs(curve.best_ms) < 0.5 ? "on time" : curve.best_ms > 0 ? "lips late" : "lips early";
  ctx.big.replaceChildren(laElement("b", {}, laTerm("lip_delay", laLag(curve.best_ms))),
    laElement("span", {},
      laElement("span", {}, `${words} · `, laTerm("lip_correlation", `correlation ${curve.peak.toFixed(2)}`)),
      laElement("span", { class: "la-note" }, laTerm("itu_band", verdict))));
}

export function drawChecks(ctx) {
  const checks = ctx.body.checks ?? [];
  const share = (value) => (value === null || Number.isNaN(value) ? "–" : `${Math.round(100 * value)} %`);
  ctx.checks.hidden = !checks.length;
  const heads = ["", laTerm("seen_share", "seen"), "of", laTerm("at_best", "at best")];
  ctx.checks.replaceChildren(laElement("tr", {}, ...heads.map((words) => laElement("th", {}, words))),
    ...checks.map(([name, count, seen, best]) => laElement("tr", {}, laElement("th", {}, name),
      laElement("td", {}, laElement("b", {}, share(seen))), laElement("td", {}, count),
      laElement("td", {}, share(best)))));
}

export function drawTiles(ctx, theme) {
  const tiles = ctx.body.tiles, words = ctx.tileWords;
  ctx.tiles.hidden = !tiles || tiles.waiting || !ctx.tilesPicture;
  if (!tiles) {
    words.textContent = ctx.sounds.length ? "Click a sound to see its frames at every sampler step." : "";
    return;
  }
  const dot = laElement("i", { style: `background:${lipShape(theme, tiles.shape)}` });
  const shape = tiles.shape >= 0 ? ctx.body.shapes[tiles.shape] : tiles.shape === -1 ? "silence"
    : "no shape of its own";
  words.replaceChildren(dot, laElement("b", {}, tiles.symbol),
    ` ${shape} · ${tiles.start_s.toFixed(2)} to ${laSeconds(tiles.end_s)} · `,
    tiles.waiting ? (tiles.made ? "decoding its frames at every step …" : "not made yet")
      : `its frames at every step, ${tiles.how}`);
  if (ctx.tiles.hidden) return;
  const room = Math.max(ctx.main.clientWidth - 360, 300);
  const side = (across) => Math.min(96, Math.floor(((room + 18) / across - 18) / tiles.count) - 4);
  const across = [tiles.steps, Math.ceil(tiles.steps / 2)].find((count) => side(count) >= 56) ?? 1;
  const tile = side(across), pitch = tile + 4, group = tiles.count * pitch + 18, tall = tile + 42;
  const pen = laCanvas(ctx.tiles, across * group, Math.ceil(tiles.steps / across) * tall);
  const now = Math.floor(ctx.time * ctx.body.run.fps + 1e-6) - tiles.first;
  pen.imageSmoothingQuality = "high";
  pen.textBaseline = "alphabetic";
  for (let step = 0; step < tiles.steps; step++) {
    const left = (step % across) * group, top = Math.floor(step / across) * tall;
    pen.fillStyle = theme.steps[step % 8];
    pen.fillRect(left, top, tiles.count * pitch - 4, 3);
    pen.fillStyle = theme.ink;
    pen.font = `600 12px ${theme.font}`;
    pen.textAlign = "left";
    pen.fillText(`step ${step}`, left, top + 17);
    for (let i = 0; i < tiles.count; i++) {
      const x = left + i * pitch, y = top + 23;
      pen.save();
      pen.beginPath();
      pen.roundRect(x, y, tile, tile, 4);
      pen.clip();
      pen.drawImage(ctx.tilesPicture, i * tiles.width, step * tiles.height, tiles.width, tiles.height, x, y, tile,
        tile);
      pen.restore();
      pen.font = `11px ${theme.font}`;
      pen.textAlign = "center";
      pen.fillStyle = i === now ? theme.ink : theme.soft;
      if (step < across) pen.fillText(i === 0 && tile > 60 ? `frame ${tiles.first}` : tiles.first + i, x + tile / 2,
        y + tile + 13);
    }
  }
}

export function drawKey(ctx, theme) {
  const { run } = ctx.body, sounds = ctx.body.against === "sounds";
  const how = ctx.body.exact ? ", read off the video" : run.state === "running" ? " (quick look)" : " (being read)";
  const swatch = (colour, words, thin) => laElement("span", {},
    laElement("i", { class: thin ? "la-thin" : "", style: `background:${colour}` }), words);
  ctx.key.replaceChildren(
    swatch(theme.dark ? theme.sky : theme.blue,
      `opening of the mouth${how}`, true),
    swatch(theme.orange, sounds ? "the mouth that says these sounds" : "loudness, stretched to it", true),
      swatch("var(--la-ink)", "loudness", true),
    ...(ctx.sounds.length ? ctx.body.shapes.map((shape, i) => swatch(lipShape(theme, i), shape)) : []));
}
