/* What is drawn on: canvases that are sharp, their colours, pictures made of raw bytes. */

import { LA_COLOURS, LA_STEPS } from "./palette.js";

/* Colours for canvases, read from the page: JupyterLab's variables, or those of live.css outside of it. */
export function laTheme(element) {
  const style = getComputedStyle(element);
  const read = (name) => style.getPropertyValue(name).trim();
  return {
    ...LA_COLOURS, steps: LA_STEPS, ink: read("--la-ink"), soft: read("--la-soft"), faint: read("--la-faint"),
    line: read("--la-line"), ground: read("--la-ground"), raised: read("--la-raised"), accent: read("--la-accent"),
    font: style.fontFamily, dark: read("--la-dark") === "1",
  };
}

/* A canvas that is sharp on any screen: returns its 2-D context, in CSS pixels, cleared. */
export function laCanvas(canvas, width, height) {
  const scale = window.devicePixelRatio || 1;
  const [w, h] = [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))];
  if (canvas.width !== w || canvas.height !== h) { canvas.width = w; canvas.height = h; }
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  return pen;
}

/* Pixels to something that drawImage takes; paint(pixels, bytes) fills them: each 0xAABBGGRR, or R, G, B, A. */
export function laPixels(width, height, paint) {
  const data = new ImageData(width, height), canvas = document.createElement("canvas");
  paint(new Uint32Array(data.data.buffer), data.data);
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d").putImageData(data, 0, 0);
  return canvas;
}

export const laPixel = (r, g, b, alpha = 255) => ((alpha << 24) | (b << 16) | (g << 8) | r) >>> 0;

/* Raw RGB, 3 bytes a pixel, to something that drawImage takes. */
export function laPicture(bytes, width, height) {
  return laPixels(width, height, (out) => {
    for (let i = 0, j = 0; i < out.length; i++, j += 3) out[i] = laPixel(bytes[j], bytes[j + 1], bytes[j + 2]);
  });
}

/* 256 pixels from the first to the last of some colours, [r, g, b] each, evenly apart. */
export function laColourTable(stops) {
  return Uint32Array.from({ length: 256 }, (_, value) => {
    const at = (value / 255) * (stops.length - 1), low = Math.min(Math.floor(at), stops.length - 2);
    return laPixel(...stops[low].map((from, i) => Math.round(from + (at - low) * (stops[low + 1][i] - from))));
  });
}

/* "#102030" -> [16, 32, 48] */
export const laRgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));

/* Ink that can be read on a colour of the palette. */
export const laInkOn = (colour) => {
  const { sky, orange, purple, yellow } = LA_COLOURS;
  return [sky, orange, purple, yellow].includes(colour) ? "#111" : "#fff";
};
