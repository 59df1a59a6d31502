"""How near the times of found phonemes are to those that the synthesisers tell themselves.

    python benchmarks/phonemes.py > benchmarks/results/phonemes.md        (needs pocketsphinx, espeak-ng and flite)

Phonemes are matched in order by the shape of the mouth that they ask for (difflib.SequenceMatcher); the error of a
boundary is the start of a matched phoneme minus the start that the synthesiser tells.
"""

import difflib

import numpy as np

from liveavatar.phonemes import Recognition, find_phonemes
from liveavatar.speech import available_voices, is_pause, speak, viseme_of
from liveavatar.types import Phoneme

VOICES = ("flite:slt", "flite:rms", "flite:awb", "flite:kal16", "espeak:en-us", "espeak:en-us+f3")
TEXTS = ("The big brown bear pushed a small wooden boat across the muddy pond.",
         "Maybe Peter will bring some apple pie before lunch, but nobody promised him coffee.")
FOREIGN = (("espeak:de", "Bitte bringen Sie mir morgen ein Pfund Butter und etwas Brot."),
           ("espeak:es", "Mi hermano quiere comprar una bicicleta nueva para el verano."),
           ("espeak:fr", "Nous partirons demain matin pour passer une semaine au bord de la mer."))


def errors_of(true: tuple[Phoneme, ...], found: tuple[Phoneme, ...]) -> tuple[list[float], int]:
    """Return the errors of matched starts in ms, and how many phonemes there were to match."""
    one, other = ([phoneme for phoneme in part if not is_pause(phoneme)] for part in (true, found))
    shapes = [[viseme_of(phoneme.symbol)[0] for phoneme in part] for part in (one, other)]
    blocks = difflib.SequenceMatcher(None, *shapes, autojunk=False).get_matching_blocks()
    pairs = [(a + n, b + n) for a, b, size in blocks for n in range(size)]
    return [1000 * (other[b].start_s - one[a].start_s) for a, b in pairs], len(one)


def row(voice: str, how: str, results: list[tuple[tuple[Phoneme, ...], Recognition]]) -> str:
    """Write one line of the table."""
    parts = [errors_of(true, found.phonemes) for true, found in results]
    errors, total = np.array([one for part, _ in parts for one in part]), sum(count for _, count in parts)
    agreement = np.mean([found.agreement for _, found in results])
    refused = sum(bool(found.reason) for _, found in results)
    if not len(errors):
        return f"| {voice} | {how} | {total} | - | - | - | - | {agreement:.2f} | {refused} of {len(results)} |"
    middle, ninth = np.quantile(np.abs(errors), (0.5, 0.9))
    return (f"| {voice} | {how} | {total} | {len(errors) / total:.0%} | {middle:.0f} | {ninth:.0f} | "
            f"{np.median(errors):+.0f} | {agreement:.2f} | {refused} of {len(results)} |")


def main() -> None:
    there = available_voices()
    print("# Phonemes of recordings against the synthesisers' own times\n\nMade by `python benchmarks/phonemes.py`. "
          "Matched: phonemes found in their place with the same mouth shape. Errors of their starts in ms. Agreement: "
          "share of the spoken frames in which two ways of recognition name the same phone; below 0.3 all is refused."
          "\n\n| voice | way | phonemes | matched | median error | 90 % below | median, signed | agreement | "
          "refused |\n"
          "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for voice in (one for one in VOICES if one.partition("+")[0] in there):
        spoken = [speak(text, voice) for text in TEXTS]
        for how, text in (("transcript", True), ("no transcript", False)):
            print(row(voice, how, [(one.phonemes, find_phonemes(one, one.text if text else "")) for one in spoken]),
                  flush=True)
    for voice, text in FOREIGN:
        if voice in there:
            spoken = speak(text, voice)
            print(row(voice, "no transcript", [(spoken.phonemes, find_phonemes(spoken))]), flush=True)


if __name__ == "__main__":
    main()
