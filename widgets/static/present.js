/* A view over the whole screen. Where the browser grants no full screen, the view covers the whole window instead. */

const PRESENT_STAGE = 0.3;              // of the height of the screen, for the video beside other views
const PRESENT_CONTROLS = 150;           // px below the video that fills the screen

const PRESENT_ICONS = ["M1 6V1h5M10 1h5v5M15 10v5h-5M6 15H1v-5", "M2 2l12 12M14 2L2 14"];      // corners, a cross

const isLarge = (root) => root.classList.contains("la-large");

async function enlarge(root) {
  root.classList.add("la-large");
  try { await root.requestFullscreen({ navigationUI: "hide" }); }
  catch {
    root.popover = "manual";
    root.showPopover?.();
  }
}

function shrink(root) {
  if (document.fullscreenElement === root) document.exitFullscreen();
  if (root.popover) { root.hidePopover?.(); root.popover = null; }
  root.classList.remove("la-large");
}

/* A button that shows the view over the whole screen, and back. words: [there, back],
   or null for a small picture; changed() is called at either. */
export function largeButton(ctx, words, tip, changed = () => {}) {
  const { root } = ctx;
  const show = () => {
    const now = isLarge(root) ? 1 : 0;
    if (words) button.textContent = words[now];
    else button.innerHTML = `<svg aria-hidden="true" viewBox="0 0 16 16"><path d="${PRESENT_ICONS[now]}"/></svg>`;
    button.title = isLarge(root) ? "Back to the notebook (Esc)" : tip;
    if (!words) button.setAttribute("aria-label", button.title);
    changed(isLarge(root));
    ctx.changed();
  };
  const button = ctx.button("", tip, async () => {
    if (isLarge(root)) shrink(root); else await enlarge(root);
    show();
  });
  show();
  root.addEventListener("fullscreenchange", () => { if (document.fullscreenElement !== root) shrink(root); show(); });
  root.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !isLarge(root)) return;
    shrink(root);
    show();
    event.stopPropagation();
  });
  return button;
}

/* Height of the video in px: its own or that of the layout (--la-stage-px); on a whole screen, what fits. */
export function stageHeight(ctx, own) {
  if (isLarge(ctx.root)) return Math.max(window.innerHeight - PRESENT_CONTROLS, 120);
  if (ctx.root.closest(".la-large")) return Math.round(window.innerHeight * PRESENT_STAGE);
  return Number(getComputedStyle(ctx.root).getPropertyValue("--la-stage-px")) || own;
}
