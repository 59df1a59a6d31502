"""Who speaks what in the training speech: voices, sentences and pauses, chosen by chance."""

from __future__ import annotations

import numpy as np

from liveavatar.speech import join, speak
from liveavatar.training import sentences
from liveavatar.types import Speech

SHORTEST_S, LONGEST_S = 6.0, 20.0
ACCENTS = ("en-us", "en", "en-gb-scotland", "en-029", "en-us-nyc", "en-gb-x-gbclan", "en-gb-x-gbcwmd")
VARIANTS = ("f1", "f2", "f3", "f5", "m1", "m2", "m3", "m4", "m5", "m7", "m8", "klatt", "klatt2", "klatt4", "klatt6",
            "Alex", "Andy", "Alicia", "Andrea", "Denis", "Diogo", "Gene", "Hugo", "Jacky", "Lee", "Marco", "Mario",
            "Michael", "Nguyen", "adam", "anika", "announcer", "antonio", "aunty", "belinda", "boris", "caleb", "ed",
            "edward", "grandpa", "gustave", "iven", "john", "max", "miguel", "pablo", "paul", "pedro", "quincy", "rob",
            "sandro", "shelby", "steph", "travis", "victor", "whisper", "zac")
HELD_ACCENTS = ("en-gb-x-rp", *ACCENTS)
HELD_VARIANTS = ("f4", "m6", "klatt3", "Annie", "david", "linda", "grandma", "robert", "steph2", "norbert")
FLITE = {"train": (("slt", 0.36), ("rms", 0.34), ("kal16", 0.2), ("kal", 0.1)), "held": (("awb", 1.0),)}


def choose(rng: np.random.Generator, options: list | tuple) -> object:
    """Choose one of the options, each as likely as the others."""
    return options[int(rng.integers(len(options)))]


def choose_voice(rng: np.random.Generator, split: str) -> tuple[str, str | None]:
    """Choose a voice for `speak`, and name its language when it is not English"""
    kind = rng.random()
    if kind < 0.4:
        names, shares = zip(*FLITE[split], strict=True)
        return f"flite:{rng.choice(names, p=shares)}", None
    variants = VARIANTS if split == "train" else HELD_VARIANTS
    variant = f"+{choose(rng, variants)}"
    if kind < 0.85:
        return f"espeak:{choose(rng, ACCENTS if split == 'train' else HELD_ACCENTS)}{variant}", None
    language = choose(rng, tuple(sentences.other(split)))
    return f"espeak:{language}{variant}", language


def choose_sentence(rng: np.random.Generator, split: str, language: str | None) -> str:
    """Choose a written sentence, or words in a row without sense (English only)."""
    if language:
        return choose(rng, sentences.other(split)[language])
    if rng.random() < 0.55:
        return choose(rng, sentences.english(split))
    words = [choose(rng, sentences.words(split)) for _ in range(int(rng.integers(3, 10)))]
    if len(words) > 5 and rng.random() < 0.4:
        words[2] += ","
    return " ".join(words) + choose(rng, ".?!.")


def choose_gap_s(rng: np.random.Generator) -> float:
    """Choose the silence between sentences: mostly short, sometimes long enough for the mouth to settle."""
    return float(rng.uniform(0.3, 0.7) if rng.random() < 0.5 else rng.uniform(0.7, 2.2))


def clean_utterance(rng: np.random.Generator, split: str) -> tuple[Speech, str]:
    """Speak sentences with pauses between them: 6 to 20 s."""
    voice, language = choose_voice(rng, split)
    style = {"rate": float(rng.uniform(0.75, 1.3)), "melody": float(rng.uniform(0.5, 1.6)),
             "pitch": 1.0 if voice == "flite:rms" else float(2 ** rng.uniform(-0.45, 0.45))}
    wanted_s = rng.uniform(SHORTEST_S + 1, LONGEST_S - 3)
    parts, gaps_s = [], [float(rng.uniform(0.1, 1.0))]
    while sum(part.duration_s for part in parts) + sum(gaps_s) < wanted_s:
        parts.append(speak(choose_sentence(rng, split, language), voice, **style))
        gaps_s.append(choose_gap_s(rng))
    while len(parts) > 1 and sum(part.duration_s for part in parts) + sum(gaps_s) > LONGEST_S:
        parts.pop()
        gaps_s.pop()
    return join(parts, gaps_s), voice


def choose_voice_of_babble(rng: np.random.Generator, split: str) -> str:
    """Choose a voice of espeak only, which is fast"""
    return f"espeak:{choose(rng, ACCENTS)}+{choose(rng, VARIANTS if split == 'train' else HELD_VARIANTS)}"
