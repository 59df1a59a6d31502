/* Words that explain themselves. */

import { laElement } from "./element.js";
import { LA_TERMS } from "./glossary.js";

/* A word or number with a dotted line: its sentence from the glossary is shown on hover and focus, and read aloud. */
export function laTerm(name, ...children) {
  let list = document.getElementById("la-terms");
  if (!list) document.body.append(list = laElement("div", { id: "la-terms", hidden: true }));
  const id = `la-term-${name}`;
  if (!document.getElementById(id)) list.append(laElement("span", { id }, LA_TERMS[name]));
  const options = { class: "la-term", tabindex: "0", title: LA_TERMS[name], "aria-describedby": id };
  return laElement("span", options, ...children);
}
