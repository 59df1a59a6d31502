"""What keeps a stream stable: the same sound and portrait with one switch changed in each stream, made side by side.

    study = DriftStudy(pipeline, "speech.wav", "portrait.png", seconds=60)
    study.start()                         # block by block in turn, in a thread; study.stop(), study.wait()
    study["no portrait sink"].points      # a DriftPoint for each block so far
    study.table()                         # beginning against end

With a folder, curves are written block by block, and a study that was stopped or killed is gone on with:

    out/drift/study.json                  settings, and hashes of the inputs
              00.jsonl                    the curve of the first stream, a line a block
              00.safetensors              what its next block depends on
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from liveavatar.checksums import check_values, with_crc
from liveavatar.conditions import fit_portrait
from liveavatar.config import GenerationConfig, check_between
from liveavatar.files import user_path
from liveavatar.inputs import prepare
from liveavatar.metrics.stream_drift import CURVES, DriftPoint, find_jumps, find_shifts
from liveavatar.runfolder import sha256_of
from liveavatar.study.background import StepwiseWork
from liveavatar.study.cell_result import write_json
from liveavatar.study.drift_stream import DriftStream, PlantedFault, StreamSetting
from liveavatar.threads import held_threads
from liveavatar.types import InputError, Speech

if TYPE_CHECKING:
    from liveavatar.inputs import Audio, Image
    from liveavatar.pipeline import Pipeline

RINGS = (3, 6, 9, 12)
AS_TRAINED = "as trained"
FORMAT = 1


def stability_settings(pipeline: Pipeline, fault_block: int = 20) -> tuple[StreamSetting, ...]:
    """Return a stream for each switch, the one as trained first, and two whose pictures are damaged from `fault_block`
    on. Switches that stand as the weights were trained are left out."""
    trained_ring = pipeline.backend.transformer.config.cache_frames
    rings = [StreamSetting(f"ring of {frames}", {"ring_frames": frames}) for frames in RINGS if frames != trained_ring]
    other = {"euler": ("re-noise", "renoise"), "renoise": ("Euler", "euler")}[pipeline.backend.trained.solver]
    return (StreamSetting(AS_TRAINED), StreamSetting("no portrait sink", {"portrait_sink": False}), *rings,
            StreamSetting("one clean cache", {"cache_level": "clean"}),
            StreamSetting(other[0], {"sample_solver": other[1]}),
            StreamSetting("portrait strength 0.5", {"portrait_strength": 0.5}),
            StreamSetting("portrait strength 0", {"portrait_strength": 0.0}),
            StreamSetting("planted jump", fault=PlantedFault("jump", fault_block)),
            StreamSetting("planted colours", fault=PlantedFault("colours", fault_block)))


@dataclass(frozen=True)
class DriftRow:
    """One stream in numbers: its first tenth against its last."""

    name: str
    seconds: float
    first: dict[str, float]         # identity, colours, corners_db, seam: means of the first tenth of the blocks
    last: dict[str, float]          # and of the last tenth
    jumps: list[int]                # blocks
    shifts: list[int]


class DriftStudy(StepwiseWork[DriftPoint | None]):
    """Streams that differ in one switch each, made block by block in turn and measured.

    Memory is bounded: each stream keeps its caches, its curves and a few small pictures.
    """

    what = "study"

    def __init__(self, pipeline: Pipeline, audio: Audio, image: Image, prompt: str = "", *,
                 settings: Sequence[StreamSetting] | None = None, seconds: float = 60.0,
                 config: GenerationConfig | None = None, folder: str | os.PathLike | None = None) -> None:
        """Prepare a study; nothing is made yet.

        audio: repeated until it fills `seconds` of video; settings: `stability_settings` where left out;
        config: what all streams share; folder: where curves are kept; one that holds the same study is gone on with.
        Raises InputError for inputs and settings that cannot be used, and for a folder of another study.
        """
        super().__init__()
        check_between("seconds", seconds, 1.0, 24 * 3600)
        self.pipeline, self.seconds = pipeline, seconds
        self.config = config or GenerationConfig()
        self.settings = stability_settings(pipeline) if settings is None else tuple(settings)
        names = [setting.name for setting in self.settings]
        if not names or len(set(names)) != len(names):
            raise InputError(f"the settings are named {', '.join(map(repr, names)) or 'nothing'}; give at least one, "
                             "each with a name of its own")
        self._configs = {setting.name: setting.config(self.config) for setting in self.settings}
        self.folder = None if folder is None else user_path(folder)
        self._inputs = prepare(pipeline.backend, repeated(pipeline.load_audio(audio, self.config), seconds), image,
                               prompt, replace(self.config, start_s=0.0, duration_s=None))
        self.portrait = fit_portrait(self._inputs.portrait, self._inputs.size)
        self.streams: tuple[DriftStream, ...] = ()
        if self.folder is not None:
            self._open_folder()
            if any(self.folder.glob("*.jsonl")):            # what was made before is seen at once
                self._prepare()

    def __repr__(self) -> str:
        made = sum(len(stream.points) for stream in self.streams) / max(len(self.settings), 1)
        return f"DriftStudy({len(self.settings)} streams, {made * self.block_s:.0f} of {self.seconds:.0f} s each)"

    def __getitem__(self, name: str) -> DriftStream:
        """Return a stream by the name of its setting. Raises InputError for an unknown one, and before any is made."""
        found = next((stream for stream in self.streams if stream.setting.name == name), None)
        if found is None:
            known = ", ".join(repr(setting.name) for setting in self.settings)
            raise InputError(f"no stream {name!r} is made yet; known: {known}")
        return found

    @property
    def block_s(self) -> float:
        """Return the seconds of a block."""
        return self.pipeline.block_frames / self.pipeline.backend.fps

    @property
    def done(self) -> bool:
        """Tell whether every block of every stream is measured."""
        return bool(self.streams) and all(stream.done for stream in self.streams)

    # ------------------------------------------------------------------ making

    def blocks(self) -> Iterator[tuple[str, DriftPoint]]:
        """Make the blocks that are missing, one of each stream in turn; yield the stream's name and what was measured.

        Closing it, or `stop`, ends after the block that is being made; calling it again goes on there.
        Raises InputError while it runs in a thread.
        """
        self._take_over()
        self._prepare()
        try:
            with held_threads():
                while not self._stop.is_set():
                    waiting = [stream for stream in self.streams if not stream.done]
                    if not waiting:
                        return
                    stream = min(waiting, key=lambda one: len(one.points))      # the first of those that are behind
                    point = stream.advance()
                    if point is not None:
                        self._tell(point)
                        yield stream.setting.name, point
        finally:
            for stream in self.streams:
                stream.save()

    _parts = blocks

    @torch.inference_mode()
    def _prepare(self) -> None:
        """Encode what steers the streams, once for all that share it, and open them."""
        if self.streams:
            return
        encoded: dict[tuple, object] = {}
        streams = []
        for number, setting in enumerate(self.settings):
            config = self._configs[setting.name]
            self.pipeline._check(config)
            key = config.portrait_strength, config.sound_strength, config.base_seed
            if key not in encoded:
                encoded[key] = self.pipeline.encode_inputs(self._inputs, config)
            path = None if self.folder is None else self.folder / f"{number:02d}"
            streams.append(DriftStream(setting, self.pipeline, encoded[key], config, self.portrait, path))
        self.pipeline.load_weights()
        self.streams = tuple(streams)

    # ------------------------------------------------------------------ what was found

    def table(self) -> list[DriftRow]:
        """Return a row for each stream that has begun."""
        return [row_of(stream.setting.name, stream.points, self.block_s) for stream in self.streams if stream.points]

    # ------------------------------------------------------------------ the folder

    def _open_folder(self) -> None:
        """Write what is asked for, or check that the folder holds the same study. Raises InputError where not."""
        about = self._about()
        path = self.folder / "study.json"
        if path.is_file():
            try:
                found = check_values(json.loads(path.read_text(encoding="utf-8")))
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise InputError(f"{path} cannot be read ({error}); choose another folder") from error
            differ = sorted(name for name in about if found.get(name) != json.loads(json.dumps(about[name])))
            if differ:
                raise InputError(f"{self.folder} holds a study with other {' and '.join(differ)}; choose another "
                                 "folder, or ask for the same to go on with it")
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(path, with_crc(about))

    def _about(self) -> dict:
        model = {name: value for name, value in self.pipeline.backend.about().items()
                 if name in ("name", "student", "dtype", "fingerprint")}
        settings = [asdict(setting) for setting in self.settings]
        return {"format": FORMAT, "model": model, "settings": settings, "config": self.config.to_dict(),
                "seconds": self.seconds, "size": list(self._inputs.size), "prompt": self._inputs.prompt.text,
                "sound": sha256_of(self._inputs.speech), "portrait": sha256_of(self._inputs.portrait)}


def row_of(name: str, points: Sequence[DriftPoint], block_s: float = 0.48) -> DriftRow:
    """Return a stream in numbers. points: at least one"""
    share = max(1, len(points) // 10)

    def means(part: Sequence[DriftPoint]) -> dict[str, float]:
        return {curve: float(np.nanmean([getattr(point, curve) for point in part]))
                if any(not math.isnan(getattr(point, curve)) for point in part) else math.nan for curve in CURVES}

    return DriftRow(name, len(points) * block_s, means(points[:share]), means(points[-share:]), find_jumps(points),
                    find_shifts(points))


def repeated(speech: Speech, seconds: float) -> Speech:
    """Return a recording of so many seconds: this one again and again."""
    return Speech(np.resize(speech.wave, round(seconds * speech.rate_hz)), speech.rate_hz)
