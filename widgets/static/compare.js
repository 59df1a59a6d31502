/* Two pictures against each other on one canvas: side by side, a wipe, a blink. A picture is a part of a bitmap,
   {bitmap, x, y, width, height}, or null where there is none; a box is {x, y, w, h} in CSS pixels. */

const LA_GAP = 14;                       // px between two boxes

/* Boxes side by side that keep the aspect of the pictures and fill the room. */
export function laBoxes(width, height, count, aspect) {
  const h = Math.min(height, (width - LA_GAP * (count - 1)) / count / aspect), w = h * aspect;
  const left = (width - count * w - LA_GAP * (count - 1)) / 2;
  return Array.from({ length: count }, (_, i) => ({ x: left + i * (w + LA_GAP), y: 0, w, h }));
}

export function laPut(pen, frame, box) {
  if (!frame?.bitmap) return;
  pen.imageSmoothingEnabled = true;
  pen.imageSmoothingQuality = "high";
  pen.drawImage(frame.bitmap, frame.x, frame.y, frame.width, frame.height, box.x, box.y, box.w, box.h);
}

/* The part of a picture that begins at shares [left, top] of it and has a share of its sides. */
export function laPart(frame, part) {
  if (!frame || !part) return frame;
  const [left, top, share] = part, { bitmap, x, y, width, height } = frame;
  return { bitmap, x: x + left * width, y: y + top * height, width: share * width, height: share * height };
}

/* Draw within a box with round corners. */
export function laRound(pen, box, draw, radius = 8) {
  pen.save();
  pen.beginPath();
  pen.roundRect(box.x, box.y, box.w, box.h, radius);
  pen.clip();
  draw();
  pen.restore();
}

/* White words on a dark pill, cut to what there is room for. */
export function laChip(pen, theme, words, x, y, align = "left", strong = false, room = Infinity) {
  pen.font = `${strong ? "600 " : ""}12px ${theme.font}`;
  const fits = (text) => pen.measureText(text).width + 16 <= room;
  if (!fits(words)) {
    const length = [...words].findLastIndex((_, end) => fits(`${words.slice(0, end)}…`));
    words = `${words.slice(0, Math.max(length, 1))}…`;
  }
  const wide = pen.measureText(words).width + 16;
  const left = align === "left" ? x : align === "right" ? x - wide : x - wide / 2;
  pen.fillStyle = "rgba(12,16,22,0.68)";
  pen.beginPath();
  pen.roundRect(left, y, wide, 22, 11);
  pen.fill();
  pen.fillStyle = "#fff";
  pen.textAlign = "left";
  pen.textBaseline = "middle";
  pen.fillText(words, left + 8, y + 11.5);
}

/* a left of the split, b right of it, and a handle between them. */
export function laWipe(pen, a, b, box, split) {
  const at = box.x + box.w * split, y = box.y + box.h - 40;
  laRound(pen, box, () => {
    laPut(pen, a, box);
    pen.save();
    pen.beginPath();
    pen.rect(at, box.y, box.x + box.w - at, box.h);
    pen.clip();
    laPut(pen, b, box);
    pen.restore();
    pen.fillStyle = "#fff";
    pen.fillRect(at - 1, box.y, 2, box.h);
    pen.beginPath();
    pen.arc(at, y, 11, 0, 7);
    pen.fill();
    pen.fillStyle = "#222";
    for (const side of [-1, 1]) {
      pen.beginPath();
      pen.moveTo(at + side * 7, y);
      pen.lineTo(at + side * 2.5, y - 4);
      pen.lineTo(at + side * 2.5, y + 4);
      pen.fill();
    }
  });
}

/* Which of the two a blink shows now, given the seconds for which it shows each. */
export const laBlinks = (seconds) => Math.floor(performance.now() / 1000 / seconds) % 2 === 1;

/* Where in a box the pointer is, 0 at its left edge, 1 at its right. */
export const laSplit = (box, x) => Math.min(Math.max((x - box.x) / box.w, 0), 1);

/* Strips of frames side by side, unpacked when they arrive; the one before stays until then. */
export class LaStrips {
  constructor(changed) { Object.assign(this, { changed, packs: new Map(), newest: new Map() }); }

  take(name, bytes, count, width, height) {
    const number = (this.newest.get(name) ?? 0) + 1;          // bitmaps may come out of order
    this.newest.set(name, number);
    createImageBitmap(new Blob([bytes], { type: "image/jpeg" })).then((bitmap) => {
      if (this.newest.get(name) !== number) return;
      this.packs.set(name, { bitmap, count, width, height });
      this.changed();
    });
  }

  forget() {
    this.packs.clear();
    for (const [name, number] of this.newest) this.newest.set(name, number + 1);     // what is being unpacked is old
  }

  has(name) { return this.packs.has(name); }

  /* The frame at a share 0..1 of a block; the strip of a last block may be shorter than the `whole`. */
  frame(name, share, whole = 0) {
    const pack = this.packs.get(name);
    if (!pack?.bitmap) return null;
    const { bitmap, count, width, height } = pack, frame = Math.floor(share * (whole || count) + 1e-6);
    return { bitmap, x: Math.min(Math.max(frame, 0), count - 1) * width, y: 0, width, height };
  }
}
