/* The menu Save: the kernel writes a file and hands it over, the browser puts it where downloads go. */

import { laElement } from "#liveavatar/web/element.js";

export function saveMenu(ctx) {
  const menu = laElement("div", { class: "la-menu", role: "menu", "aria-label": "what to save", hidden: true });
  const button = laElement("button", { type: "button", class: "la-button", title: "Save what is made so far as a file",
    "aria-haspopup": "menu", "aria-expanded": "false", onclick: () => show(menu.hidden) }, "Save …");
  const box = laElement("div", { class: "la-menu-box" }, button, menu);

  function show(open) {
    menu.hidden = !open;
    button.setAttribute("aria-expanded", String(open));
    if (open) menu.querySelector("button")?.focus();
  }

  function ask(suffix) {
    ctx.asked = true;
    show(false);
    button.focus();
    ctx.send("save", { suffix });
  }

  box.addEventListener("focusout", (event) => { if (!box.contains(event.relatedTarget)) show(false); });
  box.addEventListener("keydown", (event) => {
    const items = [...menu.children], at = items.indexOf(document.activeElement);
    const hop = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") { show(false); button.focus(); }
    else if (hop && at >= 0) items[(at + hop + items.length) % items.length].focus();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  ctx.on("msg:custom", (message, buffers) => {
    if (message.kind === "file" && ctx.asked) { ctx.asked = false; download(message, buffers[0]); }
  });

  const update = (body) => {
    if (!menu.childElementCount) {
      menu.append(...body.kinds.map(([suffix, title]) => laElement("button", { type: "button", role: "menuitem",
        "data-suffix": suffix, onclick: () => ask(suffix) }, title)));
    }
    button.textContent = body.saving ? "Saving …" : "Save …";
    button.title = body.saving ? `${body.saving} is being written` : "Save what is made so far as a file";
    button.disabled = !!body.saving || !body.run;
  };
  return { element: box, update };
}

function download({ name, mime }, bytes) {
  const url = URL.createObjectURL(new Blob([bytes], { type: mime }));
  laElement("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
