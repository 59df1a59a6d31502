/* The report of a sweep: unpack the videos, show the grid. */

import { sgVideoUrl, SweepGrid } from "./sweep_grid.js";

const data = JSON.parse(document.getElementById("data").textContent);
for (const cell of data.cells) {
  if (!cell.video) continue;
  const text = atob(cell.video), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  cell.video = sgVideoUrl(bytes);
}
const grid = new SweepGrid(document.getElementById("view"), { sort: "", descending: false, x: "", y: "", selected: [],
  most: 0, heard: "" });
grid.update(data);
