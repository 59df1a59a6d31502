"""What mini's mouth does where nobody speaks: noise, clicks, hum, music.

    python benchmarks/no_voice.py --music DIR --speech DIR > benchmarks/results/no_voice.md

For each sound: how far the mouth opens at most (0 closed, 1 wide open, read off the pictures), in how many frames it is
more than a tenth open, how much it moves from one frame to the next, whether the rule of `liveavatar.voice` finds a
voice, and in how much of the time Silero VAD does. Then how well pauses are found in noise. Recordings are not shipped.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path

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


def recordings(folder: Path) -> dict[str, np.ndarray]:
    """Read the first SECONDS of each sound file of a folder, from its middle on: (N,) float32 by name."""
    from liveavatar.audio import load_audio

    read = {}
    for path in sorted(one for one in folder.iterdir() if one.is_file()):
        wave = load_audio(path).wave
        first = max(len(wave) // 2 - len(TIME_S) // 2, 0)
        part = wave[first:first + len(TIME_S)]
        read[path.stem] = (0.3 * part / max(np.abs(part).max(), 1e-9)).astype(np.float32)
    return read


def mouths(sounds: dict[str, np.ndarray], seed: int) -> Iterator[list[str]]:
    """Let an avatar of mini hear each sound (N,); yield rows of a table: what its mouth does, what the sound is."""
    import torch

    import liveavatar
    from liveavatar import voice
    from liveavatar.metrics.reader import read_face
    from liveavatar.metrics.sound_kinds import sound_kinds
    from liveavatar.types import Block, Speech

    pipe, portrait = liveavatar.load("mini"), liveavatar.avatar(seed)
    for name, wave in sounds.items():
        speech = Speech(wave, RATE_HZ)
        frames = torch.cat([event.frames for event in pipe.events(speech, portrait) if isinstance(event, Block)])
        opening = read_face(frames)["mouth_aperture"]
        moves = float(opening.diff().abs().mean())
        kinds = sound_kinds(speech, len(opening))
        network = "-" if kinds.unknown else f"{float(kinds.speaking.double().mean()):.0%}"
        rule = "yes" if voice.follows_rule(speech) else "no"
        yield [name, f"{float(opening.max()):.2f}", f"{float((opening > 0.1).double().mean()):.0%}", f"{moves:.3f}",
               rule, network]


def pauses(noises: dict[str, np.ndarray]) -> Iterator[list[str]]:
    """Put speech with pauses into noise (N,) of several levels; yield how much of the pauses and of the speech is taken
    for a pause, by level alone and with Silero VAD."""
    import torch

    from liveavatar.metrics.quality import silent_frames
    from liveavatar.metrics.sound_kinds import sound_kinds
    from liveavatar.speech import join, samples, speaking
    from liveavatar.types import Speech

    speech = join(list(samples().values()), [1.0] * 4)
    frames = int(speech.duration_s * 25)
    spoken = speaking(speech.phonemes, speech.duration_s)[:frames]
    near = torch.nn.functional.max_pool1d(spoken[None].float(), 9, 1, 4)[0] > 0
    for name, noise in noises.items():
        for snr_db in (20, 10, 0, -5):
            heard = np.resize(noise, len(speech.wave))
            voiced_power = float(np.mean(speech.wave[np.abs(speech.wave) > 0.01] ** 2))
            heard = heard * np.sqrt(voiced_power / max(np.mean(heard ** 2), 1e-12) / 10 ** (snr_db / 10))
            mixed = speech.wave + heard.astype(np.float32)
            mixed = Speech(mixed / max(np.abs(mixed).max(), 1.0), RATE_HZ)
            level, kinds = silent_frames(torch.from_numpy(mixed.wave), frames), sound_kinds(mixed, frames)
            rest = kinds.silent | kinds.other
            yield [name, f"{snr_db:+d}", *(f"{float(found[of].double().mean()):.0%}" for found in (level, rest)
                                           for of in (~near, spoken))]


def table(heads: list[str], rows: Iterable[list[str]]) -> None:
    """Print a table in Markdown, a row as soon as it is known."""
    print("| " + " | ".join(heads) + " |\n|---|" + "---:|" * (len(heads) - 1))
    for row in rows:
        print("| " + " | ".join(row) + " |", flush=True)


def main(arguments: list[str] | None = None) -> None:
    """Measure and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=7, help="of the avatar (default: 7)")
    parser.add_argument("--music", type=Path, help="folder of recorded music")
    parser.add_argument("--speech", type=Path, help="folder of recorded speech, to compare")
    asked = parser.parse_args(arguments)

    import warnings

    from liveavatar.speech import samples

    warnings.simplefilter("ignore")                        # that there is no voice is what this is about
    music = recordings(asked.music) if asked.music else {}
    voices = {"a voice": samples()["welcome"].wave} | (recordings(asked.speech) if asked.speech else {})
    print("# mini where nobody speaks\n\nMade by `python benchmarks/no_voice.py --music DIR --speech DIR`.\n")
    table(["sound", "opening at most", "frames more than 0.1 open", "motion a frame", "voice by the rule",
           "speaking by Silero VAD"], mouths(sounds() | music | voices, asked.seed))
    print("\nSpeech with pauses of 1 s in noise; how much of the pauses, and of the speech, counts as a pause:\n")
    noises = {name: sounds()[name] for name in ("hiss", "chords and drums")} | dict(list(music.items())[:2])
    table(["noise", "speech over noise, dB", "pauses by level", "speech by level", "pauses with Silero VAD",
           "speech with Silero VAD"], pauses(noises))


if __name__ == "__main__":
    main()
