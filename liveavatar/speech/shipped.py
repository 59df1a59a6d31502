"""The three clips that come with the package, with their phoneme times."""

from __future__ import annotations

import json
from pathlib import Path

from liveavatar.speech.synthesis import join, speak
from liveavatar.types import Phoneme, Speech

SAMPLES = Path(__file__).parents[1] / "samples"
_SAMPLE_TEXTS = {
    "welcome": ("flite:slt", 1.0, "Hello, and welcome. I am made of numbers, but I move my lips when you speak. "),
    "river": ("espeak:en-us+m3", 0.9, "Maybe we should begin by the river. Five boats float past, and people wave."),
    "steps": ("flite:rms", 1.0, "Every picture begins as noise. Four small steps later, somebody looks back at you."),
}


def samples() -> dict[str, Speech]:
    """Load the clips that come with the package, phoneme times included: no synthesiser needed."""
    import soundfile

    clips = {}
    for name, entry in json.loads((SAMPLES / "samples.json").read_text(encoding="utf-8")).items():
        wave, rate_hz = soundfile.read(SAMPLES / entry["file"], dtype="float32")
        phonemes = tuple(Phoneme(symbol, start_s, end_s) for symbol, start_s, end_s in entry["phonemes"])
        clips[name] = Speech(wave, rate_hz, phonemes, entry["text"])
    return clips


def write_samples(folder: Path = SAMPLES) -> None:
    """Make the three clips anew: FLAC files and samples.json with text, voice and phoneme times."""
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    index = {}
    for name, (voice, rate, text) in _SAMPLE_TEXTS.items():
        speech = join([speak(text.strip(), voice, rate)], [0.3, 0.3])
        soundfile.write(folder / f"{name}.flac", speech.wave, speech.rate_hz, subtype="PCM_16")
        index[name] = {"file": f"{name}.flac", "text": speech.text, "voice": voice, "rate": rate,
                       "duration_s": round(speech.duration_s, 3),
                       "phonemes": [[p.symbol, round(p.start_s, 4), round(p.end_s, 4)] for p in speech.phonemes]}
    rows = (f"  {json.dumps(name)}: {json.dumps(entry, ensure_ascii=False)}" for name, entry in index.items())
    (folder / "samples.json").write_text("{\n" + ",\n".join(rows) + "\n}\n", encoding="utf-8")
