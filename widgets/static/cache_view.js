/* One ring per noise level; newest frames bright, the place of the next one marked. */

import { laCanvas, laInkOn } from "#liveavatar/web/canvas.js";
import { laElement } from "#liveavatar/web/element.js";
import { laBytes } from "#liveavatar/web/format.js";
import { laTerm } from "#liveavatar/web/term.js";
import { live } from "./live.js";

const RING = 168;                       // px, a side

/* Where a slot begins and ends, in radians, clockwise from the top. */
export function ringAngles(ring, slot) {
  const part = (2 * Math.PI) / ring.capacity;
  return [-Math.PI / 2 + slot * part, -Math.PI / 2 + (slot + 1) * part];
}

/* slot -> latent frame in it, or undefined */
export function ringSlots(ring) {
  const slots = new Array(ring.capacity);
  for (const frame of ring.held) slots[frame % ring.capacity] = frame;
  return slots;
}

function drawRing(pen, ring, theme, colour, body, blockLatents) {
  const middle = RING / 2, outer = RING / 2 - 13, inner = outer * 0.56;
  const slots = ringSlots(ring);
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  for (let slot = 0; slot < ring.capacity; slot++) {
    const [from, to] = ringAngles(ring, slot), frame = slots[slot];
    pen.beginPath();
    pen.arc(middle, middle, outer, from + 0.015, to - 0.015);
    pen.arc(middle, middle, inner, to - 0.015, from + 0.015, true);
    pen.closePath();
    if (frame === undefined) {
      pen.fillStyle = theme.faint;
      pen.fill();
      pen.setLineDash([3, 3]);
      pen.strokeStyle = theme.line;
      pen.lineWidth = 1;
      pen.stroke();
      pen.setLineDash([]);
      continue;
    }
    const age = (ring.end - 1 - frame) / Math.max(ring.capacity - 1, 1);      // 0 newest, 1 oldest
    pen.globalAlpha = 1 - 0.72 * age;
    pen.fillStyle = colour;
    pen.fill();
    pen.globalAlpha = 1;
    if (Math.floor(frame / blockLatents) === body.block) {
      pen.strokeStyle = theme.ink;
      pen.lineWidth = 1.6;
      pen.stroke();
    }
    const turn = (from + to) / 2, far = (outer + inner) / 2;
    if (ring.capacity <= 40) {
      pen.fillStyle = age < 0.55 ? laInkOn(colour) : theme.dark ? "#fff" : "#111";
      pen.font = `${ring.capacity > 16 ? 9 : 11}px ${theme.font}`;
      pen.fillText(frame, middle + far * Math.cos(turn), middle + far * Math.sin(turn));
    }
  }
  /* the seam, where the ring closes */
  pen.strokeStyle = theme.ink;
  pen.lineWidth = 2;
  pen.beginPath();
  pen.moveTo(middle, middle - outer - 5);
  pen.lineTo(middle, middle - inner + 4);
  pen.stroke();
  /* where the next frame will be written */
  const [from] = ringAngles(ring, ring.slot), tip = outer + 1;
  pen.save();
  pen.translate(middle, middle);
  pen.rotate(from + Math.PI / ring.capacity);
  pen.fillStyle = theme.vermilion;
  pen.beginPath();
  pen.moveTo(tip, 0);
  pen.lineTo(tip + 11, -7);
  pen.lineTo(tip + 11, 7);
  pen.fill();
  pen.restore();
  /* the condition, always there */
  pen.fillStyle = theme.grey;
  pen.globalAlpha = theme.dark ? 0.42 : 0.26;
  pen.beginPath();
  pen.arc(middle, middle, inner - 7, 0, 2 * Math.PI);
  pen.fill();
  pen.globalAlpha = 1;
  pen.fillStyle = theme.ink;
  pen.font = `600 12px ${theme.font}`;
  const words = ring.motion ? ["portrait", "+ motion"] : ["portrait"];
  words.forEach((word, row) => pen.fillText(word, middle, middle - 8 * words.length + 15 * row));
  pen.fillStyle = theme.soft;
  pen.font = `11px ${theme.font}`;
  pen.fillText(`${ring.condition_tokens} tokens`, middle, middle + 8 * words.length);
}

/* The slot at a point of the canvas, or null beside the ring. */
export function slotAt(ring, x, y) {
  const dx = x - RING / 2, dy = y - RING / 2, far = Math.hypot(dx, dy), outer = RING / 2 - 13;
  if (far > outer || far < outer * 0.56) return null;
  const turn = (Math.atan2(dy, dx) + Math.PI / 2 + 2 * Math.PI) % (2 * Math.PI);
  return Math.floor((turn / (2 * Math.PI)) * ring.capacity);
}

const view = {
  name: "la-cache",

  build(ctx) {
    ctx.transport();
    ctx.space();
    ctx.copyButton();
    ctx.rings = laElement("div", { class: "la-rings" });
    ctx.side = laElement("div", { class: "la-cache-note" });
    ctx.main.append(ctx.rings, ctx.side);
    ctx.places = [];
  },

  place(ctx, level) {
    const canvas = laElement("canvas"), words = laElement("div", { class: "la-ring-words" });
    const place = { canvas, words, ring: null };
    const frameAt = (event) => {
      const slot = slotAt(place.ring, event.offsetX, event.offsetY);
      return slot === null ? [null] : [slot, ringSlots(place.ring)[slot]];
    };
    canvas.addEventListener("pointermove", (event) => {
      const [slot, frame] = frameAt(event), s = ctx.body.frame_s;
      canvas.style.cursor = frame === undefined || slot === null ? "default" : "pointer";
      const whole =
        `The ${place.ring.condition_tokens} tokens of portrait${place.ring.motion ? " and motion" : ""} are ` +
        "seen by every block and never overwritten.";
      canvas.title = slot === null ? whole : frame === undefined ? `slot ${slot}: still empty`
        : `slot ${slot}: latent frame ${frame} of block ${Math.floor(frame / ctx.body.run.block_latents)}, ` +
          `${(frame * s).toFixed(2)} to ${((frame + 1) * s).toFixed(2)} s, as it was at noise ` +
          place.ring.sigma.toFixed(2);
    });
    canvas.addEventListener("click", (event) => {
      const [, frame] = frameAt(event);
      if (frame !== undefined) ctx.move((frame + 0.5) * ctx.body.frame_s);
    });
    ctx.rings.append(laElement("figure", { class: "la-ring" }, canvas, words));
    ctx.places[level] = place;
  },

  draw(ctx) {
    const { rings = [], note, bytes, single_bytes } = ctx.body, theme = ctx.theme();
    while (ctx.places.length < rings.length) view.place(ctx, ctx.places.length);
    while (ctx.places.length > rings.length) { ctx.places.pop(); ctx.rings.lastChild.remove(); }
    rings.forEach((ring, level) => {
      const place = ctx.places[level];
      place.ring = ring;
      drawRing(laCanvas(place.canvas, RING, RING), ring, theme, theme.steps[level % theme.steps.length], ctx.body,
        ctx.body.run.block_latents);
      place.canvas.parentElement.classList.toggle("la-writing", level === ctx.body.step
        && ["running", "paused"].includes(ctx.body.run.state));
      const holds = ring.held.length ? `frames ${ring.held[0]} to ${ring.held.at(-1)}` : "empty";
      const wraps = ring.wrapped ? `wrapped, ${ring.end - ring.capacity} let go`
        : `${ring.capacity - ring.held.length} slots free`;
      place.words.replaceChildren(
        laElement("b", {}, `step ${level}`),
        laElement("span", {}, laTerm("sigma", "noise"), ` ${ring.sigma.toFixed(2)} → ${ring.sigma_next.toFixed(2)}`),
        laElement("span", {}, laTerm("latent_frame", holds), ` · ${laBytes(ring.bytes)}`),
          laElement("span", {}, wraps));
    });
    if (!rings.length) { ctx.side.replaceChildren("The caches fill when the first step is done."); return; }
    ctx.side.replaceChildren(
      laElement("div", { class: "la-cache-sums" },
        laElement("div", {}, laTerm("cache_bytes", laElement("b", {}, laBytes(bytes))), ` ${rings.length} `,
          laTerm("ring", "rings"), ", one per noise level"),
        laElement("div", { class: "la-bytes" }, laElement("i", { style: "width:100%;background:var(--la-accent)" })),
        laElement("div", {}, laElement("b", {}, laBytes(single_bytes)), " one clean cache"),
        laElement("div", { class: "la-bytes" }, laElement("i",
          { style: `width:${100 * single_bytes / bytes}%;background:${theme.grey}` }))),
      laElement("p", {}, note),
      laElement("p", { class: "la-note" }, laElement("span", { class: "la-key" }),
        `next frame goes here. Bold line: where the ring closes. Outlined: block ${ctx.body.block}, the newest.`));
  },

  key(ctx, key) {
    const run = ctx.body?.run, hop = { ArrowLeft: -1, ArrowRight: 1 }[key];
    if (!hop || !run) return false;
    const at = ctx.get("block") >= 0 ? ctx.get("block") : ctx.body.block ?? 0;       // the picture may be behind
    const block = Math.max(0, at + hop);
    ctx.set("block", block);
    ctx.move((block + 0.01) * run.block_s);
    return true;
  },
};

export default live(view);
