"""Will it fit, how fast, what should I change: predicted before anything is loaded.

    plan = plan("wan-s2v-14b", size="704*384", steps=4, gpu="RTX 4090", gpus=5, spread="tpp")
    plan.verdict, plan.peak              # "does not fit", Moment(...)
    print(plan.table())
    plan.changes[0]                      # the cheapest change that makes it fit
    plan.check()                         # refuses what cannot be
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from liveavatar.backends import find
from liveavatar.types import InputError
from liveavatar.vram.advice import Advice, Change, advise, cheapest, draw, explanations
from liveavatar.vram.cards import GIB, Card, card
from liveavatar.vram.predict import predict
from liveavatar.vram.prediction import FITS, OWNERS, BlockTime, Moment, Prediction, gib
from liveavatar.vram.settings import Settings
from liveavatar.wording import did_you_mean

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from liveavatar.config import GenerationConfig

__all__ = ["Advice", "Change", "Moment", "Plan", "Settings", "plan", "plan_settings"]


@dataclass(frozen=True)
class Plan(Prediction):
    """A prediction, and what follows from it."""

    advice: tuple[Advice, ...] = field(default=(), compare=False)

    @cached_property
    def changes(self) -> tuple[Change, ...]:
        """Return the cheapest changes that make it fit, the cheapest first; if it fits, none."""
        return () if self.verdict == FITS else cheapest(self)

    def check(self, force: bool = False) -> Plan:
        """Refuse what cannot be: InputError with reason and remedy. force: go on all the same."""
        refused = [one for one in self.advice if one.refused]
        if refused and not force:
            one = refused[0]
            raise InputError(f"{one.reason}; {one.remedy} (--force goes on all the same)")
        return self

    def explain(self) -> tuple[str, ...]:
        """Explain why the memory is what it is, in sentences with this plan's numbers."""
        return explanations(self)

    def table(self) -> str:
        """Return all moments of the fullest device by owner, in GiB, and what follows from them."""
        owners = [owner for owner in OWNERS if any(moment.owners.get(owner) for moment in self.moments)]
        width = 1 + max(len(moment.description) for moment in self.moments)
        head = f"{'':{width}}" + "".join(f"{SHORT[owner]:>12}" for owner in owners) + f"{'sum':>10}"
        rows = [f"{moment.description:{width}}"
                + "".join(f"{moment.owners.get(owner, 0) / GIB:12.2f}" for owner in owners)
                + f"{moment.bytes / GIB:10.2f}" + ("  <- peak" if moment is self.peak else "")
                for moment in self.moments]
        lines = [self.settings.description, self.sentence, "", "predicted, GiB" + (
            f", the fullest of {len(self.devices)}: {self.roles[self.devices.index(self.moments)]}"
            if len(self.devices) > 1 else ""), head, *rows]
        if len(self.devices) > 1:
            lines += ["", *(f"GPU {index}: {role}, peak {gib(max(moment.bytes for moment in moments))}"
                            for index, (role, moments) in enumerate(zip(self.roles, self.devices, strict=True)))]
        if self.time is not None:
            lines += ["", time_sentence(self.time)]
        for one in self.advice:
            lines += ["", f"{'refused' if one.refused else 'note'}: {one.reason}; {one.remedy}"]
        if self.changes:
            lines += ["", "what helps:", *map(change_line, self.changes)]
        return "\n".join(lines)

    def figure(self) -> Figure:
        """Draw the curve as a matplotlib Figure: stages from left to right, owners stacked, the card's edge."""
        return draw(self)


SHORT = {"transformer": "weights", "gathered": "gathered", "rings": "caches", "condition": "condition",
         "text_encoder": "text enc.", "audio_encoder": "audio enc.", "vae": "VAE", "vae_state": "VAE state",
         "activations": "activations", "slack": "slack", "libraries": "libraries"}


def change_line(change: Change) -> str:
    saves = f"saves {gib(change.saves)}; " if change.saves > 0 else ""
    return f"  {change.verdict:13}{gib(change.peak):>10}  {change.description}: {saves}{change.costs}"


def time_sentence(time: BlockTime) -> str:
    return (f"estimated from the card's sheet, not measured: step {time.step_s * 1000:.0f} ms compiled (products "
            f"alone {time.floor_s * 1000:.0f}), decoding {time.decode_s * 1000:.0f} ms; a block every "
            f"{time.block_s * 1000:.0f} ms, it lasts {time.deadline_s * 1000:.0f} ms on screen: "
            f"{time.deadline_s / time.block_s:.2f}x real time")


def plan(backend: str = "wan-s2v-14b", *, gpu: str | Card | None = None, config: GenerationConfig | None = None,
         **settings: object) -> Plan:
    """Predict a run. settings: those of `Settings`; a config gives steps, size, clips and switches.

    gpu: a name of the table ("RTX 4090", "H200") or a size ("24 GB"). mini needs none: it is planned for main memory.
    """
    if config is not None:
        taken = {"steps": config.sample_steps, "infer_frames": config.infer_frames,
                 "enable_online_decode": config.enable_online_decode, "ring_frames": config.ring_frames}
        taken |= {"size": config.size} if config.size is not None else {}
        taken |= {"num_clip": config.num_clip} if config.num_clip is not None else {}
        settings = taken | settings
    on_card = find(backend).on_card
    if not on_card:
        settings = {"size": (128, 128), "weights": "float32"} | settings
    unknown = sorted(set(settings) - set(Settings.__dataclass_fields__))
    if unknown:
        raise InputError(f"plan knows no {unknown[0]!r}; known: {', '.join(Settings.__dataclass_fields__)}"
                         + did_you_mean(unknown[0], Settings.__dataclass_fields__))
    return plan_settings(Settings(backend, **settings), card(gpu or "H100") if on_card else None)


def plan_settings(asked: Settings, on: Card | None) -> Plan:
    """Predict a run of settings that were made before."""
    made = predict(asked, on)
    return Plan(**{name: getattr(made, name) for name in Prediction.__dataclass_fields__}, advice=advise(made))
