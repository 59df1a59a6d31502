"""Which videos a sweep makes: one frozen cell per video, a grid of every combination. Nothing heavy is imported."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import product
from typing import get_type_hints

from liveavatar.config import CLEANERS, GenerationConfig, check_between, check_choice, parse_size, size_text
from liveavatar.types import InputError
from liveavatar.wording import did_you_mean

MODELS = ("student", "teacher")
LOUDEST_NOISE_DB, FAINTEST_NOISE_DB = -20.0, 60.0


@dataclass(frozen=True)
class Cell:
    """One video of a sweep: all that decides what is in it."""

    model: str = "student"             # "student", or "teacher": the many-step base
    steps: int = 4
    schedule: str = "trained"          # "trained", "released" or "linear"
    solver: str = "euler"              # "euler" or "renoise"
    size: str = "256*256"              # W*H in pixels
    prompt: str = ""
    portrait: str = "7"                # a number: that avatar; else a file
    recording: str = "welcome"         # a shipped sample, "voice|words to say", or a file
    noise_db: float | None = None      # signal-to-noise ratio of noise added to the recording; None: none is added
    clean: str = ""                    # "wiener", "noisereduce", or "": what the model hears is left as it is
    seed: int = 420
    seconds: float = 2.0               # of the recording, from its beginning
    guidance: float = 1.0              # above 1 for the teacher only
    by_step: bool = False              # also keep and measure the guess after each sampler step
    backend: str = "mini"
    weights: str = "shipped"
    options: str = ""                  # of `liveavatar.load`, as JSON, for a model that takes others than mini

    def __post_init__(self) -> None:
        check_choice("model", self.model, MODELS)
        check_choice("clean", self.clean or None, (None, *CLEANERS))
        if self.noise_db is not None:
            check_between("noise_db", self.noise_db, LOUDEST_NOISE_DB, FAINTEST_NOISE_DB)
        if self.model == "student" and self.guidance != 1.0:
            raise InputError(f"guidance is {self.guidance} for the student, which has it built in: leave it at 1.0")
        object.__setattr__(self, "size", size_text(parse_size(self.size)))
        object.__setattr__(self, "portrait", str(self.portrait))
        self.config()                                      # refuses the rest

    def config(self) -> GenerationConfig:
        """Return the configuration that asks the pipeline for it."""
        return GenerationConfig(sample_steps=self.steps, size=self.size, base_seed=self.seed, schedule=self.schedule,
                                sample_solver=self.solver, guidance=self.guidance, duration_s=self.seconds,
                                clean=self.clean or None)

    def key(self, about: dict) -> str:
        """Return a short name for exactly this video: of the cell, and of what it is made from (`about`)."""
        decides = {name: value for name, value in asdict(self).items() if name != "options"}    # `about` names weights
        text = json.dumps({"cell": decides, "about": about}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def label(self) -> str:
        """Describe the cell in words, without what is usual."""
        usual = {field.name: field.default for field in fields(Cell)}
        parts = [f"{self.model} {self.steps}"]
        parts += [str(value) for name, value in asdict(self).items()
                  if name in ("schedule", "solver", "size", "clean") and value != usual[name]]
        if self.noise_db is not None:
            parts.append(f"noise {self.noise_db:g} dB")
        return ", ".join(parts)


AXES = {field.name: field for field in fields(Cell)}


@dataclass(frozen=True)
class Grid:
    """Every combination of the values given; what is not named stays as a plain Cell has it.

        Grid(steps=(3, 4, 5), model=("student", "teacher"), seed=(1, 2))

    A list of dicts, `sounds`, names values that belong together: ({"noise_db": 5}, {"noise_db": 5, "clean": "wiener"}).
    """

    axes: dict[str, tuple]                    # setting -> its values
    together: tuple[dict, ...] = ({},)        # settings that change together

    def __init__(self, together: Sequence[dict] = ({},), **axes: object) -> None:
        values = {name: tuple(value) if isinstance(value, (list, tuple, range)) else (value,)
                  for name, value in axes.items()}
        for name in (*values, *(name for group in together for name in group)):
            if name not in AXES:
                raise InputError(f"a sweep has no {name!r}; it has {', '.join(AXES)}{did_you_mean(name, AXES)}")
        for name, value in values.items():
            if not value:
                raise InputError(f"{name} has no values; give at least one")
        object.__setattr__(self, "axes", values)
        object.__setattr__(self, "together", tuple(dict(group) for group in together))
        self.cells()

    def cells(self) -> tuple[Cell, ...]:
        """Return all of them, each once; in an order in which neighbours need the same weights."""
        unique = dict.fromkeys(self._combinations())
        return tuple(sorted(unique, key=lambda cell: (cell.backend, cell.weights, cell.model)))

    def _combinations(self) -> Iterator[Cell]:
        for group in self.together:
            for values in product(*self.axes.values()):
                yield Cell(**(dict(zip(self.axes, values, strict=True)) | group))

    def __len__(self) -> int:
        return len(self.cells())

    def to_dict(self) -> dict:
        return {"axes": {name: list(values) for name, values in self.axes.items()}, "together": list(self.together)}

    @classmethod
    def from_dict(cls, values: dict) -> Grid:
        return cls(together=values.get("together", ({},)), **values["axes"])


def parse_axis(text: str) -> tuple[str, tuple]:
    """Parse "steps=1..8", "size=96*96,128*128" or "noise_db=none,10,5" -> a setting and its values, as the command line
    has them. A semicolon separates values that hold commas: "prompt=smiling, in warm light;a person talking"."""
    name, equals, value = (part.strip() for part in text.partition("="))
    if not equals or name not in AXES:
        raise InputError(f"--grid is {text!r}; write setting=value,value with one of {', '.join(AXES)}, "
                         f"for example steps=3,4,5{did_you_mean(name, AXES)}")
    first, dots, last = value.partition("..")
    if dots and first.strip().isdigit() and last.strip().isdigit():
        return name, tuple(range(int(first), int(last) + 1))
    kind = get_type_hints(Cell)[name]
    return name, tuple(_value(name, kind, part.strip()) for part in value.split(";" if ";" in value else ","))


def _value(name: str, kind: object, text: str) -> object:
    if kind is str:
        return text
    if kind is bool:
        return text.lower() in ("true", "1", "yes")
    if text.lower() in ("none", "clean") and kind == float | None:
        return None
    try:
        return int(text) if kind is int else float(text)
    except ValueError:
        raise InputError(f"{name} is {text!r}; it is a number") from None
