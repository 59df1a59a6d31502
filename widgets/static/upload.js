/* A file of the user's on its way to the kernel, in pieces: the next one leaves when an earlier one has arrived, so the
   share that is shown is true, and a busy kernel is not flooded. */

import { laElement } from "#liveavatar/web/element.js";
import { laFileSize } from "#liveavatar/web/format.js";

const UPLOAD_PIECE = 1 << 20;           // bytes in one message
const UPLOAD_AHEAD = 4;                 // pieces on the way at a time
const UPLOAD_SLOW_MS = 3000;            // without an answer: the kernel is busy

/* One input of the page that takes files: its name in the kernel, and the line that shows how far a file is. */
export class UploadLine {
  constructor(ctx, what, accept) {
    Object.assign(this, { ctx, what, file: null, arrived: 0, parts: 0, wake: null });
    this.input = laElement("input", { type: "file", accept, hidden: true, "data-upload": what,
      "aria-label": `file for the ${what}`, onchange: () => this.picked() });
    this.name = laElement("span", { class: "la-upload-name" });
    this.bar = laElement("progress", { max: 1, value: 0 });
    this.words = laElement("span", { class: "la-upload-words" });
    this.stop = laElement("button", { type: "button", class: "la-button la-quiet", title: "Do not send this file",
      onclick: () => this.cancel() }, "Cancel");
    this.element = laElement("div", { class: `la-upload la-upload-${what}`, role: "status", hidden: true },
      laElement("div", { class: "la-upload-head" }, this.name, this.stop), this.bar, this.words);
    ctx.on("msg:custom", (message) => { if (message.kind === "upload") this.hear(message); });
  }

  choose() { this.input.click(); }

  picked() {
    const file = this.input.files[0];
    if (file) this.send(file);
    this.input.value = "";                             // so that the same file can be chosen again
  }

  async send(file) {
    const most = this.ctx.body?.largest_upload ?? Infinity, number = Date.now();
    Object.assign(this, { file, number, arrived: 0, parts: Math.max(1, Math.ceil(file.size / UPLOAD_PIECE)) });
    if (file.size > most) {
      this.end(`${file.name} has ${laFileSize(file.size)}; at most ${laFileSize(most)} can be sent`);
      return;
    }
    this.show();
    for (let part = 0; part < this.parts; part++) {
      while (part - this.arrived >= UPLOAD_AHEAD && this.number === number) await this.answer();
      if (this.number !== number) return;
      const piece = await file.slice(part * UPLOAD_PIECE, (part + 1) * UPLOAD_PIECE).arrayBuffer();
      if (this.number !== number) return;
      const about = { kind: "upload", what: this.what, number, name: file.name, part, parts: this.parts };
      this.ctx.model.send(about, undefined, [piece]);
      this.watch();
    }
  }

  answer() { return new Promise((resolve) => { this.wake = resolve; }); }

  hear(message) {
    if (message.number !== this.number) return;
    this.arrived = Math.max(this.arrived, message.arrived ?? 0);
    if (message.over) this.end("");
    else { this.show(); this.watch(); }
    this.wake?.();
  }

  cancel() {
    this.ctx.send("cancel upload", { what: this.what });
    this.end("");
    this.wake?.();
  }

  end(words) {
    clearTimeout(this.slow);
    Object.assign(this, { file: null, number: 0 });
    this.show(words);
  }

  /* A kernel that does not answer is named, so that nobody waits for a page that is dead. */
  watch() {
    clearTimeout(this.slow);
    this.slow = setTimeout(() => {
      if (this.file) this.words.textContent = "waiting for the kernel, which is busy …";
    }, UPLOAD_SLOW_MS);
  }

  show(words = "") {
    const { file } = this, share = file ? this.arrived / this.parts : 0;
    this.element.hidden = !file && !words;
    this.element.classList.toggle("la-upload-failed", !file && !!words);
    this.bar.hidden = this.stop.hidden = !file;
    this.bar.value = share;
    this.name.textContent = file?.name ?? "";
    if (!file) this.words.textContent = words;
    else if (share < 1) this.words.textContent = `${Math.round(100 * share)} % of ${laFileSize(file.size)}`;
    else this.words.textContent = "has arrived, is being read …";
    this.ctx.changed();
  }
}
