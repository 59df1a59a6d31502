/* The report of a run: the video and, at the moment it shows, what each sampler step predicted. */

import { buildSteps } from "./report_steps.js";
import { laElement } from "#liveavatar/web/element.js";
import { LA_COLOURS } from "#liveavatar/web/palette.js";

const data = JSON.parse(document.getElementById("data").textContent);
const view = document.getElementById("view");
view.classList.add("rr");
view.tabIndex = 0;

const video = laElement("video", { playsinline: true, preload: "auto", src: `data:video/mp4;base64,${data.video}` });
const play = laElement("button", { type: "button", class: "sg-button sg-main", title: "Play or pause (space)",
  onclick: () => toggle() }, "Play");
const scrub = laElement("input", { type: "range", min: 0, max: data.duration_s, step: 0.001, value: 0,
  class: "sg-scrub", "aria-label": "time", oninput: () => seek(Number(scrub.value)) });
const clock = laElement("output", { class: "sg-clock" });
const wave = laElement("canvas", { class: "rr-wave", role: "img", "aria-label": "sound, and where the video stands" });
const shown = laElement("figure", { class: "rr-video" }, video, laElement("figcaption", {}, "the video"));
view.append(laElement("div", { class: "sg sg-bar" }, play, scrub, clock), shown, wave);
const stepsBox = laElement("section", {}, laElement("h2", {}, "What each step predicted and changed"));
if (data.steps) view.append(stepsBox);
const drawSteps = data.steps ? buildSteps(data.steps, stepsBox) : () => {};

let time = 0;
function toggle() { video.paused ? video.play() : video.pause(); }
function seek(to) { time = Math.min(Math.max(to, 0), data.duration_s); video.currentTime = time; draw(); }
function draw() {
  drawSteps(time);
  scrub.value = time;
  clock.textContent = `${time.toFixed(2)} s`;
  drawWave();
}
function drawWave() {
  const scale = window.devicePixelRatio || 1, W = wave.clientWidth, H = 64, pen = wave.getContext("2d");
  const style = getComputedStyle(view);
  wave.width = W * scale; wave.height = H * scale;
  pen.scale(scale, scale);
  pen.fillStyle = style.getPropertyValue("--la-accent");
  data.loudness.forEach((value, i) => {
    const x = i / data.loudness.length * W, tall = Math.max(value * (H - 4), 1);
    pen.fillRect(x, (H - tall) / 2, Math.max(W / data.loudness.length - 0.5, 0.5), tall);
  });
  pen.fillStyle = LA_COLOURS.vermilion;
  pen.fillRect(time / data.duration_s * W - 1, 0, 2, H);
}
function follow() { if (!video.paused) { time = video.currentTime; draw(); } requestAnimationFrame(follow); }
video.addEventListener("play", () => { play.textContent = "Pause"; });
video.addEventListener("pause", () => { play.textContent = "Play"; });
video.addEventListener("seeked", draw);
const toTime = (event) => seek(event.offsetX / wave.clientWidth * data.duration_s);
wave.addEventListener("pointerdown", toTime);
wave.addEventListener("pointermove", (event) => { if (event.buttons) toTime(event); });
view.addEventListener("keydown", (event) => {
  if (event.target.matches("button, input")) return;
  if (event.key === " ") toggle();
  else if (event.key === "ArrowRight" || event.key === "ArrowLeft") {
    video.pause();
    seek(time + (event.key === "ArrowRight" ? 1 : -1) / data.fps);
  }
  else return;
  event.preventDefault();
});
window.addEventListener("resize", draw);
draw();
follow();
