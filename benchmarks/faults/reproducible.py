"""The same seed gives the same latents: whatever the number of threads, in every process, and after a resume."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from faults.attempts import Attempt, chance, in_process

THREADS = (1, 2, 4)


def latents_of(settings: dict, seconds: float, dtype: str, run_dir: str, stop_after: int) -> list[str]:
    """Make a video with mini and hash the latents of every block; stop_after: blocks, -1 for all. With a run_dir that
    holds a run, go on with it."""
    import warnings

    import fakes

    import liveavatar
    from liveavatar.config import GenerationConfig
    from liveavatar.types import Block

    warnings.simplefilter("ignore")
    pipe = liveavatar.load("mini", dtype=dtype)
    output = Path(run_dir) / ".." / "out.mp4"
    if (Path(run_dir) / "run.json").exists():
        made = pipe.resume(run_dir, output=output, keep_latents=True, progress=False)
        return [digest(latents) for latents in made.latents]
    found: list[str] = []
    stream = pipe.stream(fakes.tone(seconds), liveavatar.avatar(3), "waving", GenerationConfig(**settings),
                         output=output, run_dir=run_dir)
    for event in stream:
        if isinstance(event, Block):
            found.append(digest(event.latents))
            if len(found) == stop_after:
                stream.close()
                break
    return found


def digest(latents: object) -> str:
    """Return the sha256 of latents, bit by bit."""
    return hashlib.sha256(latents.float().cpu().contiguous().numpy().tobytes()).hexdigest()


def same_latents(seed: int, first: int, count: int) -> Iterator[Attempt]:
    """Make a video with 1, 2 and 4 threads, a process each, and once more stopped and resumed with other counts."""
    for number in range(first, first + count):
        dice = chance("same-latents", seed, number)
        settings = {"size": dice.choice(("64*64", "96*64", "128*128")), "sample_steps": dice.choice((1, 2, 4)),
                    "base_seed": dice.randrange(2**31)}
        seconds, dtype = dice.choice((0.6, 1.1, 2.0)), dice.choice(("float32", "bfloat16"))
        stop_after = dice.randint(1, 2)
        found = {}
        with tempfile.TemporaryDirectory() as name:
            for threads in THREADS:
                found[f"{threads} threads"] = latents_with(threads, settings, seconds, dtype, f"{name}/{threads}/run")
            latents_with(dice.choice(THREADS), settings, seconds, dtype, f"{name}/stopped/run", stop_after)
            found["resumed"] = latents_with(dice.choice(THREADS), settings, seconds, dtype, f"{name}/stopped/run")
        odd = [what for what, hashes in found.items() if hashes != found["1 threads"]]
        yield Attempt(f"{number}: {settings}, {seconds} s, {dtype}, resumed after {stop_after} blocks", not odd,
                      f"other latents: {odd}" if odd else "")


def latents_with(threads: int, settings: dict, seconds: float, dtype: str, run_dir: str,
                 stop_after: int = -1) -> list[str]:
    """Call `latents_of` in a process with exactly so many threads."""
    Path(run_dir).mkdir(parents=True, exist_ok=True)
    return in_process("faults.reproducible", "latents_of", settings, seconds, dtype, run_dir, stop_after,
                      OMP_NUM_THREADS=str(threads), LIVEAVATAR_THREADS=str(threads))
