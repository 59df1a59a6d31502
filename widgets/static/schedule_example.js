/* What ScheduleView shows at each noise level: the portrait, or a face for those who brought none, under noise. */

import { laPixels } from "#liveavatar/web/canvas.js";

const EXAMPLE = 64;                       // px, a side

/* A face for those who brought none. */
export function exampleFace() {
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
export function noisyPicture(ctx, sigma) {
  const key = Math.round(sigma * 400);
  ctx.noisy ??= new Map();
  if (!ctx.noisy.has(key)) {
    ctx.noise ??= exampleNoise();
    const { face, noise } = ctx;
    const picture = laPixels(EXAMPLE, EXAMPLE, (out, bytes) => {
      for (let i = 0; i < out.length; i++) {
        for (let c = 0; c < 3; c++) {
          const clean = face[i * face.channels + c] / 127.5 - 1;
          bytes[4 * i + c] = 127.5 + 127.5 * ((1 - sigma) * clean + sigma * 0.62 * noise[3 * i + c]);
        }
        bytes[4 * i + 3] = 255;
      }
    });
    if (ctx.noisy.size > 600) ctx.noisy.clear();
    ctx.noisy.set(key, picture);
  }
  return ctx.noisy.get(key);
}
