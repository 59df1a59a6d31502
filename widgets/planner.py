"""Will it fit, how fast, what should be changed: the plan of a run, before anything is loaded."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import traitlets

from liveavatar.types import InputError
from liveavatar.vram.advice import COLOURS
from liveavatar.vram.cards import GIB, cards
from liveavatar.vram.plan import Change, Plan, plan
from liveavatar.vram.prediction import OWNERS, gib
from liveavatar.vram.settings import weights_named
from widgets._live import Body, Buffers, LiveView, sentence

if TYPE_CHECKING:
    from PIL.Image import Image

SIZES = ("384*256", "688*368", "704*384", "720*400")
MINI_SIZES = ("256*256", "192*192", "320*192", "192*320")
GPUS = (1, 2, 3, 4, 5, 6, 8)


class Planner(LiveView):
    """Choose model, card and settings; see the predicted memory of every stage, who holds it, and what would help.

    Needs no run and loads nothing. The plan on screen is `view.plan`; a suggestion is taken over by a click.
    """

    script = "planner.js"
    nothing = ""

    backend = traitlets.Enum(["wan-s2v-14b", "mini"], "wan-s2v-14b", help="the model").tag(sync=True, code=True)
    gpu = traitlets.Unicode("RTX 4090", help='a card of the table, or a size: "24 GB"').tag(sync=True, code=True)
    gpus = traitlets.Int(1, min=1, max=64, help="how many cards of this kind").tag(sync=True, code=True)
    spread = traitlets.Enum(["tpp", "fsdp"], "tpp", help="over several cards: steps (tpp) or weights (fsdp)").tag(
        sync=True, code=True)
    size = traitlets.Unicode("704*384", help="width*height in pixels").tag(sync=True, code=True)
    steps = traitlets.Int(4, min=1, max=8, help="sampler steps").tag(sync=True, code=True)
    fp8 = traitlets.Bool(False, help="weights of the layers in 8 bits").tag(sync=True, code=True)
    nf4 = traitlets.Bool(False, help="weights of the layers in 4 bits").tag(sync=True, code=True)
    fp8_caches = traitlets.Bool(False, help="keys and values in 8 bits").tag(sync=True, code=True)
    fp8_attention = traitlets.Bool(False, help="self-attention in 8 bits, its caches with it").tag(sync=True, code=True)
    offload_model = traitlets.Bool(True, help="encoders wait in main memory").tag(sync=True, code=True)
    offload_kv_cache = traitlets.Bool(False, help="caches wait in main memory").tag(sync=True, code=True)
    moment = traitlets.Int(-1, min=-1, help="stage in view, 0 is the first; -1: the peak").tag(sync=True)

    def __init__(self, *arguments: object, **options: object) -> None:
        self._made: tuple[dict, Plan] | None = None
        self._drawn: tuple[dict, Body | Exception] | None = None     # settings, and what is seen of their plan
        self._making, self._thinking = threading.Lock(), False
        options.setdefault("controls", False)
        super().__init__(*arguments, **options)

    # ------------------------------------------------------------------ what is on screen

    @property
    def settings(self) -> dict[str, object]:
        """Return what `liveavatar.vram.plan.plan` is asked."""
        if self.backend == "mini":
            return {"backend": "mini", "size": self.size if self.size in MINI_SIZES else MINI_SIZES[0],
                    "steps": self.steps}
        return {"backend": self.backend, "gpu": self.gpu, "size": self.size, "steps": self.steps, "gpus": self.gpus,
                "spread": self.spread, "weights": weights_named(self.fp8, self.nf4),
                "caches": "fp8" if self.fp8_caches else "bf16", "fp8_attention": self.fp8_attention,
                "offload_model": self.offload_model, "offload_kv_cache": self.offload_kv_cache}

    @property
    def plan(self) -> Plan:
        """Return the plan of these settings."""
        asked = self.settings
        with self._making:
            if self._made is None or self._made[0] != asked:
                self._made = asked, plan(**asked)
            return self._made[1]

    def take(self, change: Change) -> None:
        """Take a suggestion over."""
        from liveavatar.config import size_text

        asked = change.settings
        with self.hold_trait_notifications():
            self.gpu = change.gpu or self.gpu
            self.size, self.steps, self.gpus = size_text(asked.size), asked.steps, asked.gpus
            self.spread = "fsdp" if asked.spread == "fsdp" else "tpp"
            self.fp8, self.nf4, self.fp8_caches = asked.weights == "fp8", asked.weights == "nf4", asked.caches == "fp8"
            self.fp8_attention = asked.fp8_attention
            self.offload_model, self.offload_kv_cache = asked.offload_model, asked.offload_kv_cache
            self.moment = -1

    def as_code(self) -> str:
        """Return Python that makes this plan."""
        defaults = {"gpus": 1, "spread": "tpp", "weights": "bf16", "caches": "bf16", "fp8_attention": False,
                    "offload_model": True, "offload_kv_cache": False}
        asked = {name: value for name, value in self.settings.items() if defaults.get(name) != value}
        backend = asked.pop("backend")
        if self.gpus == 1:
            asked.pop("spread", None)
        return f"plan({', '.join([repr(backend), *(f'{name}={value!r}' for name, value in asked.items())])})"

    # ------------------------------------------------------------------ drawing

    def draw(self, full: bool) -> tuple[Body, Buffers]:
        """Draw the plan. A size that was never planned takes some seconds: it is planned in a thread of its own, and
        the last plan stays."""
        asked = self.settings
        if self._drawn is None or self._drawn[0] != asked:
            self._think()
            last = self._drawn[1] if self._drawn is not None else {}
            return (last if isinstance(last, dict) else {}) | self._lists() | {"working": True}, {}
        if isinstance(self._drawn[1], Exception):
            raise self._drawn[1]
        return self._drawn[1] | {"working": False}, {}

    def _think(self) -> None:
        if not self._thinking:
            self._thinking = True
            threading.Thread(target=self._work, name="liveavatar-planner", daemon=True).start()

    def _work(self) -> None:
        """Make plans until what is asked has been planned."""
        try:
            while self._drawn is None or self._drawn[0] != self.settings:
                asked = self.settings
                try:
                    self._drawn = asked, self.seen()
                except Exception as problem:               # shown where all errors are shown
                    self._drawn = asked, problem
        finally:
            self._thinking = False
            self.refresh()

    def seen(self) -> Body:
        """Return all that is on screen."""
        made = self.plan
        moments = [{"stage": one.stage, "words": one.description, "sum": one.bytes / GIB,
                    "owners": {name: size / GIB for name, size in one.owners.items()}} for one in made.moments]
        return {
            "verdict": made.verdict, "sentence": made.sentence, "usable": made.usable / GIB, "moments": moments,
            "peak": made.moments.index(made.peak), "owners": OWNERS, "colours": COLOURS,
            **self._lists(),
            "changes": [{"words": one.description, "costs": one.costs, "saves": gib(one.saves) if one.saves > 0 else "",
                         "peak": gib(one.peak), "verdict": one.verdict} for one in made.changes],
            "advice": [{"refused": one.refused, "reason": one.reason, "remedy": one.remedy, "source": one.source}
                       for one in made.advice],
            "why": list(made.explain()), "time": self._time(made), "devices": self._devices(made)}

    def _lists(self) -> Body:
        """Return what can be chosen from."""
        known = MINI_SIZES if self.backend == "mini" else SIZES
        more = [self.size] if self.size not in known and self.backend != "mini" else []
        return {"gpu_names": [one.name for one in cards()], "sizes": [*known, *more], "counts": GPUS}

    @staticmethod
    def _time(made: Plan) -> dict | None:
        if made.time is None:
            return None
        time = made.time
        return {"step_ms": time.step_s * 1000, "decode_ms": time.decode_s * 1000, "block_ms": time.block_s * 1000,
                "deadline_ms": time.deadline_s * 1000, "first_ms": time.first_s * 1000, "keeps_up": time.keeps_up}

    @staticmethod
    def _devices(made: Plan) -> list[dict]:
        if len(made.devices) == 1:
            return []
        peaks = [max(moment.bytes for moment in moments) for moments in made.devices]
        return [{"role": role, "peak": peak / GIB} for role, peak in zip(made.roles, peaks, strict=True)]

    def on_message(self, kind: str, content: dict) -> None:
        if kind != "take":
            return
        changes = self.plan.changes
        if not 0 <= content["index"] < len(changes):
            raise InputError("this suggestion is no longer there; the settings have changed")
        self.take(changes[content["index"]])

    def still(self) -> Image | None:
        """Draw the predicted curve, for a saved notebook."""
        import io

        from PIL import Image

        try:
            figure = self.plan.figure()
        except InputError as problem:
            self.error = sentence(problem)
            return None
        page = io.BytesIO()
        figure.savefig(page, format="png", dpi=80)
        return Image.open(page)

    def __repr__(self) -> str:
        return f"Planner({', '.join(f'{name}={value!r}' for name, value in self.settings.items())})"
