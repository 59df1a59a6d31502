/* The plot of a sweep: every video a point, a box around points chooses their videos. */

import { cellValue } from "./sweep_order.js";
import { laElement } from "#liveavatar/web/element.js";
import { laShort, laTicks } from "#liveavatar/web/format.js";
import { LA_STEPS } from "#liveavatar/web/palette.js";
import { laSvg } from "#liveavatar/web/svg.js";

function colourOf(cell) { return LA_STEPS[((Number(cell.settings.steps) || 1) - 1) % LA_STEPS.length]; }

export function drawPlot(grid, shown) {
  const W = 330, H = 270, left = 56, right = W - 12, top = 12, bottom = H - 40;
  const { x: across, y: up } = grid.state;
  const order = (column) => [...new Set(grid.data.cells.map((cell) => cellValue(cell, column))
    .filter((value) => typeof value === "string"))].sort();
  const names = { x: order(across), y: order(up) };
  const place = (cell, column, words) => {
    const value = cellValue(cell, column);
    return typeof value === "string" ? words.indexOf(value) : value;
  };
  const points = grid.data.cells.map((cell) => ({ cell, x: place(cell, across, names.x),
    y: place(cell, up, names.y) })).filter(({ x, y }) => Number.isFinite(x) && Number.isFinite(y));
  const reach = (values) => {
    const [low, high] = [Math.min(...values), Math.max(...values)], room = (high - low || Math.abs(high) || 1) * 0.08;
    return [low - room, high + room];
  };
  grid.plot.setAttribute("viewBox", `0 0 ${W} ${H}`);
  grid.plot.replaceChildren();
  grid.scale = null;
  if (!points.length) {
    grid.plot.append(laSvg("text", { x: W / 2, y: H / 2, "text-anchor": "middle", class: "sg-tick" },
      "nothing to plot yet"));
    return;
  }
  const [x0, x1] = reach(points.map(({ x }) => x)), [y0, y1] = reach(points.map(({ y }) => y));
  const X = (value) => left + ((value - x0) / (x1 - x0)) * (right - left);
  const Y = (value) => bottom - ((value - y0) / (y1 - y0)) * (bottom - top);
  grid.scale = { points, X, Y };
  const ticks = (words, low, high) => (words.length ? words.map((_, index) => index) : laTicks(low, high));
  const digits = (low, high) => {
    const [one, two] = laTicks(low, high);
    return Math.max(0, -Math.floor(Math.log10((two ?? one + 1) - one) + 1e-9));
  };
  const say = (words, tick, low, high) => (words.length ? words[tick].slice(0, 10) : tick.toFixed(digits(low, high)));
  for (const tick of ticks(names.y, y0, y1)) {
    grid.plot.append(laSvg("line", { x1: left, x2: right, y1: Y(tick), y2: Y(tick), class: "sg-line" }),
      laSvg("text", { x: left - 6, y: Y(tick) + 4, "text-anchor": "end", class: "sg-tick" },
      say(names.y, tick, y0, y1)));
  }
  for (const tick of ticks(names.x, x0, x1))
    grid.plot.append(laSvg("text", { x: X(tick), y: bottom + 15, "text-anchor": "middle", class: "sg-tick" },
    say(names.x, tick, x0, x1)));
  const name = (column) => {
    const found = grid.columns.find((one) => one.column === column);
    return found ? `${found.label}${found.unit ? `, ${found.unit}` : ""}` : column;
  };
  grid.plot.append(laSvg("text", { x: (left + right) / 2, y: H - 6, "text-anchor": "middle", class: "sg-name" },
    name(across)));
  grid.plot.append(laSvg("text", { x: 12, y: (top + bottom) / 2, "text-anchor": "middle", class: "sg-name",
    transform: `rotate(-90 12 ${(top + bottom) / 2})` }, name(up)));
  for (const { cell, x, y } of points) {
    const square = cell.settings.model === "teacher";
    const attributes = { class: `sg-point${shown.has(cell.key) ? "" : " sg-away"}`, "data-key": cell.key,
      fill: colourOf(cell) };
    const point = square ? laSvg("rect", { x: X(x) - 5, y: Y(y) - 5, width: 10, height: 10, ...attributes })
      : laSvg("circle", { cx: X(x), cy: Y(y), r: 5.5, ...attributes });
    const numbers = [across, up].map((column) => `${name(column)}: ${laShort(cellValue(cell, column))}`);
    point.append(laSvg("title", {}, [cell.label, ...numbers].join("\n")));
    point.addEventListener("pointerenter", () => grid.mark(cell.key, true));
    point.addEventListener("pointerleave", () => grid.mark(cell.key, false));
    grid.plot.append(point);
  }
  grid.plot.append((grid.box = laSvg("rect", { class: "sg-box", visibility: "hidden" })));
  const steps = [...new Set(points.map(({ cell }) => cell.settings.steps))].sort((a, b) => a - b);
  const swatch = (colour, words, square) => laElement("span", {},
    laElement("i", { style: `background:${colour};border-radius:${square ? 1 : 6}px` }), words);
  const models = new Set(points.map(({ cell }) => cell.settings.model));
  grid.legend.replaceChildren(...steps.map((count) => swatch(LA_STEPS[(count - 1) % 8],
    `${count} step${count > 1 ? "s" : ""}`)),
    ...(models.size > 1 ? [swatch("var(--sg-soft)", "student"), swatch("var(--sg-soft)", "teacher", true)] : []));
}

/* Drag a box on the plot: only the videos whose points it holds stay. An empty box shows all again. */
export function brushPlot(grid) {
  let from = null;
  const at = (event) => {
    const frame = grid.plot.getBoundingClientRect(), view = grid.plot.viewBox.baseVal;
    return [((event.clientX - frame.left) / frame.width) * view.width,
      ((event.clientY - frame.top) / frame.height) * view.height];
  };
  const box = (event) => {
    const to = at(event);
    return { x: Math.min(from[0], to[0]), y: Math.min(from[1], to[1]), width: Math.abs(to[0] - from[0]),
      height: Math.abs(to[1] - from[1]) };
  };
  grid.plot.addEventListener("pointerdown", (event) => {
    if (!grid.scale) return;
    from = at(event);
    grid.plot.setPointerCapture(event.pointerId);
  });
  grid.plot.addEventListener("pointermove", (event) => {
    if (!from) return;
    for (const [name, value] of Object.entries(box(event))) grid.box.setAttribute(name, value);
    grid.box.setAttribute("visibility", "visible");
  });
  grid.plot.addEventListener("pointerup", (event) => {
    if (!from) return;
    let { x, y, width, height } = box(event);
    if (width < 4 && height < 4) [x, y, width, height] = [x - 7, y - 7, 14, 14];
    from = null;
    grid.box.setAttribute("visibility", "hidden");
    const { points, X, Y } = grid.scale;
    const within = (value, from, size) => value >= from && value <= from + size;
    const held = points.filter((point) => within(X(point.x), x, width) && within(Y(point.y), y, height));
    grid.change("selected", held.map(({ cell }) => cell.key));
  });
}
