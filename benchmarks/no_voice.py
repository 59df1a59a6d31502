"""What mini's mouth does where nobody speaks: noise, clicks, hum, music.

    python benchmarks/no_voice.py [--seed 7]

For each sound: how far the mouth opens at most (0 closed, 1 wide open, read off the pictures), in how many frames it is
more than a tenth open, and whether a voice is found in the sound (`liveavatar.voice`). A voice comes last, to compare.
"""

from __future__ import annotations

import argparse

import numpy as np

RATE_HZ, SECONDS = 16_000, 6
TIME_S = np.arange(SECONDS * RATE_HZ) / RATE_HZ
NOISE = np.random.default_rng(0).standard_normal(len(TIME_S))


def repeated(sound: np.ndarray, times_s: np.ndarray) -> np.ndarray:
    """Place a short sound (n,) at several times of a silence: (N,)."""
    wave = np.zeros(len(TIME_S))
    for first in (round(time_s * RATE_HZ) for time_s in times_s):
        end = min(first + len(sound), len(wave))
        wave[first:end] += sound[:end - first]
    return wave


def chords(fade: float) -> np.ndarray:
    """Four chords of three notes, each held for half a second: (N,). fade: how fast they die away."""
    pitches_hz = ((262, 330, 392), (294, 349, 440), (330, 392, 494), (262, 330, 392))
    time_s = TIME_S[:RATE_HZ // 2]
    notes = [sum(np.sin(2 * np.pi * hz * over * time_s) / over for hz in chord for over in (1, 2, 3, 4))
             * np.exp(-fade * time_s) for chord in pitches_hz]
    return np.concatenate(notes * (SECONDS // 2))


def melody() -> np.ndarray:
    """Twelve plain tones of half a second: (N,)."""
    time_s = TIME_S[:RATE_HZ // 2]
    shape = np.minimum(1, 50 * time_s) * np.exp(-2 * time_s)
    return np.concatenate([np.sin(2 * np.pi * hz * time_s) * shape
                           for hz in (440, 494, 523, 587, 523, 494, 440, 392, 440, 523, 494, 440)])


def sounds() -> dict[str, np.ndarray]:
    """Sounds without a voice, by name, each (N,) float32 in [-1, 1] at 16 kHz."""
    halves, quarters = np.arange(0.3, SECONDS, 0.5), np.arange(0, SECONDS, 0.25)
    tap, drum = NOISE[:160] * np.exp(-np.arange(160) / 40), NOISE[:3200] * np.exp(-25 * TIME_S[:3200])
    knock = np.sin(2 * np.pi * 120 * TIME_S[:1600]) * np.exp(-40 * TIME_S[:1600])
    hum = sum(np.sin(2 * np.pi * 50 * over * TIME_S) / over for over in range(1, 8))
    made = {"silence": 0 * TIME_S, "hiss": NOISE, "clicks": repeated(NOISE[:30], halves),
            "clicks in hiss": repeated(NOISE[:30], halves) + 0.005 * NOISE,
            "typing": repeated(tap, np.random.default_rng(1).uniform(0, SECONDS, 30)),
            "knocking": repeated(knock, np.arange(0.4, SECONDS, 0.8)), "hum": hum,
            "a tone": np.sin(2 * np.pi * 200 * TIME_S),
            "breath": NOISE * np.clip(np.sin(2 * np.pi * 0.3 * TIME_S), 0, 1), "drums": repeated(drum, quarters),
            "chords": chords(0.0), "chords and drums": chords(3.0) + 2 * repeated(drum, halves), "melody": melody()}
    return {name: (0.3 * wave / max(np.abs(wave).max(), 1e-9)).astype(np.float32) for name, wave in made.items()}


def main(arguments: list[str] | None = None) -> None:
    """Measure and print, one line a sound."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=7, help="of the avatar (default: 7)")
    asked = parser.parse_args(arguments)

    import warnings

    import torch

    import liveavatar
    from liveavatar.metrics.reader import read_face
    from liveavatar.speech import samples
    from liveavatar.types import Block, Speech
    from liveavatar.voice import holds_speech

    warnings.simplefilter("ignore")                        # that there is no voice is what this is about
    pipe, portrait = liveavatar.load("mini"), liveavatar.avatar(asked.seed)
    print(f"{'sound':18}{'opening at most':>16}{'frames open':>13}  a voice is found")
    for name, wave in (sounds() | {"a voice": samples()["welcome"].wave}).items():
        speech = Speech(wave, RATE_HZ)
        frames = torch.cat([event.frames for event in pipe.events(speech, portrait) if isinstance(event, Block)])
        opening = read_face(frames)["mouth_aperture"]
        share = f"{int((opening > 0.1).sum())} of {len(opening)}"
        print(f"{name:18}{opening.max():16.2f}{share:>13}  {'yes' if holds_speech(speech) else 'no'}", flush=True)


if __name__ == "__main__":
    main()
