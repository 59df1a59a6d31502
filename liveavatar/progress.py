"""What is measured and shown while a video is made: seconds of work by stage, and a progress bar."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Stopwatch:
    """Measures seconds of work by stage. What the caller does between two events does not count."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add the time that the body of the `with` takes to a stage."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - began

    @property
    def total_s(self) -> float:
        """Return the seconds of all stages together."""
        return sum(self.seconds.values())


class ProgressBar:
    """A bar that counts seconds of video and says how many times real time it goes."""

    def __init__(self, total_s: float, shown: bool) -> None:
        from tqdm.auto import tqdm

        form = "{percentage:3.0f}% |{bar}| {n:.1f}/{total:.1f} s of video [{elapsed}<{remaining}{postfix}]"
        self._bar = tqdm(total=total_s, disable=not shown, bar_format=form)
        self._total_s = total_s

    def update(self, done_s: float, x_realtime: float) -> None:
        """Move the bar to `done_s` seconds of video; x_realtime: seconds of video per second of work"""
        self._bar.set_postfix_str(f"{x_realtime:.2f}x real time", refresh=False)
        self._bar.update(min(done_s, self._total_s) - self._bar.n)

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
