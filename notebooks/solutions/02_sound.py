"""Solutions of 02_sound; alone: python notebooks/solutions/02_sound.py"""

import numpy as np

import liveavatar
from liveavatar.audio import clean, mel_of
from liveavatar.lessons import check

speech = liveavatar.samples()["welcome"]
hiss = np.random.default_rng(0).normal(0, 0.02, len(speech.wave)).astype("float32")
noisy = liveavatar.Speech(speech.wave + hiss, speech.rate_hz)
cleaned = clean(noisy, "wiener")

# frame-of-and: the picture that is shown when the sound begins
begins_s = next(sound.start_s for sound in speech.phonemes if sound.symbol == "ae")
answer = int(begins_s * 25)
print(check("frame-of-and", answer))

# hiss-removed: two levels in decibels, one minus the other
levels = [20 * np.log10(np.sqrt(np.mean(sound.wave[:4000] ** 2))) for sound in (noisy, cleaned)]
answer = levels[0] - levels[1]
print(check("hiss-removed", answer))

# tone-band: make the tone, look at it as the model does
tone = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000).astype("float32")
answer = mel_of(tone).mean(0).argmax()
print(check("tone-band", answer))
