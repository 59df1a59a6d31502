/* The microphone of whoever looks at the page: recorded by the browser (MediaRecorder), shown as a level while it goes,
   then sent to the kernel as any file is. Nothing leaves the machine on which the browser and the kernel are. */

import { laElement } from "#liveavatar/web/element.js";
import { laSeconds } from "#liveavatar/web/format.js";

const RECORD_MOST_S = 300;
// the first that a browser knows
const RECORD_KINDS = ["audio/webm;codecs=opus", "audio/ogg;codecs=opus", "audio/mp4"];
const RECORD_LOWEST_DB = -60;            // at the left end of the level meter
const RECORD_LOUD_DB = -3;               // from here on it may be distorted
const RECORD_UNHEARD_DB = -75;           // peak below which a microphone is taken to be off

/* What to do about each refusal, by the name of the browser's error. */
const RECORD_REFUSALS = {
  NotAllowedError: "The browser does not let this page use the microphone. Allow it beside the page's address, then " +
    "click " +
    "Record again; or upload a recording",
  NotFoundError: "No microphone is found. Connect one and click Record again, or upload a recording",
  NotReadableError: "The microphone cannot be opened: another program may be using it. Close that, or upload a " +
    "recording",
  insecure: "Browsers give the microphone only to pages from this machine (localhost) or by https. Open JupyterLab " +
    "that " +
    "way, or upload a recording",
  old: "This browser cannot record sound. Use a newer one, or upload a recording",
};

export const RECORD_NAME = /^recording-\d\d-\d\d-\d\d\./;                       // of what was recorded here

const recordDb = (amplitude) => 20 * Math.log10(Math.max(amplitude, 1e-6));
const recordEnding = (type) => (type.includes("ogg") ? "ogg" : type.includes("mp4") ? "m4a" : "webm");

/* A button that records, and the line below it with level, time, Stop and Cancel. send(file): what becomes of it. */
export class Recorder {
  constructor(ctx, send) {
    Object.assign(this, { ctx, send, state: "off", words: "" });
    this.meter = laElement("div", { class: "la-record-meter", role: "meter",
      "aria-label": "level of the microphone, dB",
      "aria-valuemin": RECORD_LOWEST_DB, "aria-valuemax": 0 }, laElement("i"), laElement("b"));
    this.time = laElement("span", { class: "la-record-time" });
    this.note = laElement("span", { class: "la-record-words" });
    this.stopButton = laElement("button", { type: "button", class: "la-button", title: "End the recording and use it",
      onclick: () => this.stop() }, "Stop");
    this.cancelButton = laElement("button", { type: "button", class: "la-button la-quiet",
      title: "Throw the recording away", onclick: () => this.cancel() }, "Cancel");
    this.element = laElement("div", { class: "la-record", role: "status", hidden: true },
      laElement("div", { class: "la-record-head" }, laElement("span", { class: "la-record-dot" }), this.time,
        laElement("span", { class: "la-space" }), this.stopButton, this.cancelButton), this.meter, this.note);
  }

  get recording() { return this.state === "on"; }

  async start() {
    if (this.state !== "off") return;
    const kind = RECORD_KINDS.find((one) => window.MediaRecorder?.isTypeSupported(one));
    if (!navigator.mediaDevices?.getUserMedia) { this.refuse(window.isSecureContext ? "old" : "insecure"); return; }
    if (!kind) { this.refuse("old"); return; }
    this.show("asking", "The browser asks whether this page may use the microphone …");
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, echoCancellation: false } });
    } catch (problem) {
      if (this.state === "asking") this.refuse(problem.name, problem.message);
      return;
    }
    if (this.state !== "asking") { this.release(); return; }                 // cancelled, or the view has gone
    this.begin(kind);
  }

  begin(kind) {
    Object.assign(this, { pieces: [], loudest: 0, began: performance.now() });
    this.recorder = new MediaRecorder(this.stream, { mimeType: kind });
    this.recorder.ondataavailable = (event) => this.pieces.push(event.data);
    this.recorder.onstop = () => this.finish();
    this.sound = new AudioContext();
    this.analyser = new AnalyserNode(this.sound, { fftSize: 2048 });
    this.sound.createMediaStreamSource(this.stream).connect(this.analyser);
    this.stream.getAudioTracks()[0].onended = () => this.stop();             // unplugged, or taken back in the browser
    this.recorder.start(1000);
    this.show("on", "");
    this.tick();
  }

  /* Once for every picture of the screen: the level and the time. */
  tick() {
    if (this.state !== "on") return;
    const samples = new Float32Array(this.analyser.fftSize);
    this.analyser.getFloatTimeDomainData(samples);
    const peak = samples.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const level = Math.sqrt(samples.reduce((sum, value) => sum + value * value, 0) / samples.length);
    this.loudest = Math.max(this.loudest, peak);
    const share = (db) => `${(100 * Math.min(Math.max(1 - db / RECORD_LOWEST_DB, 0), 1)).toFixed(1)}%`;
    this.meter.firstChild.style.width = share(recordDb(level));
    this.meter.lastChild.style.left = share(recordDb(peak));
    this.meter.setAttribute("aria-valuenow", Math.round(Math.max(recordDb(level), RECORD_LOWEST_DB)));
    this.meter.classList.toggle("la-record-loud", recordDb(peak) > RECORD_LOUD_DB);
    const passed = (performance.now() - this.began) / 1000;
    this.time.textContent = `recording, ${laSeconds(passed)}`;
    this.note.textContent = recordDb(peak) > RECORD_LOUD_DB ? "too loud: it is distorted" : "";
    if (passed >= RECORD_MOST_S) this.stop();
    else requestAnimationFrame(() => this.tick());
  }

  stop() {
    if (this.state === "on") this.recorder.stop();
  }

  cancel() {
    if (this.recorder) this.recorder.onstop = null;
    if (this.recorder?.state === "recording") this.recorder.stop();
    this.release();
    this.show("off", "");
  }

  finish() {
    const type = this.recorder.mimeType, unheard = recordDb(this.loudest) < RECORD_UNHEARD_DB;
    this.release();
    if (unheard) {
      this.show("off", "Nothing was heard. Is the microphone muted, or another one chosen in the browser?");
      return;
    }
    this.show("off", "");
    const when = new Date().toTimeString().slice(0, 8).replaceAll(":", "-");
    this.send(new File(this.pieces, `recording-${when}.${recordEnding(type)}`, { type }));
  }

  /* Let go of the microphone, so that the browser no longer shows it as used. */
  release() {
    this.stream?.getTracks().forEach((track) => { track.onended = null; track.stop(); });
    this.sound?.close();
    this.stream = this.sound = this.recorder = null;
  }

  refuse(why, words = "") {
    this.show("off", `${RECORD_REFUSALS[why] ?? `The microphone cannot be used: ${words || why}`}.`);
  }

  show(state, words) {
    this.state = state;
    this.element.hidden = state === "off" && !words;
    this.time.textContent = state === "off" ? "no recording" : "";
    this.meter.hidden = this.stopButton.hidden = state !== "on";
    this.cancelButton.hidden = state === "off";
    this.element.classList.toggle("la-record-on", state === "on");
    this.element.classList.toggle("la-record-failed", state === "off" && !!words);
    this.note.textContent = words;
    this.ctx.changed();
  }
}
