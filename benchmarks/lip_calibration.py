"""What the loudness of speech says about lips that are perfectly on time: bias, spread and height of the peak.

    python benchmarks/lip_calibration.py            about a minute; needs espeak-ng and flite

Speaks sentences that mini never heard with many voices, draws the true opening from the phoneme times and measures it
against the sound with `liveavatar.metrics.alignment`. The figures are the constants of that module.
"""

from __future__ import annotations

import argparse
import itertools
import math
import random
import statistics

import torch

from liveavatar.metrics.alignment import vowel_envelope
from liveavatar.metrics.lips import offset_curve, true_opening
from liveavatar.speech import join, speak
from liveavatar.training import sentences

VOICES = ("espeak:en-us", "espeak:en-us+f3", "espeak:en-gb-scotland+m3", "espeak:en-us+klatt2", "espeak:en-us+f5",
          "espeak:en-029+m7", "espeak:en-us+Andrea", "flite:slt", "flite:rms", "flite:awb", "flite:kal16")
FPS = 25.0


def spoken(count: int, seed: int):
    """Utterances of two sentences, any voice, at various rates."""
    dice = random.Random(seed)
    for voice in itertools.islice(itertools.cycle(VOICES), count):
        parts = [speak(dice.choice(sentences.english("held")), voice, rate=dice.choice((0.85, 1.0, 1.15)))
                 for _ in range(2)]
        yield voice, join(parts, (0.2, 0.3, 0.3))


def main() -> None:
    parser = argparse.ArgumentParser(description="Calibrate lips against loudness.")
    parser.add_argument("--utterances", type=int, default=88)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    curves = []
    for voice, speech in spoken(chosen.utterances, chosen.seed):
        T = math.floor(speech.duration_s * FPS)
        curves.append((voice, true_opening(speech, T), vowel_envelope(speech, T)))
    print(" piece    n  applies    bias  spread     5 %    95 %   peak  lowest")
    for seconds in (2.0, 3.0, 4.0, 6.0):
        size = round(seconds * FPS)
        found = [offset_curve(opening[at:at + size], envelope[at:at + size]) for _, opening, envelope in curves
                 for at in range(0, len(opening) - size + 1, size)]
        late = sorted(one.best_ms for one in found if one.applies)
        peaks = sorted(one.peak for one in found if one.applies)
        if len(late) > 2:
            print(f"{seconds:4.0f} s {len(found):5} {len(late) / len(found):8.1%} {statistics.median(late):4.0f} ms "
                  f"{statistics.stdev(late):4.0f} ms {late[len(late) // 20]:4.0f} ms {late[-1 - len(late) // 20]:4.0f} "
                  f"ms {statistics.median(peaks):6.2f} {peaks[len(peaks) // 20]:7.2f}")
    for name in VOICES:
        late = [offset_curve(opening, envelope).best_ms for voice, opening, envelope in curves if voice == name]
        print(f"{name:28} {statistics.median(late):4.0f} ms")


if __name__ == "__main__":
    main()
