/* Which keys a view uses, and which of them the page around it may see. JupyterLab listens for shortcuts at the
   document (R: raw cell, X: cut the cell, 0 0: restart the kernel), so a plain key that was pressed inside a view ends
   there. What is pressed with Ctrl, Alt or Cmd goes on, so that Ctrl+S still saves: the attribute
   data-lm-suppress-shortcuts would keep those back as well. */

const TYPED_IN = "textarea, [contenteditable=true], input:not([type]), input[type=text], input[type=number]";
const MOVES_A_SLIDER = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End", "PageUp", "PageDown"];
const EDITS_TEXT = ["a", "c", "v", "x", "z", "y"];       // with Ctrl or Cmd

/* Whether the element that has the focus needs the key for itself. */
export function keyIsTaken(target, key) {
  if (target.matches(`${TYPED_IN}, select`)) return true;
  if (target.matches("input[type=range]")) return MOVES_A_SLIDER.includes(key);
  if (target.matches("button, input, a, video, audio, summary")) return key === " " || key === "Enter";
  return false;
}

/* Whether the page around the view may see the key. */
export function keyGoesOn(event) {
  const typing = event.target.matches(TYPED_IN), chord = event.ctrlKey || event.metaKey;
  if (chord && typing && EDITS_TEXT.includes(event.key.toLowerCase())) return false;
  if (event.key === "Enter" && event.shiftKey && !typing) return true;      // runs the cell
  return chord || event.altKey;
}

/* Answer a key in a view: use(key) says whether the view has used it. */
export function answerKey(event, use) {
  const plain = !event.ctrlKey && !event.metaKey && !event.altKey;
  if (plain && !keyIsTaken(event.target, event.key) && use(event.key)) {
    event.preventDefault();
    event.stopPropagation();
  } else if (!keyGoesOn(event)) event.stopPropagation();
}

/* Draw, and keep the focus in the view when what had it is disabled or taken away: keys would go to nobody. */
export function keepFocus(root, draw) {
  const inside = root.contains(document.activeElement);
  draw();
  const at = document.activeElement;
  if (inside && (!root.contains(at) || at.disabled)) root.focus({ preventScroll: true });
}
