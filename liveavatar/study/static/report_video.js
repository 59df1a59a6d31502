/* The report of one video: the lines in the curves follow the video, and a click into them leads it. */

import { buildSteps } from "./report_steps.js";

const data = JSON.parse(document.getElementById("data").textContent);
const video = document.getElementById("video");
const drawSteps = data.steps ? buildSteps(data.steps, document.getElementById("steps")) : null;
let drawnAt = -1;
const cursors = document.querySelectorAll(".rv-cursor");

function follow() {
  const share = Math.min(video.currentTime / data.duration_s, 1);
  for (const cursor of cursors) {
    const width = cursor.ownerSVGElement.viewBox.baseVal.width;
    const x = (data.left + (data.right - data.left) * share) * width;
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
  }
  if (drawSteps && video.currentTime !== drawnAt) drawSteps(drawnAt = video.currentTime);
  requestAnimationFrame(follow);
}

function lead(event) {
  const box = event.currentTarget.getBoundingClientRect();
  const share = ((event.clientX - box.left) / box.width - data.left) / (data.right - data.left);
  video.currentTime = Math.min(Math.max(share, 0), 1) * data.duration_s;
}

for (const cursor of cursors) {
  const chart = cursor.ownerSVGElement;
  chart.addEventListener("pointerdown", lead);
  chart.addEventListener("pointermove", (event) => { if (event.buttons) lead(event); });
}
follow();
