/* The button that starts and stops a study, and the words beside it that say how far it is. */

import { laElement } from "#liveavatar/web/element.js";

export function laStudyButton(ctx, title) {
  ctx.toggle = ctx.button("Start", title, () => ctx.send("study"), "la-main-button");
  ctx.words = laElement("span", { class: "la-progress", role: "status" });
  ctx.bar.append(ctx.words);
}

export function laShowStudy(ctx, { words, running, done, begun }) {
  ctx.words.textContent = words;
  ctx.toggle.textContent = running ? "Stop" : done ? "Done" : begun ? "Go on" : "Start";
}
