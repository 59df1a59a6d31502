"""A backend small enough for tests: the real transformer and sampler at toy size, encoders whose answers are known."""

import asyncio
import math
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import torch

from liveavatar.backends import Backend, Trained
from liveavatar.decoder import Decoder, StreamingVAE
from liveavatar.metrics.possible import Possible, PossibleStep
from liveavatar.types import AudioFeatures, Portrait, Speech

RATE_HZ, FPS = 16_000, 25.0
SAMPLES_PER_FRAME = 640

TINY = dict(dim=24, ffn_dim=32, num_heads=2, num_layers=2, in_dim=4, out_dim=4, cond_dim=4, freq_dim=16, text_dim=3,
            text_len=2, audio_dim=4, audio_layers=1, audio_inject_layers=(1,), enable_framepack=False,
            block_frames=3, cache_frames=6, reference_distance=30, released_rounding=False)


class PlainVAE(StreamingVAE):
    """The first three channels are red, green and blue; its memory counts the latent frames it has seen."""

    def __init__(self, pause_s: float = 0.0) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))
        self.pause_s = pause_s
        self.held = False               # True: what is to be decoded waits, so that no video comes to its end

    def decode_stream(self, latents, memory):
        time.sleep(self.pause_s)
        wait_until(lambda: not self.held, 300)
        seen = 0 if memory is None else int(memory[0])
        video = (latents[:, :3] * self.scale).sigmoid()
        video = video.repeat_interleave(4, 2).repeat_interleave(8, 3).repeat_interleave(8, 4)
        return video, (torch.tensor(seen + latents.shape[2]),)


class FakeBackend(Backend):
    """Hears the loudness of each frame, sees the mean colour of the portrait, reads the length of the prompt."""

    name = "fake"
    fps, rate_hz = FPS, RATE_HZ
    block_latents, frames_per_latent, size_multiple = 3, 4, 16
    default_size = (32, 32)
    loaded = 0                      # how often weights were brought

    def __init__(self, student: bool = True, pause_s: float = 0.0, dtype: str = "float32") -> None:
        from liveavatar.transformer import CausalS2VTransformer
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            self.transformer = CausalS2VTransformer.from_config(TINY).eval().requires_grad_(False)
        torch.nn.Module.to(self.transformer, getattr(torch, dtype))
        self.vae = PlainVAE(pause_s)
        self.student = student
        self.trained = Trained(solver="renoise" if student else "euler")
        self.device, self.dtype = torch.device("cpu"), getattr(torch, dtype)

    @classmethod
    def load(cls, student: bool = True, dtype: str = "float32", **_: object) -> "FakeBackend":
        FakeBackend.loaded += 1
        return cls(student, dtype="float32" if dtype == "auto" else dtype)

    @classmethod
    def for_audio(cls) -> "type[FakeBackend]":
        return cls

    @classmethod
    def encode_audio(cls, speech: Speech) -> AudioFeatures:
        frames = -(-len(speech.wave) // SAMPLES_PER_FRAME)
        wave = torch.from_numpy(np.pad(speech.wave, (0, frames * SAMPLES_PER_FRAME - len(speech.wave))))
        rms = wave.view(frames, -1).square().mean(1).sqrt()
        return AudioFeatures(rms.expand(1, 1, 4, -1).contiguous(), cls.fps, rms)

    def encode_text(self, prompt):
        return torch.full((1, 1, 3), float(len(prompt.text)))

    def encode_image(self, portrait, size):
        colour = portrait.pixels.mean((1, 2))
        reference = torch.zeros(1, 4, 1, size[0] // 8, size[1] // 8)
        reference[0, :3] = colour[:, None, None, None]
        return reference, None

    def unconditional(self, condition):
        return replace(condition, text=torch.zeros_like(condition.text), audio=torch.zeros_like(condition.audio))

    def decoder(self, condition=None):
        return Decoder(self.vae)

    def about(self):
        return {"name": self.name, "student": self.student, "dtype": "float32", "fingerprint": "tiny"}


def tone(seconds: float, pitch_hz: float = 200.0) -> Speech:
    """Speech of a kind: a tone that swells and fades."""
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    wave = 0.4 * np.sin(2 * np.pi * pitch_hz * time_s) * (0.6 + 0.4 * np.sin(2 * np.pi * 1.5 * time_s))
    return Speech(wave.astype(np.float32), RATE_HZ)


def face(height: int = 64, width: int = 64) -> Portrait:
    """A picture of a kind: a slope of colours."""
    rows, columns = torch.linspace(0, 1, height)[:, None], torch.linspace(0, 1, width)
    return Portrait(torch.stack([rows.expand(-1, width), columns.expand(height, -1), 0.5 * (rows + columns)]),
                    source="slope")


def run_elsewhere(coroutine: Coroutine) -> object:
    """Run a coroutine in a thread of its own: browser tests leave a loop running in the main one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


def unsettled() -> list[str]:
    """Name the views that are not drawn on their page as they should be, or have pictures decoded."""
    from ipywidgets.widgets.widget import _instances

    from widgets._decoding import decoding
    from widgets._live import LiveView

    views = [one for one in tuple(_instances.values()) if isinstance(one, LiveView)]
    return [type(view).__name__ for view in views if view._gate.wanted or decoding().waits(view)
            or (view._gate.has_viewer and view._gate._acknowledged < view._gate._number)]


def wait_until(happened: Callable[[], object], patience_s: float = 500) -> None:
    """Wait for what another thread does: for long, as a machine may be slow, but not for ever."""
    patient_until = time.monotonic() + patience_s
    while not happened():
        assert time.monotonic() < patient_until
        time.sleep(0.01)


def possible(count: int = 4, shares: Sequence[float] = (0.3, 0.9), block: int = 0, size: int = 32) -> Possible:
    """Return a comparison of two or more steps with renderings, four pictures long, that nobody has drawn."""
    dice = np.random.default_rng(0)
    pictures = [dice.integers(0, 255, (4, size, size, 3), np.uint8) for _ in range(2 * len(shares) + 2)]
    parts = {"latents": 1.0, "mouth": 0.2}
    steps = tuple(PossibleStep(step, 1 - 0.2 * step, max(count - 2.5 * step, 1.0),
                               {part: math.hypot(share * spread, spread / math.sqrt(count)) for part, spread
                                in parts.items()}, dict(parts), dict(parts)) for step, share in enumerate(shares))
    guesses, expected = pictures[2:2 + len(shares)], pictures[2 + len(shares):]
    return Possible(block, count, steps, parts, 1.0, pictures[0], tuple(expected), pictures[1], tuple(guesses),
                    0.16 * block)


class PlainComparison:
    """In place of metrics.possible.Comparison, for any run: counts renderings, and finds `possible`."""

    def __init__(self, run: object, block: int) -> None:
        self.block, self.count = block, 0

    def add(self, one: object) -> None:
        self.count += 1

    def result(self) -> Possible:
        return possible(self.count, block=self.block)


def without_truth(monkeypatch: object) -> None:
    """Let a PossibleStudy of any run be made, whose renderings cost nothing."""
    from liveavatar.study import possible_study
    from widgets import possible_view

    for module in (possible_study, possible_view):
        monkeypatch.setattr(module, "check_run", lambda run, block: None)
    monkeypatch.setattr(possible_study, "Comparison", PlainComparison)
    monkeypatch.setattr(possible_study, "draw_pictures", lambda run, block, seed: None)
    monkeypatch.setattr(possible_study, "encoded", lambda run, pictures: None)
