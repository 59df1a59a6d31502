/* What all views share in the browser. A view's script defines

     const view = {
       name: "la-cache",                 // CSS class
       build(ctx) {},                    // once for every place where the view is shown: make the elements
       draw(ctx) {},                     // whenever something has changed, at most once per picture of the screen
       key(ctx, key) { return true },    // a key while the view has the focus; true: it was used
     };

   and `live(view)` makes an anywidget module of it. Nothing is fetched: everything comes from the kernel. */

import { LaContext } from "./context.js";
import { answerKey } from "./keys.js";

export function live(view) {
  return () => {
    const store = { id: Math.random().toString(36).slice(2), body: null, buffers: new Map(), places: new Set(),
                    due: null, gone: "", answer() {} };

    function receive(message, buffers) {
      if (message.body === undefined) return;
      if (message.full) store.buffers.clear();
      message.names.forEach((name, i) => {
        const data = buffers[i];
        store.buffers.set(name, new Uint8Array(data.buffer ?? data, data.byteOffset ?? 0, data.byteLength));
      });
      store.fresh = message.names;
      store.body = message.body;
      store.due = message.number;
      store.gone = "";
      for (const place of store.places) { view.received?.(place, message.names, message.full); place.changed(); }
      if (!store.places.size) store.answer();
    }

    return {
      initialize({ model }) {
        store.answer = () => {
          if (store.due === null) return;
          const number = store.due;
          store.due = null;
          model.send({ kind: "ack", number });
        };
        model.on("msg:custom", receive);
        model.send({ kind: "hello" });
        return () => model.off("msg:custom", receive);
      },

      render({ model, el }) {
        const place = new LaContext(view, store, model, el);
        store.places.add(place);
        const redraw = () => place.changed();
        view.build(place);
        if (store.body) view.received?.(place, [...store.buffers.keys()], true);

        place.on("change", redraw);
        place.on("change:time_s", () => place.timeFromKernel());
        const clock = place.clock;
        clock.listeners.add(redraw);
        if (model.get("time_s")) place.timeFromKernel();

        place.root.setAttribute("aria-description", model.get("_keys"));
        place.root.addEventListener("keydown", (event) => answerKey(event, (key) => {
          if (view.key?.(place, key)) return true;
          if (key === " ") place.send("steer", { what: "toggle" });
          return key === " ";
        }));
        place.root.addEventListener("pointerdown", (event) => {
          if (!event.target.closest("input, select, textarea, button")) place.root.focus({ preventScroll: true });
        });

        const size = new ResizeObserver(redraw);
        size.observe(place.root);
        // its style sheet comes later
        const theme = new MutationObserver(() => { redraw(); setTimeout(redraw, 300); });
        theme.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "data-jp-theme-name",
          "class"] });
        place.on("comm_live_update", () => {               // a restart, or the end; whatever is heard later undoes it
          store.gone = "The kernel that drew this has gone: run this cell again.";
          redraw();
        });
        place.changed();
        return () => {
          size.disconnect();
          theme.disconnect();
          clock.listeners.delete(redraw);
          for (const off of place.handlers) off();
          view.leave?.(place);
          store.places.delete(place);
        };
      },
    };
  };
}
