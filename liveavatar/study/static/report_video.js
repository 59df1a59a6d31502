/* The report of one video: the line in the curves follows the video, and a click into them leads it. */
const data = JSON.parse(document.getElementById("data").textContent);
const video = document.getElementById("video");
const chart = document.getElementById("chart");
const cursor = document.getElementById("cursor");
const width = chart.viewBox.baseVal.width;

function follow() {
  const share = Math.min(video.currentTime / data.duration_s, 1);
  const x = (data.left + (data.right - data.left) * share) * width;
  cursor.setAttribute("x1", x);
  cursor.setAttribute("x2", x);
  requestAnimationFrame(follow);
}

function lead(event) {
  const box = chart.getBoundingClientRect();
  const share = ((event.clientX - box.left) / box.width - data.left) / (data.right - data.left);
  video.currentTime = Math.min(Math.max(share, 0), 1) * data.duration_s;
}

chart.addEventListener("pointerdown", lead);
chart.addEventListener("pointermove", (event) => { if (event.buttons) lead(event); });
follow();
