"""The phonemes of recorded English, by PocketSphinx: forced alignment with a transcript, recognition without one.

    Speech, transcript  --find_phonemes-->  Recognition (phonemes with their times, or why there are none)

With a transcript the words are known and only their times are looked for. Without one the words are recognised first.
As a check the phones are recognised a second time without any words (a phone language model); where both name the same
phone too rarely, the recording is not English, not speech or too noisy, or the transcript belongs to another recording:
then no phonemes are better than wrong ones. PocketSphinx is optional (`pip install 'liveavatar[phonemes]'`); its
acoustic model, its language models and the CMU Pronouncing Dictionary are inside its wheel (BSD licences).

Accuracy of the boundaries: benchmarks/results/phonemes.md.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from liveavatar.types import InputError, Phoneme, Speech
from liveavatar.voice import holds_speech
from liveavatar.voice_activity import speech_probability, speech_segments

if TYPE_CHECKING:
    from pocketsphinx import Decoder

RATE_HZ = 16000
FRAMES_PER_S = 100                    # of PocketSphinx
LATE_S = 0.008                        # by which its frames lie before what they describe: half a window less half a hop
PIECE_S, LEAST_PIECE_S = 12.0, 6.0    # of sound that is aligned at once: memory grows with the square of it
QUIET_S = 0.2                         # length of the pause at which a recording is cut into pieces
SHORTEST_S = 0.5
NEAR_S = 0.3                          # around speech, in which sounds are believed
LEAST_AGREEMENT = 0.3                 # share of spoken frames with the same phone by words and without; see benchmarks
INSTALL = "install PocketSphinx with: pip install 'liveavatar[phonemes]'"
ALIGNED, RECOGNISED = "aligned with the transcript", "recognised without a transcript"
SILENT_PHONES = ("sil", "+nsn+", "+spn+")
WORD = re.compile(r"[a-z]+(?:'[a-z]+)*")
BEAMS = {"beam": 1e-80, "pbeam": 1e-80, "wbeam": 1e-60}         # wide: the path is known but for its times
SPELLING = {                          # rough sounds of English letters, for words that the dictionary does not have
    "tch": "CH", "igh": "AY", "sch": "SH", "ch": "CH", "sh": "SH", "th": "TH", "ph": "F", "wh": "W", "ck": "K",
    "ng": "NG", "qu": "K W", "ee": "IY", "ea": "IY", "oo": "UW", "ou": "AW", "ow": "OW", "ai": "EY", "ay": "EY",
    "oa": "OW", "oi": "OY", "oy": "OY", "au": "AO", "aw": "AO", "ew": "UW", "ie": "IY", "ar": "AA R", "er": "ER",
    "ir": "ER", "ur": "ER", "or": "AO R", "a": "AE", "b": "B", "c": "K", "d": "D", "e": "EH", "f": "F", "g": "G",
    "h": "HH", "i": "IH", "j": "JH", "k": "K", "l": "L", "m": "M", "n": "N", "o": "AA", "p": "P", "q": "K", "r": "R",
    "s": "S", "t": "T", "u": "AH", "v": "V", "w": "W", "x": "K S", "y": "IY", "z": "Z"}
LETTERS = re.compile("|".join(SPELLING))


@dataclass(frozen=True)
class Recognition:
    """The phonemes of a recording, or why there are none."""

    phonemes: tuple[Phoneme, ...] = ()      # ARPAbet in lower case, without gaps; "sil" where nobody speaks
    text: str = ""                          # the words they belong to
    how: str = ""                           # ALIGNED or RECOGNISED
    agreement: float = 0.0                  # share of spoken frames in which both ways name the same phone, 0..1
    reason: str = ""                        # why there are none


def find_phonemes(speech: Speech, transcript: str = "", language: str = "en") -> Recognition:
    """Find the phonemes of recorded speech and their times.

    speech: mono at 16 kHz, of any length
    transcript: its words in plain English, numbers as words; empty: they are recognised
    language: of the speech; others than English are not recognised, which is said

    The work is done in a process of its own: PocketSphinx keeps the GIL, so all threads of this one would wait.
    Never fails for what cannot be recognised: `Recognition.reason` says why. Raises InputError for a transcript that
    cannot be read.
    """
    words = words_of(transcript)
    if not language.lower().startswith("en"):
        return Recognition(reason=f"the sounds of language {language!r} cannot be recognised, only those of English")
    if find_spec("pocketsphinx") is None:
        return Recognition(reason=f"the sounds of this recording are not known; {INSTALL}")
    if speech.rate_hz != RATE_HZ:
        raise ValueError(f"the speech is at {speech.rate_hz} Hz; PocketSphinx hears {RATE_HZ} Hz")
    if speech.duration_s < SHORTEST_S or not np.any(speech.wave):
        return Recognition(reason="the recording is too short or silent")
    if not holds_speech(speech):
        return Recognition(reason="nobody speaks in this recording: it is music or noise")
    found = _in_other_process(speech.wave, words)
    probability = None if words else speech_probability(speech)
    if probability is None:
        return found
    return replace(found, phonemes=tuple(_spoken(found.phonemes, speech_segments(probability))))


def _spoken(phonemes: Iterable[Phoneme], segments: list[tuple[float, float]]) -> Iterator[Phoneme]:
    """Yield phonemes; what is recognised more than NEAR_S away from the segments (from, to in s) of speech is silence:
    words are heard in music as well."""
    phones = ((one.symbol if any(begin_s - NEAR_S <= (one.start_s + one.end_s) / 2 <= end_s + NEAR_S
                                 for begin_s, end_s in segments) else "sil", one.start_s, one.end_s)
              for one in phonemes)
    for symbol, alike in groupby(phones, key=lambda phone: phone[0]):
        parts = list(alike)
        if symbol == "sil":
            yield Phoneme("sil", parts[0][1], parts[-1][2])
        else:
            yield from (Phoneme(*part) for part in parts)


def with_phonemes(speech: Speech, found: Recognition) -> Speech:
    """Return the same recording with the phonemes that were found."""
    return replace(speech, phonemes=found.phonemes, text=found.text or speech.text).with_sound(speech.sound)


def words_of(transcript: str) -> list[str]:
    """Split a transcript into lower-case words. Raises InputError where none or a number is in it."""
    text = transcript.lower().replace("\u2019", "'")
    number = re.search(r"\d\S*", text)
    if number:
        raise InputError(f"the transcript holds the number {number.group()!r}; write numbers as words, as they are "
                         "spoken")
    words = WORD.findall(text)
    if transcript.strip() and not words:
        raise InputError(f"the transcript {transcript[:40]!r} holds no English word; give the words that are spoken")
    return words


def read_transcript(text_or_path: str) -> str:
    """Return a transcript that is given as text or as the path of a text file. Raises InputError for a bad file."""
    path = Path(text_or_path).expanduser()
    if path.suffix.lower() != ".txt":
        return text_or_path
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the transcript {path} cannot be read ({error}); give a text file in UTF-8") from error


# ------------------------------------------------------------------------------------------------- finding

def _find(wave: np.ndarray, words: list[str]) -> Recognition:
    """Find the phonemes of a wave (N,) at 16 kHz; words: of the transcript, or none."""
    how = ALIGNED if words else RECOGNISED
    timed = _align_words(wave, words) if words else _recognise_words(wave)
    text = " ".join(word for word, _, _ in timed)
    if not timed:
        return Recognition(reason="the transcript does not fit the recording" if words else
                           "no English words are recognised in it")
    phonemes = tuple(_joined(_align_phones(wave, timed), len(wave) / RATE_HZ))
    agreement = agreement_of(phonemes, tuple(_joined(_recognise_phones(wave), len(wave) / RATE_HZ)))
    if agreement < LEAST_AGREEMENT:
        reason = "the transcript does not fit the recording, or it is too noisy" if words else \
            "its sounds are recognised too uncertainly: it is not English, not speech, or too noisy"
        return Recognition((), text, how, agreement, reason)
    return Recognition(phonemes, text, how, agreement)


def agreement_of(phonemes: Iterable[Phoneme], others: Iterable[Phoneme]) -> float:
    """Return the share of the frames spoken in either, in which both name the same phone: 0..1."""
    one, other = _symbols(phonemes), _symbols(others)
    count = min(len(one), len(other))
    spoken = (one[:count] != "sil") | (other[:count] != "sil")
    return float((one[:count] == other[:count])[spoken].mean()) if spoken.any() else 0.0


def _symbols(phonemes: Iterable[Phoneme]) -> np.ndarray:
    """Name the phone of every frame: (T,) text."""
    parts = [np.full(round(one.end_s * FRAMES_PER_S) - round(one.start_s * FRAMES_PER_S), one.symbol, dtype="U4")
             for one in phonemes]
    return np.concatenate(parts) if parts else np.empty(0, "U4")


def _joined(phones: Iterable[tuple[str, float, float]], length_s: float) -> Iterator[Phoneme]:
    """Yield phones (symbol, from, to in s) as phonemes without gaps from 0 to length_s, silences in one piece."""
    symbols, starts = [], []
    for name, start_s, _ in phones:
        symbol = "sil" if name.lower() in SILENT_PHONES else name.lower()
        symbol = "j" if symbol == "y" else symbol                 # the IPA's y is another sound
        if not (symbol == "sil" and symbols and symbols[-1] == "sil"):
            symbols.append(symbol)
            starts.append(start_s if not symbols[1:] else start_s + LATE_S)
    for symbol, start_s, end_s in zip(symbols, [0.0, *starts[1:]], [*starts[1:], length_s], strict=True):
        if end_s > start_s:
            yield Phoneme(symbol, round(start_s, 4), round(end_s, 4))


# ------------------------------------------------------------------------------------------------- PocketSphinx

@cache
def _decoder(kind: str) -> Decoder:
    """Return the decoder for "words" (a language model), "phones" (a phone model) or "align" (a transcript)."""
    from pocketsphinx import Decoder, get_model_path

    options = {"words": {"bestpath": False},
               "phones": {"lm": None, "allphone": get_model_path("en-us/en-us-phone.lm.bin"), "lw": 2.0,
                          "beam": 1e-20, "pbeam": 1e-20},
               "align": {"lm": None, "bestpath": False, **BEAMS}}    # a best path may have phones shorter than a HMM
    return Decoder(loglevel="FATAL", **options[kind])


def _run(decoder: Decoder, wave: np.ndarray, phones: bool = False) -> bool:
    """Decode a wave (N,); False where nothing is found. phones: after `set_alignment`, where `hyp` must not be called
    (it writes beyond its memory)."""
    try:
        decoder.start_utt()
        decoder.process_raw((np.clip(wave, -1, 1) * 32767).astype("<i2").tobytes(), full_utt=True)
        decoder.end_utt()
    except RuntimeError:                                          # no path reaches the end
        return False
    return phones or decoder.hyp() is not None


def _align_words(wave: np.ndarray, words: list[str]) -> list[tuple[str, float, float]]:
    """Find the times of known words: (word, from, to in s) of each; empty where they do not fit."""
    decoder = _decoder("align")
    for word in set(words):
        if decoder.lookup_word(word) is None:
            decoder.add_word(word, spelled(word))
    decoder.set_align_text(" ".join(words))
    return list(_words(decoder, 0.0)) if _run(decoder, wave) else []


def _recognise_words(wave: np.ndarray) -> list[tuple[str, float, float]]:
    """Find words: (word, from, to in s) of each."""
    decoder, found = _decoder("words"), []
    for first, last in pieces_of(wave):
        if _run(decoder, wave[first:last]):
            found += _words(decoder, first / RATE_HZ)
    return found


def _words(decoder: Decoder, start_s: float) -> Iterator[tuple[str, float, float]]:
    """Yield the words that a decoder has found, without silences and noises."""
    for one in decoder.seg():
        if one.word[0] not in "<[+(":
            yield (re.sub(r"\(\d+\)$", "", one.word), start_s + one.start_frame / FRAMES_PER_S,
                   start_s + (one.end_frame + 1) / FRAMES_PER_S)


def _align_phones(wave: np.ndarray, words: list[tuple[str, float, float]]) -> Iterator[tuple[str, float, float]]:
    """Find the phones of timed words, piece by piece: (phone, from, to in s)."""
    decoder = _decoder("align")
    for start_s, end_s, part in grouped(words, len(wave) / RATE_HZ):
        piece = wave[round(start_s * RATE_HZ):round(end_s * RATE_HZ)]
        if part:
            decoder.set_align_text(" ".join(part))
        if part and _run(decoder, piece):
            decoder.set_alignment()
            if _run(decoder, piece, phones=True):
                for phone in (phone for word in decoder.get_alignment() for phone in word):
                    begin_s = start_s + phone.start / FRAMES_PER_S
                    yield phone.name, begin_s, begin_s + phone.duration / FRAMES_PER_S
                continue
        yield "SIL", start_s, end_s                               # not said, or not found: nothing is claimed of it


def _recognise_phones(wave: np.ndarray) -> Iterator[tuple[str, float, float]]:
    """Find phones without words: (phone, from, to in s)."""
    decoder = _decoder("phones")
    for first, last in pieces_of(wave):
        if _run(decoder, wave[first:last]):
            for one in decoder.seg():
                start_s = first / RATE_HZ
                yield (one.word, start_s + one.start_frame / FRAMES_PER_S,
                       start_s + (one.end_frame + 1) / FRAMES_PER_S)
        else:
            yield "SIL", first / RATE_HZ, last / RATE_HZ


# ------------------------------------------------------------------------------------------------- pieces

def pieces_of(wave: np.ndarray) -> Iterator[tuple[int, int]]:
    """Cut a wave (N,) at its quietest moments into pieces of at most PIECE_S: first and last sample of each."""
    first = 0
    while len(wave) - first > PIECE_S * RATE_HZ:
        low = first + round(LEAST_PIECE_S * RATE_HZ)
        power = np.square(wave[low:first + round(PIECE_S * RATE_HZ)], dtype=np.float64)
        width = round(QUIET_S * RATE_HZ)
        total = np.concatenate([[0.0], np.cumsum(power)])
        last = low + int((total[width:] - total[:-width]).argmin()) + width // 2
        yield first, last
        first = last
    yield first, len(wave)


def grouped(words: list[tuple[str, float, float]], length_s: float) -> Iterator[tuple[float, float, list[str]]]:
    """Put timed words (word, from, to in s) into pieces of about PIECE_S, cut in the longest pauses between them.

    Yield from, to in s and words of each; together they cover 0 to length_s.
    """
    start_s, first = 0.0, 0
    while first < len(words):
        fitting = [index for index in range(first + 1, len(words)) if words[index][1] - start_s <= PIECE_S]
        if fitting and length_s - start_s > PIECE_S:
            late = [index for index in fitting if words[index][1] - start_s >= LEAST_PIECE_S] or fitting[-1:]
            cut = max(late, key=lambda index: words[index][1] - words[index - 1][2])
        else:
            cut = len(words) if length_s - start_s <= PIECE_S else first + 1
        end_s = length_s if cut == len(words) else (words[cut - 1][2] + words[cut][1]) / 2
        yield start_s, end_s, [word for word, _, _ in words[first:cut]]
        start_s, first = end_s, cut
    if start_s < length_s:
        yield start_s, length_s, []


def spelled(word: str) -> str:
    """Return rough phones of a word that is in no dictionary, letter by letter: "blorp" -> "B L AO R P"."""
    return " ".join(SPELLING[letters] for letters in LETTERS.findall(word)) or "AH"


# ------------------------------------------------------------------------------------------------- another process

def _in_other_process(wave: np.ndarray, words: list[str]) -> Recognition:
    """Find phonemes in a process of its own."""
    order = json.dumps({"words": words, "path": sys.path}).encode() + b"\n" + wave.astype("<f4").tobytes()
    script = ("import json, sys; order = json.loads(sys.stdin.buffer.readline()); sys.path[:] = order['path']; "
              "from liveavatar.phonemes import answer; answer(order['words'])")
    done = subprocess.run([sys.executable, "-c", script], input=order, capture_output=True, check=False)
    if done.returncode != 0:
        last = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        return Recognition(reason=f"the recognition of its sounds ended with: {last or done.returncode}")
    told = json.loads(done.stdout)
    return Recognition(**told | {"phonemes": tuple(Phoneme(*one) for one in told["phonemes"])})


def answer(words: list[str]) -> None:
    """Find phonemes in the wave on standard input; write them to standard output as JSON."""
    found = _find(np.frombuffer(sys.stdin.buffer.read(), "<f4"), words)
    phonemes = [[one.symbol, one.start_s, one.end_s] for one in found.phonemes]
    json.dump({"phonemes": phonemes, "text": found.text, "how": found.how, "agreement": found.agreement,
               "reason": found.reason}, sys.stdout)
